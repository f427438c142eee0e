"""Playing many episodes side by side: each game shows candidates, one network call answers for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from farlane.scheduler.sim.world import Bools, Floats, Ints

Singles = NDArray[np.float32]
TASK, NODE = 0, 1
"""Kinds of decisions: which task goes next, or none yet; which node a task gets."""


class Seen(NamedTuple):
    """What one decision is made from; c candidates at most, padded.

    kind: TASK or NODE. rows: (c, f) features of the candidates, f the larger of those of tasks and of pairs. mask:
    (c + 1,) which can be chosen; the last is WAIT. context: (g,) features of the situation. about: (ft,) features of
    the task that gets a node, 0 where a task is chosen.
    """

    kind: int
    rows: Singles
    mask: Bools
    context: Singles
    about: Singles


class Game(Protocol):
    """An episode that stops where somebody has to choose."""

    def see(self) -> Seen | None:
        """Return what the next decision is made from, None at the end."""

    def choose(self, at: int) -> float:
        """Choose a candidate, run until the next decision, and return the reward of that interval."""

    def taught(self) -> int:
        """Return the candidate that the game's rule would choose of those last seen."""

    def cost(self) -> float:
        """Return what the episode is judged by, once it has ended: the lower the better."""


class Played(NamedTuple):
    """t decisions in their order: columns of `Seen` stacked, and what came of them.

    kind, action: (t,); rows: (t, c, f); mask: (t, c + 1); context: (t, g); about: (t, ft); log_probability: (t,) of
    what was done; value: (t,) of the state as the network saw it; reward: (t,).
    """

    kind: Ints
    rows: Singles
    mask: Bools
    context: Singles
    about: Singles
    action: Ints
    log_probability: Floats
    value: Floats
    reward: Floats


Answer = Callable[[Sequence[Seen]], tuple[Floats, Floats]]
"""What several decisions see -> logarithms of probabilities (k, c + 1), values (k,)."""


class _Course:
    """One game and what happened in it."""

    def __init__(self, game: Game, random: np.random.Generator | None) -> None:
        self.game, self.random = game, random
        self.next = game.see()
        self.seen: list[Seen] = []
        self.outcomes: list[tuple[int, float, float, float]] = []

    def go_on(self, log_p: Floats, value: float) -> None:
        """Choose: by chance where the game has a generator, else what is likeliest."""
        noise = 0.0 if self.random is None else self.random.gumbel(size=len(log_p))
        assert self.next is not None
        action = int(np.argmax(np.where(self.next.mask, log_p + noise, -np.inf)))
        self.seen.append(self.next)
        reward = self.game.choose(action)
        self.outcomes.append((action, float(log_p[action]), value, reward))
        self.next = self.game.see()

    def played(self) -> Played:
        action, log_p, value, reward = (np.array(column) for column in zip(*self.outcomes, strict=True))
        return Played(*stacked(self.seen), action.astype(np.int64), log_p, value, reward)


def play(
    games: Sequence[Game], answer: Answer, randoms: Sequence[np.random.Generator] | None = None
) -> list[Played | None]:
    """Play games to their ends.

    Args:
        games: each before its first decision.
        answer: the network.
        randoms: a generator for each game, to choose by chance; None: the likeliest is chosen.

    Returns:
        What was played, in the order of the games; None for one that had nothing to decide.
    """
    courses = [_Course(game, None if randoms is None else randoms[at]) for at, game in enumerate(games)]
    while open_ones := [course for course in courses if course.next is not None]:
        log_p, values = answer([course.next for course in open_ones if course.next is not None])
        for at, course in enumerate(open_ones):
            course.go_on(log_p[at], float(values[at]))
    return [course.played() if course.seen else None for course in courses]


def stacked(seen: Sequence[Seen]) -> tuple[Ints, Singles, Bools, Singles, Singles]:
    """Return the columns of what several decisions saw."""
    return (
        np.array([each.kind for each in seen]),
        np.stack([each.rows for each in seen]),
        np.stack([each.mask for each in seen]),
        np.stack([each.context for each in seen]),
        np.stack([each.about for each in seen]),
    )


def joined(parts: Sequence[Played]) -> Played:
    """Return the decisions of several games as one."""
    return Played(*(np.concatenate(column) for column in zip(*parts, strict=True)))
