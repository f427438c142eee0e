"""Collection: what nothing leads to is removed, least recently used first, until a store is within its budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from farlane.errors import Corrupted, InvalidInput, NotFound, TooLarge
from farlane.models.blocks.port import BlockSource, BlockStore, Collected
from farlane.models.blocks.walking import Links, links_of, visit_key, walk
from farlane.models.cid import RAW, Cid

SPARE_S: Final = 3600.0
"""What was put or used within so many seconds stays, whatever leads to it: it may belong to something that arrives."""


class Marks:
    """The blocks that roots lead to, as far as they are here; 100 bytes each.

    Args:
        source: where they are.
        links: what to follow from each block; by default every link, those of a manifest to its parents among them.
    """

    def __init__(self, source: BlockSource, links: Links = links_of) -> None:
        self._source = source
        self._links = links
        self._digests: set[bytes] = set()
        self._seen: set[bytes] = set()
        self._missing: list[Cid] = []

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, digest: object) -> bool:
        return digest in self._digests

    def add(self, roots: Iterable[Cid]) -> None:
        """Mark roots and what they lead to; blocks that were missing are looked for again, since more may be here."""
        retried, self._missing = self._missing, []
        for cid in retried:
            self._seen.discard(visit_key(cid))
        for cid, _ in walk(
            self._read, [*retried, *roots], links=self._below, seen=self._seen, max_blocks=None
        ):
            self._digests.add(cid.digest)

    def _read(self, cid: Cid) -> bytes | None:
        if cid.codec == RAW:
            return None
        try:
            return self._source.get(cid)
        except (NotFound, Corrupted):
            self._missing.append(cid)
            return None

    def _below(self, cid: Cid, block: bytes) -> list[Cid]:
        try:
            return list(self._links(cid, block))
        except (InvalidInput, TooLarge):
            return []  # somebody put what farlane cannot read: it stays, and keeps nothing else


def collect(
    store: BlockStore,
    roots: Callable[[], Iterable[Cid]],
    *,
    max_bytes: int = 0,
    spare_s: float = SPARE_S,
    links: Links = links_of,
) -> Collected:
    """Remove what neither roots nor holds lead to, least recently used first.

    Others may add meanwhile, but for the end, when what is new is marked, too, and the rest removed.

    Args:
        store: what is collected.
        roots: tells what must stay; asked twice.
        max_bytes: what may stay beside it; 0 removes everything else.
        spare_s: what was put or used within so many seconds stays.
        links: what to follow from each block.
    """
    marks = Marks(store, links)
    marks.add([*roots(), *store.held()])
    with store.exclusively():
        marks.add([*roots(), *store.held()])
        return store.sweep(marks.__contains__, max_bytes=max_bytes, spare_s=spare_s)
