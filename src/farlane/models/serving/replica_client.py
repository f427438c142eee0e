"""Starts a replica process and asks it: many requests over one connection, each with its own stream of answers."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from farlane.domain.inference import InferenceReply, InferenceRequest, ModelDescription
from farlane.errors import (
    ConnectionLost,
    Corrupted,
    DeadlineExceeded,
    FarlaneError,
    Internal,
    Unavailable,
    leaves,
)
from farlane.kit.tasks import TaskSupervisor
from farlane.models.serving import frames
from farlane.models.serving.gpus import gpus_environment
from farlane.models.serving.limits import ServingLimits
from farlane.models.serving.statistics import ReplicaStatistics

T = TypeVar("T")

log = logging.getLogger(__name__)

LAST_WORDS = 20
"""Lines of a replica's stderr that are kept for the error when it dies."""
GRACE_S = 5.0
"""How much later than the replica itself the client gives up, and how long a replica may take to end."""
_MAX_SOCKET_PATH = 100  # the kernel takes 107 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSpec:
    """What to serve and with how much of the machine."""

    folder: Path
    """The model's files."""
    runtime: str | None = None
    """A name of `RUNTIME_NAMES`; None goes by the files."""
    threads: int = 1
    streams: int = 2
    """Generations that run at the same time."""
    context_tokens: int = 0
    """0 takes what the model was trained for."""
    memory_bytes: int = 0
    """Private memory of the process; 0 sets no limit, nor do GPUs. The model's mapped file does not count."""
    gpus: tuple[int, ...] | None = None
    """Devices that it may see, as NVML counts them; None leaves it those that this process sees."""
    limits: ServingLimits = field(default_factory=ServingLimits)

    def command(self, socket: Path) -> list[str]:
        """Return the command line of the process."""
        options: dict[str, object] = {
            "folder": self.folder.resolve(),
            "socket": socket,
            "threads": self.threads,
            "streams": self.streams,
            "context-tokens": self.context_tokens,
            "memory-bytes": self.memory_bytes,
        }
        options |= {name.replace("_", "-"): value for name, value in asdict(self.limits).items()}
        if self.runtime:
            options["runtime"] = self.runtime
        flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        return [sys.executable, "-P", "-m", "farlane.models.serving.replica", *flags]


