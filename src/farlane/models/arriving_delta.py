"""A delta on its way, for a version that arrives: fetched first, it fills the version's files from those of another."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from farlane.errors import (
    Corrupted,
    Exhausted,
    FarlaneError,
    InvalidInput,
    NotFound,
    TooLarge,
    UnsupportedVersion,
)
from farlane.models.blocks.port import FileAssembly
from farlane.models.cid import Cid, Octets
from farlane.models.deltas import WORTH, blocks_so_far, fill, keep
from farlane.models.manifest.values import Manifest
from farlane.models.repository import Repository, read_manifest
from farlane.models.usable import UsableBlocks

log = logging.getLogger(__name__)
MAX_OFFERS: Final = 64
"""Deltas looked at; a version has fewer."""
SLACK_BYTES: Final = 64 << 10
"""A delta may be so much larger than it was said to be."""


@dataclass(frozen=True, slots=True)
class DeltaOffer:
    """What a source says of a delta: the manifest of the version it needs, its root, and bytes of all its blocks."""

    base: Cid
    root: Cid
    size_bytes: int


class ArrivingDelta:
    """One delta. Whatever is wrong with it makes it useless and is no error: the version's blocks are brought instead.

    Args:
        repository: has the files of the other version.
        target: manifest of the version that arrives, and its CID.
        base: manifest of the other version.
        offer: what was said of it.
        usable: what of the repository its source may count on; None for everything.
    """

    def __init__(
        self,
        repository: Repository,
        target: tuple[Manifest, Cid],
        base: Manifest,
        offer: DeltaOffer,
        usable: UsableBlocks | None = None,
    ) -> None:
        self._repository, self._base, self.offer = repository, base, offer
        self._usable = usable or UsableBlocks(repository.blocks)
        self._manifest, self._cid = target
        self._came_bytes = 0
        self._useless = False
        self._whole = False

    def lacking(self) -> tuple[Cid, ...]:
        """Return the blocks to bring next; none once it is whole, or of no use."""
        if self._useless:
            return ()
        try:
            lacking = blocks_so_far(self._usable, self.offer.root).lacking
        except (Corrupted, TooLarge, UnsupportedVersion) as error:
            self.drop(error)
            return ()
        self._whole = not lacking
        return lacking

    def put(self, blocks: Iterable[tuple[Cid, Octets]]) -> None:
        """Keep blocks that were lacking.

        Raises:
            Corrupted: one is another block.
            DiskFull: no room.
        """
        came = list(blocks)
        self._came_bytes += sum(memoryview(block).nbytes for _, block in came)
        if self._came_bytes > self.offer.size_bytes + SLACK_BYTES:
            self.drop(TooLarge(f"it is larger than the {self.offer.size_bytes} bytes it was said to have"))
            return
        self._usable.put_many(came)

    def drop(self, error: FarlaneError) -> None:
        """Do without it."""
        log.warning("the delta %s is of no use: %s", self.offer.root.text, error.message)
        self._useless = True

    def fill(self, number: int, assembly: FileAssembly) -> None:
        """Write what it makes of a file under way.

        Raises:
            DiskFull: no room.
        """
        if self._whole and not self._useless:
            blocks = self._repository.blocks
            fill(self._repository, self._manifest, self._base, self.offer.root, blocks, {number: assembly})

    def keep(self) -> None:
        """Note it beside the version, which is here now, for those who come here to update."""
        if self._useless or not self._whole:
            return
        try:
            keep(self._repository, self._cid, self.offer.base, self.offer.root)
        except (NotFound, InvalidInput, Corrupted, TooLarge, Exhausted) as error:
            log.warning("the delta %s is not kept: %s", self.offer.root.text, error.message)


def chosen(
    repository: Repository,
    target: tuple[Manifest, Cid],
    needed_bytes: int,
    offers: Iterable[DeltaOffer],
    usable: UsableBlocks | None = None,
) -> ArrivingDelta | None:
    """Return the smallest delta from a version that is here, if it is worth it; none of private versions.

    Args:
        repository: where the version arrives.
        target: its manifest, and that one's CID.
        needed_bytes: of its blocks that are not here.
        offers: what its source has.
        usable: what of the repository that source may count on; None for everything.
    """
    manifest, _ = target
    if manifest.encryption is not None:
        return None
    for offer in sorted(list(offers)[:MAX_OFFERS], key=lambda one: one.size_bytes):
        if offer.size_bytes >= WORTH * needed_bytes:
            return None
        if not repository.catalog.has(offer.base):
            continue
        try:
            base = read_manifest(repository.blocks, offer.base)
        except (NotFound, Corrupted):
            continue
        if base.encryption is None:
            return ArrivingDelta(repository, target, base, offer, usable)
    return None
