"""The process executor: bundles run in warm worker processes, watched, metered and stopped in time."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from farlane.domain.failures import FailureKind
from farlane.errors import InvalidInput, Unavailable
from farlane.node.executors import frames, verdict
from farlane.node.executors.conclusion import Conclusion
from farlane.node.executors.event_batch import EventBatch
from farlane.node.executors.fleet import Fleet
from farlane.node.executors.pool import IdleWorkers
from farlane.node.executors.port import (
    Bundle,
    CommandCall,
    CommandResult,
    Failed,
    Finished,
    OnEvents,
    Outcome,
    Output,
    Started,
    Usage,
    Value,
)
from farlane.node.executors.progress import Running
from farlane.node.executors.scratch import Scratch
from farlane.node.executors.settings import ProcessExecutorSettings
from farlane.node.executors.watch import available_memory_bytes
from farlane.node.executors.watchdog import Watchdog
from farlane.node.executors.worker_link import Assignment, Killing, WorkerKey, WorkerLink

_MAX_FUTILE_STARTS = 3


class ProcessExecutor:
    """Runs bundles in forked workers; implements the `Executor` port.

    A worker serves one publisher and environment for its life. When it dies, the task that ran is blamed; results
    it had finished are read from its shared memory, and tasks it had not begun run on a fresh worker.

    Args:
        settings: sizes, caps and periods.
        on_events: see `port.OnEvents`.
    """

    def __init__(self, settings: ProcessExecutorSettings, on_events: OnEvents) -> None:
        self._settings = settings
        self._on_events = on_events
        self._open = False
        self._assignments: dict[int, Assignment] = {}
        self._with_files: set[int] = set()
        self._queue: deque[list[Assignment]] = deque()
        self._busy: dict[int, WorkerLink] = {}
        self._idle = IdleWorkers(settings.max_idle_workers)
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0

    async def start(self) -> None:
        """Start the zygote.

        Raises:
            Unavailable: if its interpreter does not come up, or this is not Linux.
        """
        if platform.system() != "Linux":
            raise Unavailable(
                "worker processes need Linux (memfd, prctl, /proc): run the node on Linux or in a VM"
            )
        self._loop = asyncio.get_running_loop()
        self._events = EventBatch(self._on_events)
        self._scratch = Scratch(self._settings.scratch_dir)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="farlane-executor-files")
        self._conclusion = Conclusion(self._settings, self._scratch, self._threads)
        self._watchdog = Watchdog(self._scratch, self._threads, self._kill)
        self._fleet = Fleet(self._settings, self._scratch, self._threads, self)
        self._open = True
        try:
            await self._fleet.start()
        except Unavailable:
            await self.close()
            raise

    def submit(self, bundle: Bundle) -> None:
        """See `Executor.submit`."""
        if not self._open:
            raise Unavailable("the executor is not running: call start() first, and nothing after close()")
        known = [one.ticket for one in bundle.executions if one.ticket in self._assignments]
        if (
            not bundle.executions
            or known
            or len({one.ticket for one in bundle.executions}) < len(bundle.executions)
        ):
            raise InvalidInput(
                f"a bundle needs executions with tickets that are not in use; in use: {known[:5]}"
            )
        key = WorkerKey(bundle.pool, bundle.site_path, bundle.gpus)
        batch = [Assignment(execution, key) for execution in bundle.executions]
        self._assignments.update((one.execution.ticket, one) for one in batch)
        if key.site_path is not None and not os.path.isdir(key.site_path):
            for one in batch:
                self._finish(
                    one, Failed(FailureKind.ENVIRONMENT, f"the environment {key.site_path} does not exist")
                )
            return
        self._queue.append(batch)
        self._dispatch()

    def cancel(self, ticket: int) -> None:
        """See `Executor.cancel`."""
        one = self._assignments.get(ticket)
        if one is None or one.cancelled:
            return
        worker = one.worker
        if worker is not None and one.sequence in worker.inflight:
            # First the flag, then the look: the worker does it the other way round, so one of both sees the other.
            worker.progress.set_cancelled(one.sequence, True)
            running = worker.running()
            if running is not None and running[0] is one:
                self._kill(worker, one, verdict.cancelled())
                return
            if one.sequence <= worker.last_result:
                return  # it has ended, and its result is on its way
        one.cancelled = True
        self._finish(one, verdict.cancelled("cancelled before it started"))

    def release(self, ticket: int) -> None:
        """See `Executor.release`."""
        if self._open and ticket in self._with_files:
            self._with_files.discard(ticket)
            self._threads.submit(self._scratch.remove_task, ticket)

    async def close(self) -> None:
        """See `Executor.close`."""
        if not self._open:
            return
        for one in list(self._assignments.values()):
            self._finish(one, verdict.cancelled("the executor was closed"))
        self._events.flush()
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
        await self._fleet.close()
        await self._loop.run_in_executor(self._threads, self._scratch.remove)
        await self._loop.run_in_executor(None, self._threads.shutdown)

    def on_zygote_ready(self) -> None:
        """See `FleetOwner`."""
        self._dispatch()

    def _dispatch(self) -> None:
        limit = self._settings.max_busy_workers or sys.maxsize
        while self._queue and self._fleet.can_spawn and len(self._busy) < limit:
            batch = [one for one in self._queue.popleft() if not one.cancelled]
            if not batch:
                continue
            key = batch[0].key
            worker = self._idle.take(key) or self._spawn(key, batch[0].execution.memory_bytes)
            self._busy[worker.number] = worker
            worker.assign(batch)
        self._schedule()

    def _spawn(self, key: WorkerKey, memory_bytes: int) -> WorkerLink:
        if len(self._idle) and memory_bytes > available_memory_bytes():
            while len(self._idle):  # what they hold no lease pays for
                self._fleet.kill(self._idle.pop_oldest())
        return self._fleet.spawn(key)

    def _kill(self, worker: WorkerLink, one: Assignment, failure: Failed) -> None:
        if worker.killing is None:
            worker.killing = Killing(one, failure)
            self._fleet.kill(worker)

    def on_results(self, worker: WorkerLink) -> None:
        """See `FleetOwner`: pass on what a worker has to say, and give it more to do."""
        ready = worker.ready_results()
        for result in ready:
            self._note_start(worker, worker.inflight[result.sequence], result.started_ns)
        self._pass_on_output(worker)
        for result in ready:
            one = worker.inflight.pop(result.sequence)
            worker.finished += 1
            if not one.cancelled:
                self._conclude(worker, one, result)
        if not ready or worker.gone or worker.killing is not None:
            return
        worker.feed()
        if worker.is_idle and self._busy.pop(worker.number, None) is not None:
            if worker.finished >= self._settings.max_tasks_per_worker:
                self._fleet.kill(worker)
            else:
                for surplus in self._idle.put(worker, time.monotonic()):
                    self._fleet.kill(surplus)
            self._dispatch()

    def on_broken(self, worker: WorkerLink, what: str) -> None:
        """See `FleetOwner`: nobody but the running task can have done it."""
        blamed = next(iter(worker.inflight.values()), None)
        if blamed is not None:
            self._kill(
                worker, blamed, Failed(FailureKind.WORKER_EXIT, f"the task disturbed its worker: {what}")
            )

    def _pass_on_output(self, worker: WorkerLink) -> None:
        for stream, capture in worker.captures.items():
            for sequence, data in capture.take():
                one = worker.inflight.get(sequence)
                if one is not None and not one.cancelled:
                    self._note_start(worker, one)
                    self._events.add(Output(one.execution.ticket, stream, data))

    def _note_start(self, worker: WorkerLink, one: Assignment, started_ns: int | None = None) -> None:
        if one.started or one.cancelled:
            return
        one.started = True
        if started_ns is None:
            running = worker.running()
            same = running is not None and running[0] is one
            started_ns = running[1].started_ns if running is not None and same else time.monotonic_ns()
        self._events.add(Started(one.execution.ticket, started_ns / 1e9))

    def _conclude(self, worker: WorkerLink, one: Assignment, result: frames.Result) -> None:
        peak_bytes = max(result.peak_bytes, worker.tree_peak_bytes(result.sequence))
        usage = Usage(result.cpu_ns / 1e9, result.wall_ns / 1e9, peak_bytes or None)
        if result.kind == frames.VALUE:
            self._finish(one, Value(result.payload), usage)
        else:
            self._conclusion.of(one.execution, result, partial(self._finish_and_clean, one, usage))

    def _finish_and_clean(self, one: Assignment, usage: Usage, outcome: Outcome) -> None:
        self._with_files.add(one.execution.ticket)
        self._finish(one, outcome, usage)
        has_files = isinstance(outcome, Value) or (isinstance(outcome, CommandResult) and outcome.outputs)
        if not has_files:
            self.release(one.execution.ticket)

    def _finish(self, one: Assignment, outcome: Outcome, usage: Usage = Usage(0.0, 0.0, None)) -> None:  # noqa: B008
        ticket = one.execution.ticket
        if self._assignments.pop(ticket, None) is None:
            return  # ended meanwhile by close()
        self._events.add(Finished(ticket, outcome, usage))

    def on_exited(self, worker: WorkerLink, notice: frames.Exited) -> None:
        """See `FleetOwner`: blame who ran, keep what was finished, run the rest elsewhere."""
        self._busy.pop(worker.number, None)
        self._idle.discard(worker)
        worker.gone = True
        worker.drain()
        self.on_results(worker)
        self._blame(worker, notice)
        rest = [one for one in (*worker.inflight.values(), *worker.backlog) if not one.cancelled]
        if worker.finished == 0 and worker.killing is None and not worker.blamed:
            rest = self._without_futile(rest, notice)
        for one in rest:
            one.worker = None
        if rest:
            self._queue.appendleft(rest)
        worker.close()
        self._threads.submit(self._scratch.remove_worker, worker.number)
        self._dispatch()

    def _blame(self, worker: WorkerLink, notice: frames.Exited) -> None:
        running = worker.running()
        if worker.killing is not None:
            blamed, failure = worker.killing
        elif running is not None:
            blamed, failure = running[0], verdict.exited(notice)
        else:
            return
        if worker.inflight.pop(blamed.sequence, None) is not blamed or blamed.cancelled:
            return  # it finished just before
        worker.blamed = True
        usage = Usage(0.0, 0.0, None)
        if running is not None and running[0] is blamed:
            self._note_start(worker, blamed, running[1].started_ns)
            usage = _usage_at_exit(worker, running[1], notice, isinstance(blamed.execution.call, CommandCall))
        self._finish_and_clean(blamed, usage, failure)

    def _without_futile(self, rest: list[Assignment], notice: frames.Exited) -> list[Assignment]:
        """Count a worker that died before it ran anything against all it held; give up on the third."""
        for one in rest:
            one.futile_starts += 1
            if one.futile_starts >= _MAX_FUTILE_STARTS:
                self._finish(
                    one,
                    verdict.lost(
                        f"{_MAX_FUTILE_STARTS} workers died before it: {verdict.exited(notice).message}"
                    ),
                )
        return [one for one in rest if one.futile_starts < _MAX_FUTILE_STARTS]

    def _schedule(self) -> None:
        """Set the next look: soon while something runs, else when an idle worker has waited long enough."""
        if not self._open:
            return
        now_s = time.monotonic()
        if self._busy:
            due_s = now_s + self._settings.watch_period_s
        elif (oldest_s := self._idle.oldest_s()) is not None:
            due_s = oldest_s + self._settings.idle_timeout_s + self._settings.watch_period_s
        else:
            return
        if self._timer is not None:
            if self._due_s <= due_s:
                return
            self._timer.cancel()
        self._due_s = due_s
        self._timer = self._loop.call_later(max(0.0, due_s - now_s), self._tick)

    def _tick(self) -> None:
        self._timer = None
        now_s = time.monotonic()
        for worker in list(self._busy.values()):
            self._look_at(worker, now_s)
        for worker in self._idle.expired(now_s - self._settings.idle_timeout_s):
            self._fleet.kill(worker)
        self._schedule()

    def _look_at(self, worker: WorkerLink, now_s: float) -> None:
        running = worker.running()
        if running is not None and now_s - running[1].started_ns / 1e9 > self._settings.watch_period_s:
            worker.peek()  # short tasks before a long one: their results wait in the worker
        worker.read_logs()
        self.on_results(worker)
        running = worker.running()
        if running is not None and worker.killing is None:
            self._note_start(worker, running[0], running[1].started_ns)
            self._watchdog.check(worker, *running, now_s)


def _usage_at_exit(worker: WorkerLink, running: Running, notice: frames.Exited, command: bool) -> Usage:
    """Return what a task used until its worker died: the worker's whole life minus what came before the task."""
    # A script's processes are not the worker's memory: there only the samples of the tree count.
    own_bytes = 0 if command else notice.peak_bytes
    peak_bytes = max(own_bytes, worker.tree_peak_bytes(running.sequence))
    cpu_s = max(0.0, notice.cpu_s - running.cpu_ns / 1e9)
    return Usage(cpu_s, max(0.0, time.monotonic() - running.started_ns / 1e9), peak_bytes or None)
