"""What habits let expect of tasks that wait, and what else their owners have: columns of the network, in worlds."""

from __future__ import annotations

import numpy as np

from farlane.scheduler import habits
from farlane.scheduler.habits import SEEN, SHORTEST_S
from farlane.scheduler.sim.compiled import lean
from farlane.scheduler.sim.state import OF_ASKED, OF_KIND, OF_OWNER, State
from farlane.scheduler.sim.world import Floats

fold = lean(habits.fold)
_usual, _quick = lean(habits.usual), lean(habits.quick)
EXPECTED = 7
"""Columns that `expect` writes."""
WAITING, RUNNING, ELAPSED = range(3)
"""Rows of what owners have: tasks that wait, tasks that run, and the sum of the logarithms of the seconds these ran."""


@lean
def expect(state: State, task: int, request_s: float, made: Floats, at: int) -> None:
    """Write what a task's habits let expect into column `at` of (EXPECTED, q).

    In the order of `TaskColumns`: usual and quick of its kind, of its owner, of all that ask for as long, each
    where there is none that of the next, at last what is asked for; then how many of its owner's runs were seen.
    """
    usual = quick = np.log10(max(request_s, SHORTEST_S))
    for each in (OF_ASKED, OF_OWNER, OF_KIND):
        row = state.habit_of[task, each]
        if state.habits[row, SEEN] > 0.0:
            usual, quick = _usual(state.habits, row), _quick(state.habits, row)
        made[2 * each, at], made[2 * each + 1, at] = usual, quick
    made[6, at] = state.habits[state.habit_of[task, OF_OWNER], SEEN]


@lean
def count_run(owners: Floats, owner: int, elapsed_s: float) -> None:
    """Count a task that runs among what its owner has, in (3, u)."""
    owners[RUNNING, owner] += 1.0
    owners[ELAPSED, owner] += np.log(1.0 + elapsed_s)


@lean
def elapsed_s(owners: Floats, owner: int) -> float:
    """Return how long an owner's tasks have run, the geometric mean of 1 + seconds, less 1; 0 where none runs."""
    if owners[RUNNING, owner] == 0.0:
        return 0.0
    return float(np.exp(owners[ELAPSED, owner] / owners[RUNNING, owner]) - 1.0)
