"""Agreement: whether the hub's real reactor and the compiled simulator of its rules do the same with a history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farlane.lab.history import History, first_tasks
from farlane.lab.hub_columns import simulate
from farlane.lab.replay import ROUND_S, Outcome, replay
from farlane.scheduler.policy import policy_named
from farlane.scheduler.sim.world import Ints


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both came to. apart: rows of the tasks whose start, end, node or outcome differ; none where they agree."""

    tasks: int
    apart: Ints
    real: Outcome
    simulated: Outcome

    @property
    def exact(self) -> bool:
        """Whether everything is equal: starts, ends, nodes, rounds and leases."""
        same = (self.real.rounds, self.real.leases) == (self.simulated.rounds, self.simulated.leases)
        return not len(self.apart) and same

    def text(self, history: History) -> str:
        """Return what differs first, for people."""
        if self.exact:
            return f"{self.tasks} tasks, {self.real.rounds} rounds: equal"
        if not len(self.apart):
            return (
                f"equal tasks, but {self.real.rounds} rounds and {self.real.leases} leases against "
                f"{self.simulated.rounds} and {self.simulated.leases}"
            )
        starts = np.fmin(self.real.started[self.apart], self.simulated.started[self.apart])
        row = int(self.apart[np.argmin(np.where(np.isnan(starts), np.inf, starts))])
        job = int(np.searchsorted(first_tasks(history), row, side="right")) - 1
        told = [
            f"{name}: start {outcome.started[row]!r}, end {outcome.ended[row]!r}, node {outcome.node[row]}"
            for name, outcome in (("real", self.real), ("simulated", self.simulated))
        ]
        return f"{len(self.apart)} of {self.tasks} tasks differ, first of job {job} task {row}: {'; '.join(told)}"


def agree(history: History, rule: str, round_s: float | None = ROUND_S) -> Agreement:
    """Run a history through the hub's reactor and through the compiled rules; raises as `simulate`."""
    simulated = simulate(history, rule, round_s)
    real = replay(history, policy_named(rule), round_s=round_s)
    differ = real.node != simulated.node
    differ |= real.done != simulated.done
    for one, other in ((real.started, simulated.started), (real.ended, simulated.ended)):
        differ |= (one != other) & ~(np.isnan(one) & np.isnan(other))
    return Agreement(history.tasks, np.flatnonzero(differ), real, simulated)
