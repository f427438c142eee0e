"""Running one directly ordered command: its files in, its leaf's facts and files out, on a share of the machine."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from farlane.domain.failures import Failure, FailureKind
from farlane.domain.jobs import JobSpec
from farlane.domain.resources import Capacity, Resources
from farlane.errors import Exhausted, InvalidInput
from farlane.node.executors.port import (
    Bundle,
    CommandCall,
    CommandResult,
    Event,
    Execution,
    Executor,
    Failed,
    Finished,
    OnEvents,
    Outcome,
    Output,
    PoolKey,
)
from farlane.node.executors.process_executor import ProcessExecutor
from farlane.node.executors.settings import ProcessExecutorSettings
from farlane.wire.compute import MAX_FILES_BYTES, MAX_INLINE_FILES, MAX_PRINT_BYTES


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What came of a run; lease_ms: wall time from the submit to the end."""

    lease_ms: int
    failure: Failure | None
    outputs: Mapping[str, bytes] = field(default_factory=dict)
    stdout: bytes = b""
    stderr: bytes = b""


@dataclass(slots=True)
class _Run:
    done: asyncio.Future[Outcome]
    prints: dict[str, bytearray] = field(
        default_factory=lambda: {"stdout": bytearray(), "stderr": bytearray()}
    )


class Share:
    """What of the machine direct calls may use; nothing is given twice.

    Args:
        capacity: the share.
    """

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self._cpu, self._memory, self._disk = capacity.cpu_milli, capacity.memory_bytes, capacity.disk_bytes

    def check(self, wanted: Resources) -> None:
        """Refuse what can never run here.

        Raises:
            InvalidInput: it asks for more than the share, or for a GPU.
        """
        offered = self.capacity
        if wanted.gpu is not None:
            raise InvalidInput(
                "direct calls get no GPU in this version: ask for cores, memory and disk alone"
            )
        asked = (wanted.cpu_milli, wanted.memory_bytes, wanted.disk_bytes)
        there = (offered.cpu_milli, offered.memory_bytes, offered.disk_bytes)
        if any(one > all_ for one, all_ in zip(asked, there, strict=True)):
            raise InvalidInput(
                f"the task asks for {asked[0] / 1000:g} cores, {asked[1]} bytes of memory and {asked[2]} of disk; this "
                f"node's share for direct calls is {there[0] / 1000:g}, {there[1]} and {there[2]}"
            )

    def take(self, wanted: Resources) -> None:
        """Reserve resources.

        Raises:
            Exhausted: other tasks have them at the moment.
        """
        self.check(wanted)
        if (
            wanted.cpu_milli > self._cpu
            or wanted.memory_bytes > self._memory
            or wanted.disk_bytes > self._disk
        ):
            raise Exhausted("the node is busy: other tasks have its share for direct calls; try again later")
        self._cpu -= wanted.cpu_milli
        self._memory -= wanted.memory_bytes
        self._disk -= wanted.disk_bytes

    def give_back(self, wanted: Resources) -> None:
        """Return what was reserved."""
        self._cpu += wanted.cpu_milli
        self._memory += wanted.memory_bytes
        self._disk += wanted.disk_bytes


class DirectRunner:
    """Runs commands; make it, `start` it, `close` it.

    Args:
        directory: for input files and working directories; emptied at the start.
    """

    def __init__(self, directory: Path) -> None:
        self._inputs = directory / "inputs"
        self._tickets = itertools.count(1)
        self._runs: dict[int, _Run] = {}
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
        """End what runs."""
        await self._executor.close()

    async def run(self, publisher: str, spec: JobSpec, inputs: Mapping[str, bytes]) -> RunFacts:
        """Run one command to its end, however that looks.

        Args:
            publisher: whose worker may run it.
            spec: a job with a command.
            inputs: path -> content, exactly the files of the specification.
        """
        assert spec.command is not None  # checked by whoever takes orders
        ticket, place = next(self._tickets), None
        run = self._runs[ticket] = _Run(asyncio.get_running_loop().create_future())
        try:
            place = await asyncio.to_thread(_write_inputs, self._inputs / str(ticket), inputs)
            command = spec.command
            call = CommandCall(command.run, command.setup, spec.env, place, command.outputs)
            wanted = spec.resources
            execution = Execution(
                ticket, call, spec.timeout_ms / 1000, wanted.memory_bytes, wanted.disk_bytes, spec.env
            )
            began_ns = time.monotonic_ns()
            self._executor.submit(Bundle(PoolKey(publisher), None, (), (execution,)))
            outcome = await run.done
            lease_ms = (time.monotonic_ns() - began_ns) // 1_000_000
            failure, outputs = await asyncio.to_thread(_collect, outcome)
            prints = {name: bytes(kept) for name, kept in run.prints.items()}
            return RunFacts(lease_ms, failure, outputs, prints["stdout"], prints["stderr"])
        finally:
            self._executor.cancel(ticket)
            self._executor.release(ticket)
            self._runs.pop(ticket, None)
            await asyncio.to_thread(shutil.rmtree, self._inputs / str(ticket), ignore_errors=True)

    def _on_events(self, events: list[Event]) -> None:
        for event in events:
            run = self._runs.get(event.ticket)
            if run is None:
                continue
            if isinstance(event, Output):
                kept = run.prints[event.stream]
                kept += event.data[: MAX_PRINT_BYTES - len(kept)]
            elif isinstance(event, Finished) and not run.done.done():
                run.done.set_result(event.outcome)


def _executor(scratch: Path, on_events: OnEvents) -> Executor:
    settings = ProcessExecutorSettings(
        scratch, max_result_bytes=MAX_FILES_BYTES, max_output_files=MAX_INLINE_FILES
    )
    return ProcessExecutor(settings, on_events)


def _write_inputs(directory: Path, inputs: Mapping[str, bytes]) -> tuple[tuple[str, str], ...]:
    placed = []
    directory.mkdir()
    for number, (path, content) in enumerate(inputs.items()):
        file = directory / str(number)  # under a name of ours: theirs is for the working directory
        file.write_bytes(content)
        placed.append((path, str(file)))
    return tuple(placed)


def _collect(outcome: Outcome) -> tuple[Failure | None, dict[str, bytes]]:
    if isinstance(outcome, Failed):
        return Failure(outcome.kind, outcome.message), {}
    assert isinstance(outcome, CommandResult)  # only commands are run
    size = sum(file.size_bytes for file in outcome.outputs)
    if size > MAX_FILES_BYTES:
        words = f"the output files have {size} bytes; a direct call brings back at most {MAX_FILES_BYTES}"
        return Failure(FailureKind.RESULT_TOO_LARGE, words), {}
    return None, {file.path: Path(file.file).read_bytes() for file in outcome.outputs}
