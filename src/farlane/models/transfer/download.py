"""A download: the session's decisions carried out on an event loop, by carriers, into whoever keeps the blocks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from farlane.errors import Corrupted, DeadlineExceeded, DiskFull, FarlaneError, NotFound, TooLarge
from farlane.kit.clock import Clock
from farlane.kit.tasks import TaskSupervisor
from farlane.models.cid import Cid, Octets
from farlane.models.transfer.bitmap import Flags
from farlane.models.transfer.carrier import Carrier
from farlane.models.transfer.commands import Ask, Ban, Cancel, Command, Done, Lacking
from farlane.models.transfer.session import Session
from farlane.models.transfer.sources import Fault

log = logging.getLogger(__name__)

TICK_S: Final = 0.2
PATIENCE_S: Final = 120.0
"""How long a download waits while nothing at all arrives."""

KeepBlock = Callable[[int, Octets], None]
"""(which block, bytes) checks and keeps it, in any thread; raises Corrupted if the bytes are others."""


@dataclass(slots=True)
class Progress:
    """How far a download is, for people and metrics.

    from_peers, from_origin: bytes that have come; doubled: bytes that came although they were here already.
    """

    total_bytes: int
    present_bytes: int
    from_peers: int = 0
    from_origin: int = 0
    doubled: int = 0
    banned: list[str] = field(default_factory=list)

    @property
    def done_bytes(self) -> int:
        """Bytes that are here."""
        return self.present_bytes + self.from_peers + self.from_origin - self.doubled


class Download:
    """Fetches what is missing of a list of blocks.

    Args:
        cids: the blocks.
        sizes: their bytes.
        have: which are here already.
        keep: takes each one as it comes.
        clock: for rates and deadlines.
        start: where in the list to begin.
        on_got: hears of each block that is here now.
        on_lacking: hears of blocks that no usable source has.
        patience_s: how long nothing may arrive.
    """

    def __init__(
        self,
        cids: Sequence[Cid],
        sizes: Sequence[int] | np.typing.NDArray[np.int64],
        have: Flags,
        keep: KeepBlock,
        *,
        clock: Clock,
        start: int = 0,
        on_got: Callable[[int], None] = lambda _: None,
        on_lacking: Callable[[tuple[int, ...]], None] = lambda _: None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._cids, self._keep, self._clock = cids, keep, clock
        self._on_got, self._on_lacking, self._patience_s = on_got, on_lacking, patience_s
        self._session = Session([int(size) for size in sizes], have, start=start)
        total = int(self._session.sizes.sum())
        self.progress = Progress(total, total - self._session.missing_bytes)
        self._carriers: dict[str, Carrier] = {}
        self._origins: set[str] = set()
        self._asked: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._tasks: TaskSupervisor | None = None
        self._ended: asyncio.Future[None] | None = None
        self._waiting: list[Command] = []
        self._heard_s = 0.0

    @property
    def have(self) -> Flags:
        """(blocks,) what is here."""
        return self._session.have

    def add_source(self, name: str, carrier: Carrier, have: Flags, *, origin: bool = False) -> None:
        """Take in a source, before or while `run` runs."""
        self._carriers[name] = carrier
        if origin:
            self._origins.add(name)
        self._do(self._session.source_joined(self._clock.monotonic(), name, have, origin=origin))

    def source_has(self, name: str, indices: Sequence[int]) -> None:
        """Hear that a source has more, or that the origin may be asked for more."""
        self._do(self._session.source_has(self._clock.monotonic(), name, indices))

    def source_left(self, name: str) -> None:
        """Hear that a source is gone."""
        self._do(self._session.source_left(self._clock.monotonic(), name))

    async def run(self) -> None:
        """Fetch until everything is here.

        Raises:
            DiskFull: there is no room; what came is kept.
            DeadlineExceeded: nothing has come for `patience_s`.
        """
        self._ended = asyncio.get_running_loop().create_future()
        self._heard_s = self._clock.monotonic()
        try:
            async with TaskSupervisor("download") as tasks:
                self._tasks = tasks
                early = list(self._waiting)
                self._waiting.clear()
                self._do(early)
                self._do(self._session.begin(self._clock.monotonic()))
                tasks.start(self._tick(), "download clock")
                await self._ended
        finally:
            self._tasks = None

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock.monotonic()
            if now - self._heard_s > self._patience_s:
                self._end(self._too_late())
            self._do(self._session.tick(now))

    def _do(self, commands: list[Command]) -> None:
        if self._tasks is None or self._ended is None:
            self._waiting.extend(commands)
            return
        for command in commands:
            if isinstance(command, Ask):
                key = (command.source, command.index)
                work = self._fetch(command.source, command.index)
                self._asked[key] = self._tasks.start(work, f"block from {command.source}", optional=True)
            elif isinstance(command, Cancel):
                task = self._asked.pop((command.source, command.index), None)
                if task is not None:
                    task.cancel()
            elif isinstance(command, Ban):
                log.warning("banned: %s", command.reason)
                self.progress.banned.append(command.source)
            elif isinstance(command, Lacking):
                self._on_lacking(command.indices)
            elif isinstance(command, Done):
                self._end(None)

    def _end(self, error: FarlaneError | None) -> None:
        if self._ended is None or self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)

    async def _fetch(self, name: str, index: int) -> None:
        key = (name, index)
        try:
            size = await self._carriers[name].fetch(self._cids[index], lambda data: self._keep(index, data))
        except (DiskFull, TooLarge) as error:
            self._end(error)
            return
        except (FarlaneError, OSError) as error:
            self._asked.pop(key, None)
            log.debug("block %d from %s: %s", index, name, error)
            self._do(self._session.failed(self._clock.monotonic(), name, index, _fault(error)))
            return
        self._asked.pop(key, None)
        self._got(name, index, size)

    def _got(self, name: str, index: int, size: int) -> None:
        self._heard_s = self._clock.monotonic()
        progress = self.progress
        if name in self._origins:
            progress.from_origin += size
        else:
            progress.from_peers += size
        if self._session.have[index]:
            progress.doubled += size
        else:
            self._on_got(index)
        self._do(self._session.arrived(self._heard_s, name, index))

    def _too_late(self) -> DeadlineExceeded:
        return DeadlineExceeded(
            f"nothing has come for {self._patience_s:.0f} s; {self._session.missing} blocks are missing and no source "
            f"of {len(self._carriers)} sends them. What came is kept: try again, and it goes on from there",
            missing=self._session.missing,
        )


def _fault(error: Exception) -> Fault:
    if isinstance(error, Corrupted):
        return Fault.LIED
    return Fault.MISSING if isinstance(error, NotFound) else Fault.LOST
