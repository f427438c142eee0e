"""The history of a network: nodes with their comings and goings, and jobs with how long each task ran."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from farlane.domain.jobs import JobSpec
from farlane.domain.nodes import NodeSpec
from farlane.scheduler.sim.world import Floats, Ints


@dataclass(frozen=True, slots=True)
class PastJob:
    """One job of t tasks.

    batches: (when, how many tasks were added); run_s: (t,) seconds of each task's last attempt, inf where it never
    ends by itself; stopped_at: when somebody ended it with all that was left of it, unix seconds; mishaps: task ->
    seconds of each attempt before that failed by the task's own fault; counted: (t,) whether a task's waiting and
    completion are known, and so are compared; started_at, ended_at: (t,) unix seconds of the last attempt, nan where
    there was none; node: (t,) row it ran on, -1; name: how people find it.
    """

    spec: JobSpec
    opened_at: float
    batches: tuple[tuple[float, int], ...]
    run_s: Floats
    stopped_at: float | None = None
    mishaps: dict[int, tuple[float, ...]] = field(default_factory=dict)
    counted: tuple[bool, ...] = ()
    started_at: Floats = field(default_factory=lambda: np.zeros(0))
    ended_at: Floats = field(default_factory=lambda: np.zeros(0))
    node: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    name: str = ""

    @property
    def tasks(self) -> int:
        """How many tasks it has."""
        return len(self.run_s)


@dataclass(frozen=True, slots=True)
class Change:
    """A node came, or went, at `at` seconds."""

    at: float
    node: int
    online: bool


@dataclass(frozen=True, slots=True)
class History:
    """Everything that a replay needs.

    nodes: in the order in which they were met; offline before their first change; changes, jobs: by time; notes: what
    the history does not tell, for people.
    """

    nodes: tuple[NodeSpec, ...]
    changes: tuple[Change, ...]
    jobs: tuple[PastJob, ...]
    notes: tuple[str, ...] = ()

    @property
    def tasks(self) -> int:
        """How many tasks there are in all."""
        return sum(job.tasks for job in self.jobs)

    @property
    def begin(self) -> float:
        """When the first job was opened, in unix seconds; 0 without any."""
        return min((job.opened_at for job in self.jobs), default=0.0)


def first_tasks(history: History) -> Ints:
    """Return where each job's tasks begin among all, and behind the last how many there are: (jobs + 1,)."""
    return np.concatenate([[0], np.cumsum([job.tasks for job in history.jobs])]).astype(np.int64)
