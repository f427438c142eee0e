"""Policy gradients: proximal policy optimisation with masks, over whole episodes (Schulman et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax
import numpy as np

from farlane.errors import InvalidSetting
from farlane.lab.training.adam import Moments, descend, no_moments
from farlane.lab.training.brain import Answers, Brain
from farlane.lab.training.config import Ppo
from farlane.lab.training.folder import Row, State
from farlane.lab.training.learning import Forward, Taken, advantages, ppo_loss
from farlane.lab.training.rollout import NODE, TASK, Game, Played, play
from farlane.lab.training.seeds import PPO, seeds_of
from farlane.lab.training.trees import batches, packed, unpacked
from farlane.scheduler.sim.world import Floats

VALUE_SHARE = 0.5
"""Weight of the value's part of the loss, as in Schulman et al. 2017."""

Deal = Callable[[int, int], tuple[list[Game], list[float]]]
"""A seed and how many -> games before their first decision, and by what the rewards of each are divided."""


class PolicyGradients:
    """The stage of a run; a step plays episodes and learns from their decisions.

    Rewards are divided by what the best rule's come to on episodes of that setting, so that returns of all settings
    are about -1. Advantages have mean 0 and deviation 1 over all decisions of a step.
    """

    name = "ppo"

    def __init__(self, config: Ppo, brain: Brain, deal: Deal, seed: int, start: Floats) -> None:
        self._config, self._brain, self._deal, self._seed = config, brain, deal, seed
        self._weights = brain.initial(start, seed)
        self._moments = no_moments(self._weights)
        self._answers = Answers(brain)
        self.steps = 0
        self._update = {kind: _compiled(brain.forward(kind), config) for kind in (TASK, NODE)}

    @property
    def result(self) -> Floats:
        """The weights now, as one vector."""
        return self._brain.vector(self._weights)

    def step(self) -> Row:
        """Play and learn; returns the mean return, in those of the best rules, and how training went."""
        first, *others = seeds_of(self._seed, PPO, self.steps, 2 + self._config.episodes)
        games, scales_of = self._deal(first, self._config.episodes)
        randoms = [np.random.default_rng(seed) for seed in others[1:]]
        found = play(games, partial(self._answers, self._weights), randoms)
        played = [game for game in found if game is not None]
        scales = [scale for game, scale in zip(found, scales_of, strict=True) if game is not None]
        if not played:
            raise InvalidSetting("no episode had anything to decide: ask for longer ones, or for more load")
        taken, kind, total = self._taken(played, scales)
        row = self._learn(taken, kind, np.random.default_rng(others[0]))
        self.steps += 1
        return {"return": total, **row}

    def end(self) -> None:
        """Do nothing: the last step left the weights as they are."""

    def state(self) -> State:
        """Return what to keep."""
        return packed((self._weights, self._moments)) | {"steps": np.array(self.steps)}

    def restore(self, state: State) -> None:
        """Come to a kept state."""
        self._weights, self._moments = unpacked(state, (self._weights, self._moments))
        self.steps = int(state["steps"])

    def _taken(self, played: Sequence[Played], scales: Sequence[float]) -> tuple[Taken, Any, float]:
        """Return all decisions with their advantages, their kinds, and the mean return of a game."""
        scaled = [game.reward / scale for game, scale in zip(played, scales, strict=True)]
        estimates = [
            advantages(reward, game.value, self._config.discount, self._config.trace)
            for reward, game in zip(scaled, played, strict=True)
        ]
        all_of = Played(*(np.concatenate(column) for column in zip(*played, strict=True)))
        advantage = np.concatenate([found for found, _ in estimates])
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        taken = Taken(
            (all_of.rows, all_of.mask, all_of.context, all_of.about), all_of.mask, all_of.action,
            all_of.log_probability.astype(np.float32), advantage.astype(np.float32),
            np.concatenate([target for _, target in estimates]).astype(np.float32),
        )  # fmt: skip
        return taken, all_of.kind, float(np.mean([reward.sum() for reward in scaled]))

    def _learn(self, taken: Taken, kind: Any, random: np.random.Generator) -> Row:
        warming = self.steps < self._config.warmup
        heads = np.array([0.0 if warming else 1.0, VALUE_SHARE], np.float32)
        losses, moved, passes = [], [0.0], 0
        for _ in range(self._config.epochs):
            moved = []
            for one, rows in batches(kind, self._config.batch, random):
                batch = jax.tree.map(lambda column: column[rows], taken)  # noqa: B023  # used at once
                self._weights, self._moments, loss, far = self._update[one](
                    self._weights, self._moments, batch, heads
                )
                losses.append(float(loss))
                moved.append(float(far))
            passes += 1
            if np.mean(moved) > self._config.kl:
                break
        return {"loss": float(np.mean(losses)), "kl": float(np.mean(moved)), "passes": passes}


@cache
def _compiled(forward: Forward, config: Ppo) -> Any:
    """Return the update, compiled once for all stages of a process."""
    return jax.jit(partial(_update, forward, config))


def _update(
    forward: Forward, config: Ppo, weights: Any, moments: Moments, taken: Taken, heads: Any
) -> tuple[Any, Moments, Any, Any]:
    def loss(tried: Any) -> tuple[Any, Any]:
        return ppo_loss(forward, tried, taken, config, heads)

    (value, far), gradient = jax.value_and_grad(loss, has_aux=True)(weights)
    weights, moments = descend(weights, gradient, moments, config.step)
    return weights, moments, value, far
