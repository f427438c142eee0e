"""What a node needs to serve models: their files, the processes that serve them, and a way to the hub."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc

from farlane.domain.inference import InferenceReply, InferenceRequest, ModelDescription
from farlane.errors import FarlaneError
from farlane.node.executors.port import ServeCall

OnOutput = Callable[[bytes], None]
"""Takes what a replica's process prints."""


@dataclass(frozen=True, slots=True)
class ReplicaShare:
    """What a replica may use of the machine; memory 0 sets no limit."""

    threads: int
    memory_bytes: int
    gpus: tuple[int, ...] = ()


class Replica(Protocol):
    """A process that serves a model and has answered a probe."""

    @property
    def pid(self) -> int:
        """The process's id."""
        ...

    @property
    def description(self) -> ModelDescription:
        """What it may be asked."""
        ...

    def ask(self, request: InferenceRequest, timeout_s: float, /) -> AsyncGenerator[InferenceReply, None]:
        """Yield the replies; closing the generator cancels the request.

        Raises:
            FarlaneError: what the replica answered; ConnectionLost where it died.
        """
        ...

    async def ended(self) -> FarlaneError:
        """Wait until the process is gone; return why. Fact `exit_code` is negative for a signal."""
        ...


class ReplicaHost(Protocol):
    """Obtains models and runs their processes."""

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The runtimes this machine has."""
        ...

    def obtained(self, version: str) -> AbstractAsyncContextManager[Path]:
        """Hold a model's files inside the block.

        Raises:
            NotFound: no such version, or none that gives it.
            FarlaneError: it cannot be had, or is not what it should be.
        """
        ...

    def started(
        self, folder: Path, call: ServeCall, share: ReplicaShare, on_output: OnOutput
    ) -> AbstractAsyncContextManager[Replica]:
        """Run a process that serves the files of a folder inside the block.

        Raises:
            InvalidInput: no runtime can load them.
            Corrupted: they are damaged.
            Unavailable: the runtime is not installed, or was not ready in time.
            ConnectionLost: the process died.
        """
        ...


class HubChannel(Protocol):
    """The way to the hub; see `node.link.HubLink`."""

    async def channel(self) -> grpc.aio.Channel:
        """Wait for a hub that welcomes the node; return the channel to it."""
        ...
