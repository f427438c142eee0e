"""What habits let expect of jobs that wait, and what else their publishers have: a part of each view."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from farlane.hub.reactor.state import HubState, Job
from farlane.scheduler.habits import SHORTEST_S
from farlane.scheduler.view import History


@dataclass(slots=True)
class _Owner:
    """What a publisher has: tasks that wait, that run, and the sum of the logarithms of the seconds that these ran."""

    waiting: int = 0
    running: int = 0
    elapsed: float = 0.0


@dataclass(slots=True)
class Expectations:
    """Answers for one moment's view; owners: by name."""

    state: HubState
    now: float
    owners: dict[str, _Owner] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for queue in self.state.waiting.values():
            for job in queue.values():
                self._owner(job).waiting += job.total - job.fresh + len(job.returned)
        for job in self.state.active.values():
            for tally in job.running.values():
                owner, count = self._owner(job), tally.count
                owner.running += count
                owner.elapsed += count * math.log1p(max(0.0, self.now - tally.last_at))

    def history(self, job: Job, run_time_s: float | None) -> History:
        """Return what is known of a job's run times; `run_time_s`, where known, stands in for a profile's habit."""
        spec, book, owner = job.spec, self.state.habits, self._owner(job)
        request = math.log10(max(spec.timeout_ms / 1000, SHORTEST_S))
        asked = (book.of(("asked", spec.timeout_ms)) or (0.0, request, request))[1:]
        owned = book.of(("owner", spec.publisher))
        own = asked if owned is None else owned[1:]
        kind = book.of(("profile", spec.profile)) if spec.profile else None
        if kind is not None:
            usual, quick = kind[1:]
        elif run_time_s is not None:
            usual = quick = math.log10(max(run_time_s, SHORTEST_S))
        else:
            usual, quick = own
        elapsed = math.expm1(owner.elapsed / owner.running) if owner.running else 0.0
        runs = 0.0 if owned is None else owned[0]
        return History(usual, quick, *own, *asked, runs, float(owner.waiting), float(owner.running), elapsed)

    def _owner(self, job: Job) -> _Owner:
        return self.owners.setdefault(job.spec.publisher, _Owner())
