"""A delta on its way to a node: its root and parts from the hub, its payload from the swarm; then it fills files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from farlane.errors import Corrupted, DiskFull, FarlaneError, InvalidInput, NotFound
from farlane.kit.clock import Clock
from farlane.kit.threads import to_its_end
from farlane.models.arriving_delta import MAX_OFFERS, ArrivingDelta, DeltaOffer
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.cid import RAW, Cid, parse_cid
from farlane.models.deltas import WORTH, blocks_so_far
from farlane.models.manifest.values import Manifest
from farlane.models.repository import Repository
from farlane.models.transfer.carrier import Carrier, Keep
from farlane.node.models.arrival import Arrival
from farlane.node.models.fetching import Fetching, Wanted
from farlane.node.models.figures import ModelFigures
from farlane.node.models.hub_models import HubCarrier
from farlane.node.models.outlines import bring_all
from farlane.node.models.presence import Presence
from farlane.node.models.shelf import ModelShelf
from farlane.wire.v1 import models_pb2

log = logging.getLogger(__name__)
AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class UsableDelta:
    """A delta from a version that is on the shelf whole."""

    offer: DeltaOffer
    base: Manifest


def usable_delta(
    shelf: ModelShelf, manifest: Manifest, offers: Iterable[models_pb2.DeltaOffer]
) -> UsableDelta | None:
    """Return the smallest delta whose base is on the shelf; none of private versions."""
    if manifest.encryption is not None:
        return None
    try:
        known = [DeltaOffer(parse_cid(one.base), parse_cid(one.cid), one.size_bytes) for one in offers]
    except InvalidInput as error:
        log.warning("the hub's deltas make no sense: %s", error.message)
        return None
    for offer in sorted(known, key=lambda one: one.size_bytes)[:MAX_OFFERS]:
        base = shelf.manifest_of_whole(offer.base)
        if base is not None and base.encryption is None:
            return UsableDelta(offer, base)
    return None


class DeltaFetching:
    """Brings one delta and fills a version's files with what it makes; whatever is wrong with it is no error.

    Args:
        shelf: has the base.
        presence: in swarms.
        carrier: brings blocks of the version, and so of its deltas, from the hub.
        clock: for rates and deadlines.
        figures: take what came.
    """

    def __init__(
        self, shelf: ModelShelf, presence: Presence, carrier: HubCarrier, clock: Clock, figures: ModelFigures
    ) -> None:
        self._shelf, self._presence, self._carrier = shelf, presence, carrier
        self._clock, self._figures = clock, figures
        # The catalog is of no use to deltas that are not kept.
        self._repository = Repository(shelf.blocks, Catalog(MemoryRows()))

    async def run(self, usable: UsableDelta, target: tuple[Manifest, Cid], arrival: Arrival) -> None:
        """Bring the delta, if it saves enough of what is missing.

        Raises:
            DiskFull: no room.
        """
        before = await to_its_end(arrival.missing_bytes)
        if usable.offer.size_bytes >= WORTH * before:
            return
        delta = ArrivingDelta(self._repository, target, usable.base, usable.offer)
        try:
            await self._bring(delta, target[1])
        except DiskFull:
            raise
        except FarlaneError as error:
            delta.drop(error)
        await to_its_end(arrival.fill, delta.fill)
        made = before - await to_its_end(arrival.missing_bytes)
        self._figures.delta += made
        log.info("a delta of %d bytes made %d of %s", usable.offer.size_bytes, made, target[1])

    async def _bring(self, delta: ArrivingDelta, version: Cid) -> None:
        while lacking := await to_its_end(delta.lacking):
            if any(cid.codec == RAW for cid in lacking):
                await self._bring_payload(delta, version)
                await to_its_end(delta.lacking)  # it notes that it is whole
                return
            for at in range(0, len(lacking), AT_ONCE):
                blocks = await bring_all(lacking[at : at + AT_ONCE], self._carrier.fetch_patiently)
                await to_its_end(delta.put, blocks.items())

    async def _bring_payload(self, delta: ArrivingDelta, version: Cid) -> None:
        root = delta.offer.root
        known = await to_its_end(blocks_so_far, self._shelf.blocks, root)
        cids, sizes = known.cids, np.fromiter(known.sizes.values(), np.int64, len(known.sizes))
        here = await to_its_end(lambda: [self._shelf.blocks.has(cid) for cid in cids])
        member = self._presence.member(version, len(cids), root)
        wanted = Wanted(cids, sizes, lambda index, data: delta.put([(cids[index], data)]))
        origin = _Complete(self._carrier, member.refuse)
        fetching = Fetching(root, wanted, np.asarray(here, np.bool_), origin, member, self._clock)
        self._presence.enter(member, frozenset(cid.digest for cid in cids))
        try:
            await fetching.run()
        except BaseException:
            self._presence.leave(root)
            raise
        finally:
            self._figures.peers += fetching.progress.from_peers
        if not self._presence.address:
            self._presence.leave(root)


class _Complete:
    """A carrier that should have everything: what it lacks, or has damaged, ends the transfer at once.

    Args:
        carrier: brings the blocks.
        end: called with what is wrong.
    """

    def __init__(self, carrier: Carrier, end: Callable[[FarlaneError], None]) -> None:
        self._carrier, self._end = carrier, end

    async def fetch(self, cid: Cid, keep: Keep) -> int:
        """Bring a block; see `Carrier`."""
        try:
            return await self._carrier.fetch(cid, keep)
        except (NotFound, Corrupted) as error:
            self._end(error)
            raise

    async def close(self) -> None:
        """See `Carrier`."""
        await self._carrier.close()
