"""The blocks of versions, for whoever may read them: each checked to belong to the version that was named."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from farlane.errors import InvalidInput, NotFound
from farlane.hub.models.threads import Threads
from farlane.models.cid import Cid, cid_from_bytes
from farlane.models.deltas import deltas_for, readable_blocks
from farlane.models.manifest.values import Manifest
from farlane.models.repository import Repository
from farlane.models.version_blocks import digests_of

KEPT_DIGESTS: Final = 4_000_000
"""Digests of versions' blocks kept in memory, over all versions that are being read: about 400 MB."""

READ_THREADS: Final = 4
"""Blocks read and checked at the same time, whoever asks."""
OPEN_THREADS: Final = 2
"""Versions whose blocks are listed at the same time; blocks of others are read meanwhile."""


class VersionBlocks:
    """One version's blocks, and no others."""

    def __init__(
        self, repository: Repository, version: Cid, digests: frozenset[bytes], threads: Threads
    ) -> None:
        self._repository, self._version, self._digests = repository, version, digests
        self._threads = threads

    async def read(self, raw: bytes) -> bytes:
        """Return a block in a thread of its own; raises as `get`."""
        return await self._threads.run(self.get, raw)

    def get(self, raw: bytes) -> bytes:
        """Return a block of the version by its CID in binary form, verified.

        Raises:
            InvalidInput: it is no CID.
            NotFound: it is no block of this version, or not here (any more).
            Corrupted: it is damaged here.
        """
        try:
            cid = cid_from_bytes(raw)
        except InvalidInput as error:
            raise InvalidInput(f"a block was asked for by what is no CID: {error.message}") from error
        if cid.digest not in self._digests:
            raise NotFound(f"{cid} is no block of the version {self._version}", cid=cid.text)
        return self._repository.blocks.get(cid)


class BlockReading:
    """Remembers which blocks are those of the versions read lately. May be used from any thread.

    Args:
        repository: the hub's.
        kept: digests kept in memory; one version is kept however large it is.
    """

    def __init__(self, repository: Repository, kept: int = KEPT_DIGESTS) -> None:
        self._repository, self._kept = repository, kept
        self._known: OrderedDict[tuple[Cid, ...], frozenset[bytes]] = OrderedDict()
        self._lock = threading.Lock()
        self._listing: dict[tuple[Cid, ...], threading.Lock] = {}
        self.opening = Threads("versions to read", OPEN_THREADS)
        self.threads = Threads("blocks", READ_THREADS)

    def of(self, version: Cid, manifest: Manifest) -> VersionBlocks:
        """Return the blocks of a version, and of the deltas that make it.

        Raises:
            NotFound: it is not here whole.
        """
        deltas = [one.root for one in deltas_for(self._repository, version)]
        key = (version, *deltas)
        with self._lock:
            digests = self._known.get(key)
            listing = self._listing.setdefault(key, threading.Lock())
        if digests is None:
            with listing:  # once, and without keeping the readers of other versions
                digests = self._known.get(key) or self._listed(version, manifest, deltas)
        with self._lock:
            self._listing.pop(key, None)
            self._known[key] = digests
            self._known.move_to_end(key)
            while len(self._known) > 1 and sum(map(len, self._known.values())) > self._kept:
                self._known.popitem(last=False)
        return VersionBlocks(self._repository, version, digests, self.threads)

    def _listed(self, version: Cid, manifest: Manifest, deltas: Sequence[Cid]) -> frozenset[bytes]:
        blocks = self._repository.blocks
        of_deltas = (cid.digest for one in deltas for cid in readable_blocks(blocks, one))
        return digests_of(blocks, version, manifest).union(of_deltas)
