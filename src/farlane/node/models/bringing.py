"""Bringing a version to a node: what it is, then its blocks from files here, a delta, peers and the hub."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Sequence

from farlane.kit.clock import Clock
from farlane.kit.tasks import TaskSupervisor
from farlane.kit.threads import to_its_end
from farlane.models.cid import Cid
from farlane.models.manifest.signature import Recover
from farlane.models.manifest.values import Manifest
from farlane.models.transfer.bitmap import Flags
from farlane.models.transfer.plan import plan_of
from farlane.node.models.arrival import Arrival
from farlane.node.models.delta_fetching import DeltaFetching, UsableDelta, usable_delta
from farlane.node.models.fetching import Fetching, read_description, told
from farlane.node.models.figures import ModelFigures
from farlane.node.models.hub_models import HubCarrier, describe
from farlane.node.models.outlines import Outlined, bring_outlines, digests_of_outlines
from farlane.node.models.presence import Presence, Way
from farlane.node.models.shelf import ModelShelf
from farlane.node.models.turns import Turns

log = logging.getLogger(__name__)


class Bringing:
    """Brings versions to a shelf, and into their swarms where this node gives blocks.

    Args:
        way: to the hub.
        shelf: where they go.
        presence: in swarms.
        recover: tells who signed a text.
        clock: for rates and deadlines.
        figures: take what came from where.
    """

    def __init__(
        self,
        way: Way,
        shelf: ModelShelf,
        presence: Presence,
        recover: Recover,
        clock: Clock,
        figures: ModelFigures,
    ) -> None:
        self._way, self._shelf, self._presence = way, shelf, presence
        self._recover, self._clock, self._figures = recover, clock, figures
        self._turns = Turns()

    async def bring(self, version: Cid) -> Manifest:
        """Have a version here whole; it is held by the caller.

        Raises:
            NotFound: there is no such version that is for this node.
            Corrupted, InvalidSignature: it is not what it should be.
            DiskFull: there is no room; what came is kept.
            DeadlineExceeded, Unavailable: nothing comes any more.
        """
        manifest = await to_its_end(self._shelf.manifest_of_whole, version)
        if manifest is not None:
            await to_its_end(self._shelf.note_use, version)
            if not self._presence.address or version in self._presence:
                return manifest
        carrier = HubCarrier(self._way.hub, self._way.proof, version)
        try:
            async with TaskSupervisor("model") as tasks:
                tasks.start(carrier.run(), "blocks from the hub")
                delta = None
                if manifest is None:
                    manifest, delta = await self._describe(version)
                async with self._held(delta):
                    await self._complete(version, manifest, delta, carrier)
        finally:
            self._figures.hub += carrier.received_bytes
        return manifest

    async def _describe(self, version: Cid) -> tuple[Manifest, UsableDelta | None]:
        """Ask what a version is, and make room for it."""
        description = await describe(self._way.hub, self._way.proof, version)
        manifest, raw = read_description(description, version, self._recover)
        delta = await to_its_end(usable_delta, self._shelf, manifest, description.deltas)
        base, more = (delta.offer.base, delta.offer.size_bytes) if delta is not None else (None, 0)
        for gone in await to_its_end(self._shelf.make_room, manifest, base, more):
            self._presence.leave(gone)
            delta = None if gone == base else delta
        await to_its_end(self._shelf.blocks.put, version, raw)
        log.info("fetching version %s of %s: %d bytes", version, manifest.name, manifest.size_bytes)
        return manifest, delta

    @contextlib.asynccontextmanager
    async def _held(self, delta: UsableDelta | None) -> AsyncIterator[None]:
        """Keep a delta and its base from being evicted inside the block."""
        held = contextlib.ExitStack()
        try:
            for root in (delta.offer.base, delta.offer.root) if delta is not None else ():
                await to_its_end(held.enter_context, self._shelf.hold(root))
            yield
        finally:
            await to_its_end(held.close)

    async def _complete(
        self, version: Cid, manifest: Manifest, delta: UsableDelta | None, carrier: HubCarrier
    ) -> None:
        """Bring what is missing of a version, and be in its swarm."""
        files = await bring_outlines(self._shelf.blocks, manifest, carrier.fetch_patiently)
        plan = await to_its_end(plan_of, [one.dags[0] for one in files])
        arrival = Arrival(self._shelf.blocks, files, plan)
        async with self._turns.all_of(file.sha256.hex() for file in manifest.files):
            try:
                self._figures.local += await to_its_end(arrival.begin)
                if delta is not None:
                    by_delta = DeltaFetching(self._shelf, self._presence, carrier, self._clock, self._figures)
                    await by_delta.run(delta, (manifest, version), arrival)
                await self._fetch(version, files, arrival, carrier)
                await to_its_end(arrival.commit)
            finally:
                await to_its_end(arrival.close)
        await to_its_end(self._shelf.list_whole, version)
        if not self._presence.address:
            self._presence.leave(version)
        elif version not in self._presence:
            member = self._presence.member(version, len(plan.cids))
            self._presence.enter(member, await to_its_end(digests_of_outlines, version, files))

    async def _fetch(
        self, version: Cid, files: Sequence[Outlined], arrival: Arrival, carrier: HubCarrier
    ) -> None:
        have: Flags = await to_its_end(arrival.have)
        if have.all():
            return
        member = self._presence.member(version, len(have))
        fetching = Fetching(version, arrival.wanted, have, carrier, member, self._clock)
        self._presence.enter(member, await to_its_end(digests_of_outlines, version, files))
        try:
            await fetching.run()
        except BaseException:
            self._presence.leave(version)
            raise
        finally:
            self._figures.peers += fetching.progress.from_peers
        log.info("version %s is here: %s", version, told(fetching.progress))
