"""The model cache: lends versions to replicas, brings what is missing of them, and passes them on to other nodes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
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
from farlane.models.transfer.plan import plan_of
from farlane.node.models.arrival import Arrival
from farlane.node.models.block_door import BlockDoor
from farlane.node.models.cache_settings import CacheSettings
from farlane.node.models.fetching import Fetching, read_description, told
from farlane.node.models.figures import ModelFigures
from farlane.node.models.folders import lay_out
from farlane.node.models.hub_models import HubCarrier, describe
from farlane.node.models.outlines import Outlined, bring_outlines, digests_of_outlines
from farlane.node.models.shelf import ModelShelf
from farlane.node.models.swarm_member import SwarmMember
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

    hub: HubChannel
    proof: NodeProof
    tasks: TaskSupervisor
    shelf: ModelShelf
    server: BlockServer | None
    members: dict[Cid, asyncio.Task[None]] = field(default_factory=dict)


class ModelCache:
    """Implements `SealedFolders` over blocks of the node's own.

    Args:
        settings: where and how much.
        recover: tells who signed a text.
        clock: the machine's.
    """

    def __init__(self, settings: CacheSettings, recover: Recover, clock: Clock) -> None:
        self._settings, self._recover, self._clock = settings, recover, clock
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
                self._up, self._on_held = _Up(hub, proof, tasks, shelf, server), on_held
                await self._tell_held(self._up)
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

    def read(self) -> ModelFigures:
        """Return all figures, up to date."""
        figures, up = self.figures, self._up
        if up is not None:
            figures.swarms, figures.stored = len(up.members), up.shelf.blocks.total_bytes
            if up.server is not None:
                figures.sent, figures.refused = up.server.counters.sent_bytes, up.server.counters.refused
        return figures

    async def _lend(self, up: _Up, version: Cid, loan: _Loan) -> None:
        """Have a version in its folder until cancelled."""
        folder = self._settings.directory / FOLDERS / version.text
        try:
            async with self._turns.all_of([version.text]):  # the folder of an earlier loan goes first
                held = contextlib.ExitStack()
                try:
                    await to_its_end(held.enter_context, up.shelf.hold(version))
                    manifest = await self._bring(up, version)
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

    async def _bring(self, up: _Up, version: Cid) -> Manifest:
        """Have a version here whole, and in its swarm if this node serves blocks."""
        manifest = await to_its_end(up.shelf.manifest_of_whole, version)
        if manifest is not None:
            await to_its_end(up.shelf.note_use, version)
            if up.server is None or version in up.members:
                return manifest
        carrier = HubCarrier(up.hub, up.proof, version)
        try:
            async with TaskSupervisor("model") as tasks:
                tasks.start(carrier.run(), "blocks from the hub")
                if manifest is None:
                    manifest = await self._described(up, version)
                files = await bring_outlines(up.shelf.blocks, manifest, carrier.fetch_patiently)
                async with self._turns.all_of(file.sha256.hex() for file in manifest.files):
                    await self._complete(up, version, files, carrier)
        finally:
            self.figures.hub += carrier.received_bytes
            await self._tell_held(up)
        return manifest

    async def _described(self, up: _Up, version: Cid) -> Manifest:
        description = await describe(up.hub, up.proof, version)
        manifest, raw = read_description(description, version, self._recover)
        for gone in await to_its_end(up.shelf.make_room, manifest):
            self._leave(up, gone)
        await to_its_end(up.shelf.blocks.put, version, raw)
        log.info("fetching version %s of %s: %d bytes", version, manifest.name, manifest.size_bytes)
        return manifest

    async def _complete(self, up: _Up, version: Cid, files: list[Outlined], carrier: HubCarrier) -> None:
        """Bring what is missing of a version whose files nobody else assembles."""
        plan = await to_its_end(plan_of, [one.dags[0] for one in files])
        digests = await to_its_end(digests_of_outlines, version, files)
        arrival = Arrival(up.shelf.blocks, files, plan)
        try:
            self.figures.local += await to_its_end(arrival.begin)
            have = await to_its_end(arrival.have)
            if not have.all():
                member = self._member(up, version, len(plan.cids))
                fetching = Fetching(version, arrival, have, carrier, member, self._clock)
                self._enter(up, version, member, digests)
                await self._fetched(up, version, fetching)
            await to_its_end(arrival.commit)
        finally:
            await to_its_end(arrival.close)
        await to_its_end(up.shelf.list_whole, version)
        if up.server is None:
            self._leave(up, version)
        elif version not in up.members:
            self._enter(up, version, self._member(up, version, len(plan.cids)), digests)

    async def _fetched(self, up: _Up, version: Cid, fetching: Fetching) -> None:
        try:
            await fetching.run()
        except BaseException:
            self._leave(up, version)
            raise
        finally:
            self.figures.peers += fetching.progress.from_peers
        log.info("version %s is here: %s", version, told(fetching.progress))

    def _member(self, up: _Up, version: Cid, blocks: int) -> SwarmMember:
        address = ""
        if up.server is not None:
            address = self._settings.address or up.server.address
        return SwarmMember(up.hub, up.proof, version, address, blocks, self._door.learn)

    def _enter(self, up: _Up, version: Cid, member: SwarmMember, digests: frozenset[bytes]) -> None:
        """Be in a version's swarm, and give its blocks, until this node leaves it."""
        self._leave(up, version)
        self._door.open(version, digests)
        up.members[version] = up.tasks.start(
            self._stay(version, member), f"swarm of {version}", optional=True
        )

    def _leave(self, up: _Up, version: Cid) -> None:
        task = up.members.pop(version, None)
        if task is not None:
            self._door.shut(version)
            task.cancel()

    async def _stay(self, version: Cid, member: SwarmMember) -> None:
        up = self._require_up()
        async with TaskSupervisor("swarm") as tasks:
            running = tasks.start(member.run(), "swarm member")
            while not running.done() and not self._idle(version):
                await asyncio.wait([running], timeout=self._settings.idle_s / 4)
        if up.members.get(version) is asyncio.current_task():
            self._leave(up, version)

    def _idle(self, version: Cid) -> bool:
        idle_s = self._clock.monotonic() - self._door.used_s(version)
        return version.text not in self._loans and idle_s > self._settings.idle_s

    async def _tell_held(self, up: _Up) -> None:
        whole = await to_its_end(up.shelf.whole)
        self.figures.versions = len(whole)
        self._on_held(tuple(version.text for version in whole))

    def _opened(self) -> ModelShelf:
        shutil.rmtree(self._settings.directory / FOLDERS, ignore_errors=True)
        return ModelShelf(self._settings.directory, self._settings.max_bytes, self._clock)

    def _require_up(self) -> _Up:
        if self._up is None:
            raise Unavailable("the node is not up: it starts, or ends")
        return self._up
