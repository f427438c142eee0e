"""The ready queue: runs of like attempts in order of arrival, cut into bundles as room comes up."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from farlane.domain.resources import GpuKind
from farlane.node.machine.attempts import HeldAttempt, HeldJob, Phase, RunningBundle
from farlane.node.machine.pool import ResourcePool

MAX_PASSES = 64
"""Bundles that may overtake the oldest blocked run; after that the node keeps room for it."""
WINDOW = 64
"""Runs looked at for one that fits."""
MAX_BUNDLE_BYTES = 1 << 20
"""Inline payloads of one bundle."""


@dataclass(slots=True, eq=False)
class Run:
    """Attempts of one job on one kind of GPU that became ready one after another. passed: bundles that overtook it."""

    job: HeldJob
    gpu: GpuKind | None
    attempts: deque[HeldAttempt]
    passed: int = 0


class ReadyQueue:
    """Attempts that could start now.

    The hub decides the order; here a run that fits may overtake blocked ones, but the oldest blocked run only
    `MAX_PASSES` times. A dropped attempt stays in its run until it is reached; `count` leaves it out.
    """

    def __init__(self) -> None:
        self._runs: deque[Run] = deque()
        self.count = 0

    def append(self, job: HeldJob, attempts: Iterable[HeldAttempt]) -> None:
        """Queue attempts of one job behind all others."""
        if job.spec.resources.gpu is None:
            self._append(job, None, attempts)
        else:
            for gpu, alike in groupby(attempts, key=lambda attempt: attempt.gpu):
                self._append(job, gpu, alike)

    def put_back(self, job: HeldJob, attempt: HeldAttempt) -> None:
        """Queue an attempt before all others: it has waited once already."""
        if not self._runs or self._runs[0].job is not job or self._runs[0].gpu != attempt.gpu:
            self._runs.appendleft(Run(job, attempt.gpu, deque()))
        self._runs[0].attempts.appendleft(attempt)
        self.count += 1

    def drop(self, attempt: HeldAttempt) -> None:
        """Take one attempt out."""
        attempt.phase = Phase.DROPPED
        self.count -= 1

    def next_bundle(self, pool: ResourcePool, now: float) -> RunningBundle | None:
        """Start the next bundle that fits and may: its resources are taken. None where there is none."""
        blocked: Run | None = None
        position = 0
        while position < min(len(self._runs), WINDOW):
            run = self._runs[position]
            _strip(run)
            if not run.attempts:
                del self._runs[position]
                continue
            devices = pool.take(run.job.spec.resources, run.gpu)
            if devices is not None:
                if blocked is not None:
                    blocked.passed += 1
                bundle = self._cut(run, devices, now)
                if not run.attempts:
                    del self._runs[position]
                return bundle
            if blocked is None:
                blocked = run
                if run.passed >= MAX_PASSES:
                    return None
            position += 1
        return None

    def _append(self, job: HeldJob, gpu: GpuKind | None, attempts: Iterable[HeldAttempt]) -> None:
        last = self._runs[-1] if self._runs else None
        if last is None or last.job is not job or last.gpu != gpu:
            last = Run(job, gpu, deque())
            self._runs.append(last)
        before = len(last.attempts)
        last.attempts.extend(attempts)
        self.count += len(last.attempts) - before

    def _cut(self, run: Run, devices: tuple[int, ...], now: float) -> RunningBundle:
        waiting = run.attempts
        size = run.job.bundle_size(len(waiting))
        taken: list[HeldAttempt] = []
        bundle = RunningBundle(run.job.spec.resources, devices, taken, 0, now)
        payload_bytes = 0
        while waiting and len(taken) < size and payload_bytes < MAX_BUNDLE_BYTES:
            attempt = waiting.popleft()
            if attempt.phase is Phase.DROPPED:
                continue
            attempt.phase = Phase.RUNNING
            attempt.bundle = bundle
            if attempt.payload is not None:
                payload_bytes += len(attempt.payload)
            taken.append(attempt)
        bundle.left = len(taken)
        self.count -= bundle.left
        return bundle


def _strip(run: Run) -> None:
    while run.attempts and run.attempts[0].phase is Phase.DROPPED:
        run.attempts.popleft()
