"""The model cache: lends versions to replicas, brings what is missing of them, and passes them on to other nodes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from farlane.errors import Unavailable
from farlane.kit.clock import Clock
from farlane.kit.tasks import TaskSupervisor
from farlane.kit.threads import to_its_end
from farlane.models.cid import Cid, parse_cid
from farlane.models.manifest.signature import Recover
from farlane.models.manifest.values import Manifest
from farlane.models.repository import read_manifest
from farlane.models.transfer.block_server import BlockServer
from farlane.node.models.block_door import BlockDoor
from farlane.node.models.bringing import Bringing
from farlane.node.models.cache_settings import CacheSettings
from farlane.node.models.figures import ModelFigures
from farlane.node.models.folders import lay_out
from farlane.node.models.presence import Presence, Way
from farlane.node.models.shelf import ModelShelf
from farlane.node.models.turns import Turns
from farlane.node.replicas.port import HubChannel
from farlane.node.replicas.stream import NodeProof

log = logging.getLogger(__name__)
FOLDERS: Final = "folders"
OnHeld = Callable[[tuple[str, ...]], None]
"""Hears which versions are here whole, those used last first."""


@dataclass(slots=True)
class _Loan:
    """One version lent to so many at once. folder: where it is, once it is there."""

    folder: asyncio.Future[Path]
    users: int = 0
    work: asyncio.Task[None] | None = None

    def fail(self, error: Exception) -> None:
        """Tell whoever waits for the folder that it does not come."""
        if not self.folder.done():
            self.folder.set_exception(error)
            self.folder.exception()  # nobody may be left to take it


@dataclass(slots=True)
class _Up:
    """What there is while the node is up."""

    tasks: TaskSupervisor
    shelf: ModelShelf
    server: BlockServer | None
    presence: Presence
    bringing: Bringing


class ModelCache:
    """Implements `SealedFolders` over blocks of the node's own.

    Args:
        settings: where and how much.
        recover: tells who signed a text.
        clock: the machine's.
        beside: returns versions that this node has whole elsewhere.
    """

    def __init__(
        self,
        settings: CacheSettings,
        recover: Recover,
        clock: Clock,
        beside: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._settings, self._recover, self._clock, self._beside = settings, recover, clock, beside
        self._door = BlockDoor(clock)
        self._turns = Turns()
        self._loans: dict[str, _Loan] = {}
        self._up: _Up | None = None
        self._on_held: OnHeld = lambda _: None
        self.figures = ModelFigures()

    @contextlib.asynccontextmanager
    async def running(self, hub: HubChannel, proof: NodeProof, on_held: OnHeld) -> AsyncIterator[None]:
        """Fetch and serve inside the block.

        Args:
            hub: the way to it.
            proof: who the node is.
            on_held: hears at once, and whenever it changes, which versions are here whole.

        Raises:
            InvalidSetting: the block server cannot listen.
            PermissionRefused, Corrupted, DiskFull: as the store.
        """
        shelf = await to_its_end(self._opened)
        server: BlockServer | None = None
        try:
            if self._settings.listen:
                server = await to_its_end(BlockServer, self._settings.listen, shelf.blocks, self._door.admit)
                log.info("blocks of models are served on %s", server.address)
            async with TaskSupervisor("models") as tasks:
                self._up = self._made(Way(hub, proof), tasks, shelf, server)
                self._on_held = on_held
                await self.tell_held()
                yield
        finally:
            self._up = None
            if server is not None:
                await to_its_end(server.close)
            await to_its_end(shelf.close)

    @contextlib.asynccontextmanager
    async def hold(self, version: str) -> AsyncIterator[Path]:
        """See `ModelFolders.hold`."""
        up = self._require_up()
        loan = self._loans.get(version)
        if loan is None:
            loan = self._loans[version] = _Loan(asyncio.get_running_loop().create_future())
            loan.work = up.tasks.start(
                self._lend(up, parse_cid(version), loan), f"model {version}", optional=True
            )
        loan.users += 1
        try:
            yield await asyncio.shield(loan.folder)
        finally:
            loan.users -= 1
            if not loan.users and loan.work is not None:
                del self._loans[version]
                loan.work.cancel()
                await asyncio.wait([loan.work])

    async def manifest(self, version: str) -> Manifest:
        """Return what a version says that is held.

        Raises:
            NotFound: it is not here.
        """
        return await to_its_end(read_manifest, self._require_up().shelf.blocks, parse_cid(version))

    async def tell_held(self) -> None:
        """Say which versions are here whole, as they are now."""
        held = await to_its_end(self._held, self._require_up().shelf)
        self.figures.versions = len(held)
        self._on_held(held)

    def read(self) -> ModelFigures:
        """Return all figures, up to date."""
        figures, up = self.figures, self._up
        if up is not None:
            figures.swarms, figures.stored = len(up.presence), up.shelf.blocks.total_bytes
            if up.server is not None:
                figures.sent, figures.refused = up.server.counters.sent_bytes, up.server.counters.refused
        return figures

    def _made(self, way: Way, tasks: TaskSupervisor, shelf: ModelShelf, server: BlockServer | None) -> _Up:
        address = (self._settings.address or server.address) if server is not None else ""
        presence = Presence(
            way,
            tasks,
            self._door,
            address,
            self._clock,
            self._settings.idle_s,
            lambda one: one.text in self._loans,
        )
        bringing = Bringing(way, shelf, presence, self._recover, self._clock, self.figures)
        return _Up(tasks, shelf, server, presence, bringing)

    async def _lend(self, up: _Up, version: Cid, loan: _Loan) -> None:
        """Have a version in its folder until cancelled."""
        folder = self._settings.directory / FOLDERS / version.text
        try:
            async with self._turns.all_of([version.text]):  # the folder of an earlier loan goes first
                held = contextlib.ExitStack()
                try:
                    await to_its_end(held.enter_context, up.shelf.hold(version))
                    try:
                        manifest = await up.bringing.bring(version)
                    finally:
                        await self.tell_held()
                    await to_its_end(lay_out, up.shelf.blocks, manifest, folder)
                    loan.folder.set_result(folder)
                    await asyncio.get_running_loop().create_future()
                finally:
                    self._door.touch(version)
                    await to_its_end(shutil.rmtree, folder, ignore_errors=True)
                    await to_its_end(held.close)
        except Exception as error:
            loan.fail(error)
        finally:
            loan.fail(Unavailable(f"version {version} is not wanted here any more"))

    def _held(self, shelf: ModelShelf) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*(version.text for version in shelf.whole()), *self._beside())))

    def _opened(self) -> ModelShelf:
        shutil.rmtree(self._settings.directory / FOLDERS, ignore_errors=True)
        return ModelShelf(self._settings.directory, self._settings.max_bytes, self._clock)

    def _require_up(self) -> _Up:
        if self._up is None:
            raise Unavailable("the node is not up: it starts, or ends")
        return self._up
