"""The watchdog: decides from outside, several times a second, which running task has gone beyond its limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from farlane.node.executors import verdict
from farlane.node.executors.port import CommandCall, Failed
from farlane.node.executors.progress import Running
from farlane.node.executors.scratch import Scratch
from farlane.node.executors.watch import directory_bytes
from farlane.node.executors.worker_link import Assignment, WorkerLink

_DISK_PERIOD_S = 0.25

OnBreach = Callable[[WorkerLink, Assignment, Failed], None]


class Watchdog:
    """Checks one worker at a time.

    Args:
        scratch: whose disk space counts.
        threads: where directories are measured.
        on_breach: called with the task that must be killed, and why.
    """

    def __init__(self, scratch: Scratch, threads: Executor, on_breach: OnBreach) -> None:
        self._scratch = scratch
        self._threads = threads
        self._on_breach = on_breach
        self._loop = asyncio.get_running_loop()

    def check(self, worker: WorkerLink, assignment: Assignment, running: Running, now_s: float) -> None:
        """Check the task a worker runs against its time, memory and disk limits."""
        if worker.watched_sequence != running.sequence:
            worker.watched_sequence = running.sequence
            worker.watched_since_s = now_s
            if worker.watch is not None:
                worker.watch.reset()
        execution = assignment.execution
        # The start comes from memory the task could write to: it never counts as later than we saw it.
        started_s = min(running.started_ns / 1e9, worker.watched_since_s)
        if assignment.cancelled:
            self._on_breach(worker, assignment, verdict.cancelled())
        elif execution.timeout_s and now_s - started_s > execution.timeout_s:
            self._on_breach(worker, assignment, verdict.timeout(execution))
        elif worker.watch is not None and (held := worker.watch.excess(execution.memory_bytes, now_s)):
            self._on_breach(worker, assignment, verdict.memory(execution, held))
        elif execution.disk_bytes and now_s - max(started_s, assignment.disk_checked_s) > _DISK_PERIOD_S:
            assignment.disk_checked_s = now_s
            self._measure_disk(worker, assignment)

    def _measure_disk(self, worker: WorkerLink, assignment: Assignment) -> None:
        execution = assignment.execution
        if isinstance(execution.call, CommandCall):
            path = self._scratch.of_task(execution.ticket)
        else:
            # With what earlier tasks of this publisher left in HOME: it lies on the disk as well.
            path = self._scratch.of_worker(worker.number)
        measured = self._loop.run_in_executor(self._threads, directory_bytes, path, execution.disk_bytes)
        measured.add_done_callback(lambda done: self._judge_disk(worker, assignment, done))

    def _judge_disk(self, worker: WorkerLink, assignment: Assignment, measured: asyncio.Future[int]) -> None:
        if measured.cancelled() or measured.exception() is not None:
            return
        used = measured.result()
        if used > assignment.execution.disk_bytes and worker.inflight.get(assignment.sequence) is assignment:
            self._on_breach(worker, assignment, verdict.disk(assignment.execution, used))
