"""The host of real models: their files from a store of the node, each replica a process of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from farlane.errors import FarlaneError, InvalidInput
from farlane.kit.suggestions import hint
from farlane.models.serving.limits import ServingLimits
from farlane.models.serving.replica_client import ReplicaProcess, ReplicaSpec
from farlane.models.serving.runtime import installed_runtimes
from farlane.node.executors.port import ServeCall
from farlane.node.replicas.port import OnOutput, ReplicaShare

START_S = 600.0
"""How long a model may take to load: a large one is read from a slow disk."""
_SIZES = ("streams", "context_tokens")


class ModelFolders(Protocol):
    """Lends the files of versions."""

    def hold(self, version: str) -> AbstractAsyncContextManager[Path]:
        """Return a folder with exactly the files of a version, unchanged and not removed inside the block.

        Args:
            version: CID of its manifest.

        Raises:
            NotFound: no such version, or none that gives it.
            FarlaneError: it cannot be had, or is not what it should be.
        """
        ...


class ModelHost:
    """Implements `ReplicaHost` with the runtimes that are installed here.

    Args:
        folders: the models' files.
        directory: the processes work here, and have their sockets here.
        start_timeout_s: how long loading may take.
    """

    def __init__(self, folders: ModelFolders, directory: Path, *, start_timeout_s: float = START_S) -> None:
        self._folders, self._directory, self._start_timeout_s = folders, directory, start_timeout_s
        self._runtimes = installed_runtimes()

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The runtimes this machine has."""
        return self._runtimes

    def obtained(self, version: str) -> AbstractAsyncContextManager[Path]:
        """See `ReplicaHost.obtained`."""
        return self._folders.hold(version)

    @contextlib.asynccontextmanager
    async def started(
        self, folder: Path, call: ServeCall, share: ReplicaShare, on_output: OnOutput
    ) -> AsyncIterator[ReplicaProcess]:
        """See `ReplicaHost.started`."""
        spec = replica_spec(folder, call, share)
        starting = ReplicaProcess.start(
            spec, self._directory, start_timeout_s=self._start_timeout_s, on_output=on_output
        )
        async with starting as replica:
            yield replica


def replica_spec(folder: Path, call: ServeCall, share: ReplicaShare) -> ReplicaSpec:
    """Return what a replica's process is started with.

    Raises:
        InvalidInput: an option that there is not, or that has a value which cannot be.
    """
    limits = ServingLimits.__dataclass_fields__
    known = (*_SIZES, *limits)
    found: dict[str, float] = {}
    for name, text in call.options:
        if name not in known:
            raise InvalidInput(f"a served model has no option {name!r}; {hint(name, known)}", option=name)
        found[name] = _number(name, text)
    sizes = {name: int(found.pop(name)) for name in _SIZES if name in found}
    try:
        caps = ServingLimits(**found)  # type: ignore[arg-type]  # whole numbers but for seconds, see _number
    except FarlaneError as error:
        raise InvalidInput(error.message) from error
    return ReplicaSpec(
        folder=folder,
        runtime=call.runtime or None,
        threads=share.threads,
        memory_bytes=share.memory_bytes,
        gpus=share.gpus,
        limits=caps,
        **sizes,
    )


def _number(name: str, text: str) -> float:
    """Read an option; those that end in `_s` are seconds, the others whole numbers."""
    try:
        number = float(text) if name.endswith("_s") else int(text)
    except ValueError as error:
        expected = "a number of seconds" if name.endswith("_s") else "a whole number"
        raise InvalidInput(f"the option {name} is {text[:40]!r}; expected {expected}", option=name) from error
    least = 1 if name == "streams" else 0
    if not least <= number < 1 << 31:
        raise InvalidInput(
            f"the option {name} is {text[:40]}; expected {least} to {(1 << 31) - 1}", option=name
        )
    return number
