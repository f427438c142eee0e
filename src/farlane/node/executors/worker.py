"""The worker: a forked process that runs one publisher's items one after another and reports how each ended."""

from __future__ import annotations

import faulthandler
import os
import socket
import time

from farlane.node.executors import frames
from farlane.node.executors.command_run import run_command
from farlane.node.executors.confinement import PROGRESS, SOCKET, STDERR, STDOUT, Surroundings
from farlane.node.executors.function_run import Done, FunctionRunner
from farlane.node.executors.metering import TINY_NS, Meter
from farlane.node.executors.process_control import has_children, kill_descendants
from farlane.node.executors.progress import Progress
from farlane.node.executors.worker_streams import WorkerStreams

_SEND_AFTER_NS = 5_000_000
"""Results wait at most this long for company (in the outbox, where the node can see them)."""

_LONG_TASK_NS = 2_000_000
"""After a task this long its result is sent at once: batching would save nothing."""


class Worker:
    """One worker's loop.

    Args:
        spawn: what the node asked for.
    """

    def __init__(self, spawn: frames.Spawn) -> None:
        self._socket = socket.socket(fileno=SOCKET)
        self._socket.setblocking(True)
        self._progress = Progress(PROGRESS)
        os.close(PROGRESS)
        self._surroundings = Surroundings(spawn)
        self._streams = WorkerStreams(STDOUT, STDERR, spawn.nonce)
        # A crash in native code prints where Python was, into the task's own stderr.
        faulthandler.enable(file=STDERR, all_threads=False)
        self._functions = FunctionRunner(spawn.max_result_bytes)
        self._meter = Meter()
        self._pid = os.getpid()
        self._sent_ns = 0
        self._retired = False

    def run(self) -> None:
        """Serve until the node hangs up or the worker is no longer fit for use."""
        while not self._retired and (work := self._receive()):
            self._sent_ns = time.monotonic_ns()
            for item in frames.work_decoder.decode(work):
                if self._run(item):
                    self._retired = True
                    break
            self._send()
            # After the last result is out: nobody waits for this.
            self._retired = self._retired or not self._surroundings.reset()
            self._streams.restore()

    def _receive(self) -> bytes:
        header = self._receive_exactly(frames.LENGTH.size)
        return self._receive_exactly(frames.LENGTH.unpack(header)[0]) if header else b""

    def _receive_exactly(self, size: int) -> bytes:
        parts = bytearray(size)
        view = memoryview(parts)
        while view:
            count = self._socket.recv_into(view)
            if count == 0:
                return b""
            view = view[count:]
        return bytes(parts)

    def _run(self, item: frames.Item) -> bool:
        """Run one item; returns whether it made this worker unfit for another."""
        sequence = item.sequence
        started_ns = time.monotonic_ns()
        self._progress.begin(sequence, started_ns, self._meter.start())
        if self._progress.is_cancelled(sequence):
            done, peak_bytes = Done("cancelled", message="cancelled before it started"), 0
        else:
            done, peak_bytes = self._execute(item)
        if os.getpid() != self._pid:
            os._exit(0)  # the function forked and its child came back here: the parent alone reports
        ended_ns = time.monotonic_ns()
        unfit = False
        if ended_ns - started_ns < TINY_NS:
            self._streams.end(sequence)
            metered = self._meter.stop_tiny(ended_ns - started_ns)
        else:
            # Before the end mark: what a left process still prints belongs to this task.
            unfit = self._reap(item)
            self._streams.end(sequence)
            metered = self._meter.stop()
            ended_ns = time.monotonic_ns()
        result = frames.Result(
            sequence,
            done.kind,
            done.payload,
            done.message,
            done.traceback,
            started_ns,
            ended_ns - started_ns,
            metered.cpu_ns,
            peak_bytes or metered.peak_bytes,
        )
        self._post(frames.framed(frames.encoder.encode(result)))
        self._progress.finish(sequence)
        if ended_ns - started_ns > _LONG_TASK_NS or ended_ns - self._sent_ns > _SEND_AFTER_NS:
            self._send()
            self._sent_ns = ended_ns
        return unfit

    def _execute(self, item: frames.Item) -> tuple[Done, int]:
        """Return how the item ended, and its peak if it was measured apart from this process."""
        self._surroundings.enter(item.env, item.index, item.memory_bytes, item.disk_bytes)
        if isinstance(item, frames.FunctionItem):
            return self._functions.run(item), 0
        return run_command(item)

    def _reap(self, item: frames.Item) -> bool:
        if not has_children():
            return False
        kill_descendants()
        # A function that left processes may hold pools and pipes to them in its globals: start afresh.
        # What a script leaves has no hold on this process, unless it cannot be killed.
        return isinstance(item, frames.FunctionItem) or has_children()

    def _post(self, frame: bytes) -> None:
        if not self._progress.post(frame):
            self._send()
            self._progress.post(frame)  # a result is always smaller than the outbox

    def _send(self) -> None:
        pending = self._progress.pending()
        if pending:
            self._socket.sendall(pending)
            self._progress.sent()
