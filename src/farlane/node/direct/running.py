"""Running one directly ordered task: what it brings in, its leaf's facts and what it produced out."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from farlane.domain.failures import Failure, FailureKind
from farlane.errors import Unavailable
from farlane.ledger.direct_leaf import Produced
from farlane.node.executors.port import (
    INLINE_PAYLOAD_BYTES,
    Bundle,
    CommandCall,
    CommandResult,
    Event,
    Execution,
    Executor,
    Failed,
    Finished,
    FunctionCall,
    OnEvents,
    Outcome,
    Output,
    PoolKey,
)
from farlane.node.executors.process_executor import ProcessExecutor
from farlane.node.executors.settings import ProcessExecutorSettings
from farlane.wire.compute import MAX_FILES_BYTES, MAX_INLINE_FILES, MAX_PRINT_BYTES, STREAMS, TaskOrder

_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What came of a run; lease_ms: wall time from the submit to the end."""

    lease_ms: int
    failure: Failure | None
    produced: Produced = field(default_factory=Produced)
    stdout: bytes = b""
    stderr: bytes = b""


class Prints:
    """What a task has printed so far, up to MAX_PRINT_BYTES a stream, for whoever follows it while it runs."""

    def __init__(self) -> None:
        self._kept = {name: bytearray() for name in STREAMS}
        self._more = asyncio.Event()
        self._ended = False

    def add(self, stream: str, data: bytes) -> None:
        """Take what was printed."""
        kept = self._kept[stream]
        kept += data[: MAX_PRINT_BYTES - len(kept)]
        self._wake()

    def end(self) -> None:
        """Say that nothing more comes."""
        self._ended = True
        self._wake()

    def all(self, stream: str) -> bytes:
        """Return one stream so far."""
        return bytes(self._kept[stream])

    async def follow(self) -> AsyncIterator[tuple[str, bytes]]:
        """Yield stream and bytes as they come, from the beginning, until the end."""
        seen = dict.fromkeys(STREAMS, 0)
        while True:
            more, ended = self._more, self._ended
            for name in STREAMS:
                while chunk := bytes(self._kept[name][seen[name] : seen[name] + _CHUNK_BYTES]):
                    seen[name] += len(chunk)
                    yield name, chunk
            if ended:
                return
            await more.wait()

    def _wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()


@dataclass(slots=True)
class _Run:
    done: asyncio.Future[Outcome]
    prints: Prints


class DirectRunner:
    """Runs tasks; make it, `start` it, `close` it.

    Args:
        directory: for what tasks bring and for working directories; emptied at the start.
    """

    def __init__(self, directory: Path) -> None:
        self._inputs = directory / "inputs"
        self._tickets = itertools.count(1)
        self._runs: dict[int, _Run] = {}
        self._closing = False
        shutil.rmtree(directory, ignore_errors=True)
        self._inputs.mkdir(parents=True)
        self._executor = _executor(directory / "scratch", self._on_events)

    async def start(self) -> None:
        """Make ready.

        Raises:
            Unavailable: nothing can run here.
        """
        await self._executor.start()

    async def close(self) -> None:
        """End what runs; it fails with Unavailable, so that nothing of it is booked."""
        self._closing = True
        await self._executor.close()

    async def run(self, publisher: str, order: TaskOrder, gpus: tuple[int, ...], prints: Prints) -> RunFacts:
        """Run one task to its end, however that looks.

        Args:
            publisher: whose worker may run it.
            order: a command or a function, with what it needs.
            gpus: indices of the devices it may see.
            prints: takes what it prints.

        Raises:
            Unavailable: the node stops.
        """
        ticket = next(self._tickets)
        run = self._runs[ticket] = _Run(asyncio.get_running_loop().create_future(), prints)
        spec, directory = order.spec, self._inputs / str(ticket)
        try:
            call = await asyncio.to_thread(_call, directory, order)
            wanted = spec.resources
            execution = Execution(
                ticket, call, spec.timeout_ms / 1000, wanted.memory_bytes, wanted.disk_bytes, spec.env
            )
            began_ns = time.monotonic_ns()
            self._executor.submit(Bundle(PoolKey(publisher), None, gpus, (execution,)))
            outcome = await run.done
            lease_ms = (time.monotonic_ns() - began_ns) // 1_000_000
            if self._closing:
                raise Unavailable("the node has stopped before the task had ended: order it again later")
            failure, produced = await asyncio.to_thread(_collect, outcome)
            return RunFacts(lease_ms, failure, produced, *(prints.all(name) for name in STREAMS))
        finally:
            prints.end()
            self._executor.cancel(ticket)
            self._executor.release(ticket)
            self._runs.pop(ticket, None)
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    def _on_events(self, events: list[Event]) -> None:
        for event in events:
            run = self._runs.get(event.ticket)
            if run is None:
                continue
            if isinstance(event, Output):
                run.prints.add(event.stream, event.data)
            elif isinstance(event, Finished) and not run.done.done():
                run.done.set_result(event.outcome)


def _executor(scratch: Path, on_events: OnEvents) -> Executor:
    settings = ProcessExecutorSettings(
        scratch, max_result_bytes=MAX_FILES_BYTES, max_output_files=MAX_INLINE_FILES
    )
    return ProcessExecutor(settings, on_events)


def _call(directory: Path, order: TaskOrder) -> CommandCall | FunctionCall:
    """Write what a task brings into files of its own; returns how it is called."""
    spec = order.spec
    directory.mkdir()
    if spec.command is not None:
        command = spec.command
        placed = []
        for number, (path, content) in enumerate(order.inputs.items()):
            file = directory / str(number)  # under a name of ours: theirs is for the working directory
            file.write_bytes(content)
            placed.append((path, str(file)))
        return CommandCall(command.run, command.setup, spec.env, tuple(placed), command.outputs)
    assert spec.function is not None  # an order is for one of both
    function, payload = directory / "function", directory / "payload"
    function.write_bytes(order.function)
    if len(order.payload) <= INLINE_PAYLOAD_BYTES:
        return FunctionCall(spec.function.function.cid, str(function), order.payload)
    payload.write_bytes(order.payload)
    return FunctionCall(spec.function.function.cid, str(function), None, str(payload))


def _collect(outcome: Outcome) -> tuple[Failure | None, Produced]:
    if isinstance(outcome, Failed):
        failure = Failure(outcome.kind, outcome.message, outcome.traceback, outcome.exception or b"")
        return failure, Produced()
    if isinstance(outcome, CommandResult):
        size = sum(file.size_bytes for file in outcome.outputs)
        if size > MAX_FILES_BYTES:
            words = f"the output files have {size} bytes; a direct call brings back at most {MAX_FILES_BYTES}"
            return Failure(FailureKind.RESULT_TOO_LARGE, words), Produced()
        return None, Produced({file.path: Path(file.file).read_bytes() for file in outcome.outputs})
    if outcome.payload is not None:
        return None, Produced(value=outcome.payload)
    assert outcome.payload_path is not None  # a value is in one of both places
    return None, Produced(value=Path(outcome.payload_path).read_bytes())
