"""Copying the best rule of each setting: decisions it makes are recorded, and the network learns to make them too.

Behaviour cloning (Pomerleau 1989); the teacher of a setting is the rule that costs least on its training episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np

from farlane.errors import InvalidSetting
from farlane.lab.training.adam import Moments, descend, no_moments
from farlane.lab.training.brain import Brain
from farlane.lab.training.config import Imitation
from farlane.lab.training.folder import Row, State
from farlane.lab.training.learning import Forward, imitation_loss
from farlane.lab.training.rollout import NODE, TASK, Game, Seen, stacked
from farlane.lab.training.seeds import IMITATION, seeds_of
from farlane.lab.training.trees import batches, packed, unpacked
from farlane.scheduler.sim.world import Bools, Floats, Ints


class Lessons(NamedTuple):
    """Decisions of teachers: seen, (b, ...) columns of `Seen`; mask: (b, c + 1); action: (b,) what the rule chose."""

    kind: Ints
    seen: Any
    mask: Bools
    action: Ints


def record(games: Sequence[Game], decisions: int, seed: int) -> tuple[Lessons, Floats]:
    """Play games as their rules would.

    Args:
        games: whose rule is known.
        decisions: to keep of each at most, a random choice of more.
        seed: of that choice.

    Returns:
        The decisions, and what each game's rewards came to: (games,).

    Raises:
        InvalidSetting: no game had a decision.
    """
    random = np.random.default_rng(seed)
    kept: list[tuple[Seen, int]] = []
    returns = []
    for game in games:
        made: list[tuple[Seen, int]] = []
        total = 0.0
        while (seen := game.see()) is not None:
            action = game.taught()
            made.append((seen, action))
            total += game.choose(action)
        chosen = random.permutation(len(made))[:decisions]
        kept += [made[at] for at in chosen]
        returns.append(total)
    if not kept:
        raise InvalidSetting("no episode had anything to decide: ask for longer ones, or for more load")
    kind, rows, mask, context, about = stacked([seen for seen, _ in kept])
    actions = np.array([action for _, action in kept])
    return Lessons(kind, (rows, mask, context, about), mask, actions), np.array(returns)


class Copying:
    """The stage of a run; a step is a pass over all lessons."""

    name = "imitation"

    def __init__(self, config: Imitation, brain: Brain, lessons: Lessons, seed: int, start: Floats) -> None:
        self._config, self._brain, self._lessons, self._seed = config, brain, lessons, seed
        self._weights = brain.initial(start, seed)
        self._moments = no_moments(self._weights)
        self.steps = 0
        self._update = {kind: _compiled(brain.forward(kind), config.step) for kind in (TASK, NODE)}

    @property
    def result(self) -> Floats:
        """The weights now, as one vector."""
        return self._brain.vector(self._weights)

    def step(self) -> Row:
        """Do a pass; returns the mean cross-entropy, and the share of the teacher's choices that were foreseen."""
        random = np.random.default_rng(seeds_of(self._seed, IMITATION, self.steps + 1, 1)[0])
        losses, foreseen = [], []
        for kind, rows in batches(self._lessons.kind, self._config.batch, random):
            batch = jax.tree.map(lambda column: column[rows], self._lessons[1:])  # noqa: B023  # used at once
            self._weights, self._moments, loss, right = self._update[kind](
                self._weights, self._moments, *batch
            )
            losses.append(float(loss))
            foreseen.append(float(right))
        self.steps += 1
        return {"loss": float(np.mean(losses)), "foreseen": float(np.mean(foreseen))}

    def end(self) -> None:
        """Do nothing: the last step left the weights as they are."""

    def state(self) -> State:
        """Return what to keep."""
        return packed((self._weights, self._moments)) | {"steps": np.array(self.steps)}

    def restore(self, state: State) -> None:
        """Come to a kept state."""
        self._weights, self._moments = unpacked(state, (self._weights, self._moments))
        self.steps = int(state["steps"])


@cache
def _compiled(forward: Forward, step: float) -> Any:
    """Return the update, compiled once for all stages of a process."""
    return jax.jit(partial(_update, forward, step))


def _update(
    forward: Forward, step: float, weights: Any, moments: Moments, seen: Any, mask: Any, action: Any
) -> tuple[Any, Moments, Any, Any]:
    def loss(tried: Any) -> tuple[Any, Any]:
        return imitation_loss(forward, tried, seen, mask, action)

    (value, right), gradient = jax.value_and_grad(loss, has_aux=True)(weights)
    weights, moments = descend(weights, gradient, moments, step)
    return weights, moments, value, right
