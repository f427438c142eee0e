"""The node's end of one worker: its socket, its two log pipes, its shared memory, and what it was given to do."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from farlane.errors import Corrupted
from farlane.node.executors import frames
from farlane.node.executors.log_capture import StreamCapture
from farlane.node.executors.port import CommandCall, Execution, Failed, FunctionCall, PoolKey, ServeCall
from farlane.node.executors.progress import MAX_ITEMS, Progress, Running, create_progress_file
from farlane.node.executors.scratch import Scratch
from farlane.node.executors.watch import MemoryWatch
from farlane.node.executors.worker_streams import NONCE_BYTES

_READ_BYTES = 1 << 16
_READ_ALL_LIMIT = 1 << 21
_PASS_ON_BYTES = 1 << 17
_HOT_BYTES = 1 << 14
_MAX_FRAME_PAYLOAD_BYTES = 4 << 20
_STREAMS = ("stdout", "stderr")


class WorkerKey(NamedTuple):
    """What must be equal for a worker to be used again."""

    pool: PoolKey
    site_path: str | None
    gpus: tuple[int, ...]


@dataclass(slots=True)
class Assignment:
    """One execution on its way through the executor."""

    execution: Execution
    key: WorkerKey
    worker: WorkerLink | None = None
    sequence: int = 0
    started: bool = False
    cancelled: bool = False
    futile_starts: int = 0
    disk_checked_s: float = 0.0


class Killing(NamedTuple):
    """Why a worker is being killed, and because of whom."""

    assignment: Assignment
    failure: Failed


class WorkerLink:
    """One worker, from the request to fork it until its last byte is read.

    Args:
        number: the node's name for it.
        key: whom it serves.
        scratch: where its tasks' files go.
        max_log_bytes: bytes kept per task and stream.
        on_results: called when `results` may have grown, or output was found.
        on_broken: called when it sends what no worker sends.
    """

    def __init__(
        self,
        number: int,
        key: WorkerKey,
        scratch: Scratch,
        max_log_bytes: int,
        on_results: Callable[[WorkerLink], None],
        on_broken: Callable[[WorkerLink, str], None],
    ) -> None:
        self.number = number
        self.key = key
        self.pid = 0
        self.watch: MemoryWatch | None = None
        self.backlog: deque[Assignment] = deque()
        self.inflight: dict[int, Assignment] = {}
        self.results: deque[frames.Result] = deque()
        self.finished = 0
        self.killing: Killing | None = None
        self.idle_since_s = 0.0
        self.watched_sequence = 0
        self.watched_since_s = 0.0
        self.gone = False
        self.blamed = False
        self.last_result = 0
        self._loop = asyncio.get_running_loop()
        self._scratch = scratch
        self._on_results = on_results
        self._on_broken = on_broken
        self._last_sequence = 0
        self._outgoing = bytearray()
        self._incoming = bytearray()
        self.nonce = secrets.token_bytes(NONCE_BYTES)
        self.captures = {stream: StreamCapture(self.nonce, max_log_bytes) for stream in _STREAMS}
        self.inherited = self._open()
        """Descriptors for the worker: work socket, progress memory, stdout, stderr."""

    def _open(self) -> tuple[int, int, int, int]:
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        memory = create_progress_file()
        self.progress = Progress(memory)
        self._pipes: dict[str, int] = {}
        self._hot: dict[str, int] = {}  # streams the loop watches -> bytes since the last look
        ends = []
        for stream in _STREAMS:
            self._pipes[stream], end = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._pipes[stream], False)
            ends.append(end)
        self._loop.add_reader(self._socket.fileno(), self._read_results)
        return theirs.detach(), memory, ends[0], ends[1]

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing to do and nothing to deliver."""
        return not self.inflight and not self.backlog

    def assign(self, assignments: Sequence[Assignment]) -> None:
        """Give it executions; they run in order, after those it has."""
        self.backlog.extend(assignments)
        self.feed()

    def feed(self) -> None:
        """Send the next of its backlog, if it has finished what was sent before."""
        if self.inflight or not self.backlog:
            return
        items: list[frames.Item] = []
        payload_bytes = 0
        while self.backlog and len(items) < MAX_ITEMS and payload_bytes < _MAX_FRAME_PAYLOAD_BYTES:
            assignment = self.backlog.popleft()
            self._last_sequence += 1
            assignment.worker, assignment.sequence = self, self._last_sequence
            self.inflight[self._last_sequence] = assignment
            self.progress.set_cancelled(self._last_sequence, False)
            call = assignment.execution.call
            assert not isinstance(call, ServeCall)  # replicas run at the serving executor
            payload_bytes += len(call.payload or b"") if isinstance(call, FunctionCall) else len(call.script)
            items.append(_item(assignment, self._scratch.of_task(assignment.execution.ticket)))
        self._send(frames.framed(frames.encoder.encode(items)))

    def running(self) -> tuple[Assignment, Running] | None:
        """Return what it runs now, or ran when it died."""
        running = self.progress.running()
        assignment = self.inflight.get(running.sequence) if running is not None else None
        return (assignment, running) if running is not None and assignment is not None else None

    def tree_peak_bytes(self, sequence: int) -> int:
        """Return the largest sample of an item's process tree; 0 if there was none."""
        return (
            self.watch.tree_peak_bytes if self.watch is not None and self.watched_sequence == sequence else 0
        )

    def peek(self) -> None:
        """Read results that still lie in its outbox, behind a long task or left by a dead worker."""
        self._accept(self.progress.peek())

    def drain(self) -> None:
        """Read everything a dead worker left."""
        self._read_results()
        for stream in _STREAMS:
            read = 0
            while self._pipes[stream] >= 0 and read < _READ_ALL_LIMIT:
                count = self._read_log_once(stream)
                if count == 0:
                    break
                read += count
            self.captures[stream].finish()
        self.peek()

    def read_logs(self) -> None:
        """Read what its pipes hold. To be called every few milliseconds while it runs something.

        The loop does not watch the pipes: each end mark of a short task would wake it. Only a stream that fills its
        pipe between two looks is watched, until it calms down.
        """
        for stream in _STREAMS:
            seen = self._hot.get(stream)
            if seen is None:
                if self._read_log_once(stream) >= _HOT_BYTES:
                    self._hot[stream] = 0
                    self._loop.add_reader(self._pipes[stream], self._read_hot_log, stream)
            elif seen < _HOT_BYTES:
                self._cool(stream)
            else:
                self._hot[stream] = 0

    def ready_results(self) -> list[frames.Result]:
        """Take the results whose output is here entirely."""
        if self.results and self.results[-1].sequence > self._complete():
            for stream in _STREAMS:  # the marks are written before the result: they are in the pipes by now
                self._read_log_once(stream)
        complete = self._complete()
        ready = []
        while self.results and self.results[0].sequence <= complete:
            ready.append(self.results.popleft())
        return ready

    def close(self) -> None:
        """Let go of sockets, pipes and memory."""
        self._close_socket()
        for stream in _STREAMS:
            self._close_pipe(stream)
        if self.watch is not None:
            self.watch.close()
        self.progress.close()

    def _complete(self) -> int:
        return min(capture.complete for capture in self.captures.values())

    def _send(self, data: bytes) -> None:
        if self._outgoing:
            self._outgoing += data
            return
        sent = self._try_send(data)
        if sent < len(data):
            self._outgoing += memoryview(data)[sent:]
            self._loop.add_writer(self._socket.fileno(), self._flush)

    def _flush(self) -> None:
        del self._outgoing[: self._try_send(self._outgoing)]
        if not self._outgoing:
            self._loop.remove_writer(self._socket.fileno())

    def _try_send(self, data: bytes | bytearray) -> int:
        if self._socket.fileno() < 0:
            return len(data)  # it died: whoever hears of that gives its work to another
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def _read_results(self) -> None:
        while self._socket.fileno() >= 0:
            try:
                data = self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._close_socket()
                return
            self._incoming += data
            del self._incoming[: self._accept(self._incoming)]
            if len(data) < _READ_BYTES:
                return

    def _accept(self, buffer: bytearray | bytes) -> int:
        """Take new results from a buffer; returns how much of it was used."""
        try:
            results, used = frames.split_results(buffer)
        except Corrupted as error:
            self._on_broken(self, str(error))
            return len(buffer)
        for result in results:
            # The outbox is read twice: once by `peek`, once as it is sent.
            if result.sequence == self.last_result + 1 and result.sequence in self.inflight:
                self.last_result += 1
                self.results.append(result)
        if results:
            self._on_results(self)
        return used

    def _cool(self, stream: str) -> None:
        if self._hot.pop(stream, None) is not None:
            self._loop.remove_reader(self._pipes[stream])

    def _read_hot_log(self, stream: str) -> None:
        count = self._read_log_once(stream)
        if stream in self._hot:  # not closed by its end
            self._hot[stream] += count
        if self.results or self.captures[stream].held_bytes > _PASS_ON_BYTES:
            self._on_results(self)

    def _read_log_once(self, stream: str) -> int:
        if self._pipes[stream] < 0:
            return 0
        try:
            data = os.read(self._pipes[stream], _READ_BYTES)
        except BlockingIOError:
            return 0
        if not data:
            self._close_pipe(stream)
        self.captures[stream].feed(data)
        return len(data)

    def _close_socket(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()

    def _close_pipe(self, stream: str) -> None:
        if self._pipes[stream] >= 0:
            self._cool(stream)
            os.close(self._pipes[stream])
            self._pipes[stream] = -1


def _item(assignment: Assignment, scratch: str) -> frames.Item:
    execution, call = assignment.execution, assignment.execution.call
    if isinstance(call, CommandCall):
        return frames.CommandItem(
            assignment.sequence,
            call.script,
            call.setup,
            call.inputs,
            scratch,
            execution.memory_bytes,
            execution.disk_bytes,
            (*execution.env, *call.env),
            execution.index,
        )
    assert isinstance(call, FunctionCall)  # replicas run at the serving executor
    return frames.FunctionItem(
        assignment.sequence,
        call.function,
        call.function_path,
        call.payload,
        call.payload_path,
        Scratch.result_of(scratch),
        execution.memory_bytes,
        execution.disk_bytes,
        execution.env,
        execution.index,
    )