class ReplicaProcess:
    """A running replica; made by `start`. Every method may be called by several tasks at once."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Queue[frames.FromReplica | FarlaneError]] = {}
        self._death: FarlaneError | None = None
        self._ended = asyncio.Event()
        self._description: ModelDescription | None = None
        self._last_words: collections.deque[str] = collections.deque(maxlen=LAST_WORDS)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def description(self) -> ModelDescription:
        """What the model is, as it said when it had been loaded."""
        assert self._description is not None  # `start` asked for it
        return self._description

    @staticmethod
    @contextlib.asynccontextmanager
    async def start(
        spec: ReplicaSpec,
        directory: Path,
        *,
        start_timeout_s: float = 120.0,
        on_output: Callable[[bytes], None] | None = None,
    ) -> AsyncGenerator[ReplicaProcess]:
        """Start a replica; it is loaded and has answered a probe when the block begins, and ended after it.

        Args:
            spec: the model and its limits.
            directory: the process works here; its socket lies here too.
            start_timeout_s: how long loading may take.
            on_output: takes each line that the process prints.

        Raises:
            FarlaneError: of the replica's own, where it cannot load the model; `Unavailable` where it died
                or was not ready in time.
        """
        with _socket_in(directory) as socket:
            process = await _spawn(spec, socket, directory)
            words: collections.deque[str] = collections.deque(maxlen=LAST_WORDS)
            try:
                async with TaskSupervisor("replica client") as tasks:
                    tasks.start(_log_stderr(process, words, on_output), "stderr", optional=True)
                    await _ready(process, words, start_timeout_s)
                    reader, writer = await asyncio.open_unix_connection(str(socket))
                    replica = ReplicaProcess(process, reader, writer)
                    replica._last_words = words
                    tasks.start(replica._receive(), "answers")
                    try:
                        replica._description = await replica.describe()
                        yield replica
                    finally:
                        writer.close()
                        await _end(process)
            finally:
                await _end(process)

    async def ask(self, request: InferenceRequest, deadline_s: float) -> AsyncGenerator[InferenceReply]:
        """Yield the reply, or the pieces of a generation.

        Close the iterator (`contextlib.aclosing`) when nobody waits any more: the replica then frees the slot.

        Args:
            request: the question.
            deadline_s: seconds from now.

        Raises:
            FarlaneError: what the replica answered; `ConnectionLost` where it died before it was done.
        """
        end_s = asyncio.get_running_loop().time() + deadline_s + GRACE_S
        async with self._exchange() as (request_id, answers):
            await self._send(frames.ask_frame(request_id, request, deadline_s))
            done = False
            try:
                while True:
                    frame = await _next(answers, end_s)
                    if isinstance(frame, frames.End):
                        done = True
                        return
                    if isinstance(frame, frames.Failed):
                        done = True
                        raise frames.error_of(frame)
                    yield _expected(frame, frames.Reply).reply()
            finally:
                if not done and self._death is None:
                    with contextlib.suppress(FarlaneError):
                        await self._send(frames.Cancel(request_id))

    async def describe(self, deadline_s: float = 10.0) -> ModelDescription:
        """Return what the model is.

        Raises:
            ConnectionLost: the replica died.
            DeadlineExceeded: it did not answer in time.
        """
        frame = await self._call(frames.Describe, deadline_s)
        return _expected(frame, frames.Described).description

    async def ready(self, deadline_s: float = 5.0) -> bool:
        """Tell whether the replica takes requests.

        Raises:
            ConnectionLost: the replica died.
            DeadlineExceeded: it did not answer in time.
        """
        return _expected(await self._call(frames.Health, deadline_s), frames.Healthy).ready

    async def statistics(self, deadline_s: float = 5.0) -> ReplicaStatistics:
        """Return the replica's counts.

        Raises:
            ConnectionLost: the replica died.
            DeadlineExceeded: it did not answer in time.
        """
        return _expected(await self._call(frames.Statistics, deadline_s), frames.Counted).statistics

    async def drain(self, deadline_s: float) -> None:
        """Let the replica refuse new requests and wait until it has answered those it has.

        Raises:
            ConnectionLost: the replica died.
            DeadlineExceeded: requests still run; the replica goes on draining.
        """
        _expected(await self._call(frames.Drain, deadline_s), frames.End)

    async def ended(self) -> FarlaneError:
        """Wait until the replica is gone and return why; a `ConnectionLost` with its last words."""
        await self._ended.wait()
        return self._death or ConnectionLost("the replica ended")

    async def _call(
        self,
        kind: type[frames.Describe | frames.Health | frames.Statistics | frames.Drain],
        deadline_s: float,
    ) -> frames.FromReplica:
        async with self._exchange() as (request_id, answers):
            await self._send(kind(request_id))
            return await _next(answers, asyncio.get_running_loop().time() + deadline_s)

    @contextlib.asynccontextmanager
    async def _exchange(
        self,
    ) -> AsyncIterator[tuple[int, asyncio.Queue[frames.FromReplica | FarlaneError]]]:
        if self._death is not None:
            raise self._copy_of_death()
        request_id = next(self._ids)
        answers: asyncio.Queue[frames.FromReplica | FarlaneError] = asyncio.Queue()
        self._waiting[request_id] = answers
        try:
            yield request_id, answers
        finally:
            del self._waiting[request_id]

    async def _send(self, frame: frames.ToReplica) -> None:
        try:
            self._writer.write(frames.encode(frame))
            await self._writer.drain()
        except (ConnectionError, RuntimeError) as error:
            raise self._copy_of_death() from error

    def _copy_of_death(self) -> ConnectionLost:
        if self._death is None:
            return ConnectionLost("the replica closed its connection; ask another replica")
        return ConnectionLost(self._death.message, **self._death.facts)

    async def _receive(self) -> None:
        """Hand every frame to whoever waits for it, until the replica is gone."""
        try:
            while (frame := await frames.read(self._reader, frames.from_replica)) is not None:
                if (answers := self._waiting.get(frame.id)) is not None:
                    answers.put_nowait(frame)
            code: int | None = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE_S):
                    code = await self._process.wait()
            self._die(_died(code, self._last_words))
        except FarlaneError as error:
            log.error("the replica sent what is no frame: %s", error)
            self._die(ConnectionLost(f"the replica sent what is no frame: {error}; ask another replica"))

    def _die(self, death: ConnectionLost) -> None:
        self._death = death
        self._ended.set()
        for answers in self._waiting.values():
            answers.put_nowait(self._copy_of_death())


async def _next(
    answers: asyncio.Queue[frames.FromReplica | FarlaneError], end_s: float
) -> frames.FromReplica:
    try:
        async with asyncio.timeout_at(end_s):
            frame = await answers.get()
    except TimeoutError as error:
        raise DeadlineExceeded("the replica did not answer in time; it may be overloaded") from error
    if isinstance(frame, FarlaneError):
        raise frame
    return frame


def _expected(frame: frames.FromReplica, kind: type[T]) -> T:
    if isinstance(frame, kind):
        return frame
    if isinstance(frame, frames.Failed):
        raise frames.error_of(frame)
    raise Corrupted(f"the replica answered with {type(frame).__name__}; expected {kind.__name__}")


@contextlib.contextmanager
def _socket_in(directory: Path) -> Iterator[Path]:
    """A path for a socket that the kernel takes: in `directory`, or in a short folder where that is too deep."""
    directory.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="replica-", dir=directory.resolve()))
    if len(os.fsencode(folder / "s")) > _MAX_SOCKET_PATH:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="replica-"))
    try:
        yield folder / "s"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _spawn(spec: ReplicaSpec, socket: Path, directory: Path) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *spec.command(socket),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        cwd=directory,
        env=_environment(spec),
    )


def _environment(spec: ReplicaSpec) -> dict[str, str]:
    """The environment of a replica: this package first, threads as told, nothing fetched by a library."""
    here = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    rules = {"PYTHONPATH": path, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1"}
    devices = {} if spec.gpus is None else gpus_environment(spec.gpus)
    return os.environ | dict.fromkeys(names, str(spec.threads)) | rules | devices


async def _log_stderr(
    process: asyncio.subprocess.Process,
    last_words: collections.deque[str],
    on_output: Callable[[bytes], None] | None,
) -> None:
    assert process.stderr is not None  # opened as a pipe
    with contextlib.suppress(ValueError):  # a line longer than the reader's limit: the rest is not logged
        while line := await process.stderr.readline():
            text = line.decode("utf-8", "replace").rstrip()[:1000]
            last_words.append(text)
            log.info("replica %d: %s", process.pid, text)
            if on_output is not None:
                on_output(line)


async def _ready(
    process: asyncio.subprocess.Process, last_words: collections.deque[str], timeout_s: float
) -> None:
    """Wait for the process's first line."""
    assert process.stdout is not None  # opened as a pipe
    try:
        async with asyncio.timeout(timeout_s):
            line = await process.stdout.readline()
    except TimeoutError as error:
        raise Unavailable(
            f"the replica was not ready within {timeout_s:g} s; give it more time, more memory, or a quicker node"
        ) from error
    if not line:
        raise _died(await process.wait(), last_words)
    outcome = json.loads(line)
    if not outcome["ready"]:
        raise leaves().get(outcome["error"], Internal)(outcome["message"])


def _died(code: int | None, last_words: collections.deque[str]) -> ConnectionLost:
    how = "closed its connection"
    if code is not None:
        how = f"ended with signal {-code}" if code < 0 else f"exited with {code}"
    last = last_words[-1] if last_words else "nothing"
    return ConnectionLost(
        f"the replica {how} before it had answered; ask another replica. Its last words: {last}",
        exit_code=code,
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the process: its stdin's end tells it to; a kill where it does not listen."""
    if process.returncode is not None:
        return
    if process.stdin is not None:
        process.stdin.close()
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await process.wait()
    finally:  # also where this task is told twice to end
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
