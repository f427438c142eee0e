"""An echo model: real processes that die when they are killed, behind the replica port, for worlds of hub and nodes."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

from farlane.domain.inference import (
    FinishReason,
    GeneratePiece,
    GenerateRequest,
    InferenceKind,
    InferenceReply,
    InferenceRequest,
    ModelDescription,
)
from farlane.errors import ConnectionLost, FarlaneError, NotFound
from farlane.node.executors.port import ServeCall
from farlane.node.replicas.port import OnOutput, ReplicaShare

_PROGRAM = "import sys\nfor line in sys.stdin:\n print(line, end='', flush=True)"


class EchoReplica:
    """Says a prompt back word by word; each word goes through a process of its own, which can be killed."""

    def __init__(self, process: asyncio.subprocess.Process, version: str) -> None:
        self._process, self.version = process, version
        self._turn = asyncio.Lock()
        self.paused = asyncio.Event()
        self.paused.set()
        self.description = ModelDescription(runtime="echo", kinds=(InferenceKind.GENERATION,))

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def ask(self, request: InferenceRequest, timeout_s: float) -> AsyncGenerator[InferenceReply, None]:
        """Yield a piece for each word, then the counts."""
        assert isinstance(request, GenerateRequest)
        words = request.prompt.split()
        for word in words:
            await self.paused.wait()
            yield GeneratePiece(await self._through_process(word) + " ")
        yield GeneratePiece(self.version, FinishReason.STOP, len(words), len(words))

    async def _through_process(self, word: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._turn:
            with contextlib.suppress(ConnectionError):
                self._process.stdin.write(word.encode() + b"\n")
                await self._process.stdin.drain()
            line = await self._process.stdout.readline()
        if not line:
            raise ConnectionLost("the replica died before it had answered")
        return line.decode().strip()

    async def ended(self) -> FarlaneError:
        """Wait until the process is gone."""
        code = await self._process.wait()
        return ConnectionLost(f"the replica ended with {code}", exit_code=code)


class EchoHost:
    """Implements `ReplicaHost`; `known` are the versions it can obtain, `replicas` those that run."""

    runtimes = ("echo",)

    def __init__(self, *known: str) -> None:
        self.known = set(known)
        self.replicas: list[EchoReplica] = []

    @contextlib.asynccontextmanager
    async def obtained(self, version: str) -> AsyncIterator[Path]:
        """Hold nothing."""
        if version not in self.known:
            raise NotFound(f"nobody has {version}")
        yield Path()

    @contextlib.asynccontextmanager
    async def started(
        self, folder: Path, call: ServeCall, share: ReplicaShare, on_output: OnOutput
    ) -> AsyncIterator[EchoReplica]:
        """Run the process inside the block."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-S", "-c", _PROGRAM, stdin=pipe, stdout=pipe
        )
        replica = EchoReplica(process, call.version)
        self.replicas.append(replica)
        try:
            yield replica
        finally:
            self.replicas.remove(replica)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
