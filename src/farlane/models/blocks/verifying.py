"""Verifying blocks: all of a store, or all that roots lead to, read and hashed; damaged ones fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from farlane.errors import Corrupted, FarlaneError, InvalidInput, NotFound, TooLarge
from farlane.models.blocks.port import BlockSource, BlockStore
from farlane.models.blocks.walking import Links, links_of, walk
from farlane.models.cid import Cid


class Fault(StrEnum):
    """What is wrong with a block."""

    MISSING = "missing"
    """It is not here."""
    DAMAGED = "damaged"
    """Its bytes changed; it is out of sight now and can be put again."""
    UNREADABLE = "unreadable"
    """Its bytes are the right ones, and no node of its codec: what lies below it is unknown."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A block with a fault, and the fault in words."""

    cid: Cid
    fault: Fault
    message: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was read: sound blocks, their bytes, those that were damaged and are sound again, and the faults left."""

    blocks: int
    size_bytes: int
    repaired: tuple[Cid, ...]
    findings: tuple[Finding, ...]


def verify(source: BlockSource, roots: Iterable[Cid], *, links: Links = links_of) -> Verification:
    """Read everything that roots lead to. Below what is missing or damaged nothing is known."""
    run = _Run(source, links)
    for _, block in walk(run.read, roots, links=run.below, max_blocks=None):
        run.count(block)
    return run.result()


def verify_all(store: BlockStore) -> Verification:
    """Read every block of a store, whether anything leads to it or not."""
    run = _Run(store, links_of)
    for cid in store.iterate():
        run.count(run.read(cid))
    return run.result()


def repair(
    store: BlockStore, roots: Iterable[Cid], sources: Sequence[BlockSource], *, links: Links = links_of
) -> Verification:
    """Read everything that roots lead to, and put what is missing or damaged anew from the first source that has it.

    A leaf of a file is put as a block of its own: the store gives it again, and the file is still to be replaced.

    Raises:
        DiskFull: there is no room.
    """
    run = _Run(store, links, lambda cid: _fetched(store, cid, sources))
    for _, block in walk(run.read, roots, links=run.below, max_blocks=None):
        run.count(block)
    return run.result()


class _Run:
    """One reading of many blocks."""

    def __init__(
        self, source: BlockSource, links: Links, mend: Callable[[Cid], bytes | None] = lambda _: None
    ) -> None:
        self._source, self._links, self._mend = source, links, mend
        self._blocks = self._size_bytes = 0
        self._repaired: list[Cid] = []
        self._findings: list[Finding] = []

    def read(self, cid: Cid) -> bytes | None:
        try:
            return self._source.get(cid)
        except (NotFound, Corrupted) as error:
            block = self._mend(cid)
            if block is None:
                fault = Fault.MISSING if isinstance(error, NotFound) else Fault.DAMAGED
                self._findings.append(Finding(cid, fault, error.message))
            else:
                self._repaired.append(cid)
            return block

    def below(self, cid: Cid, block: bytes) -> Sequence[Cid]:
        try:
            return self._links(cid, block)
        except (InvalidInput, TooLarge) as error:
            self._findings.append(Finding(cid, Fault.UNREADABLE, error.message))
            return ()

    def count(self, block: bytes | None) -> None:
        if block is not None:
            self._blocks += 1
            self._size_bytes += len(block)

    def result(self) -> Verification:
        return Verification(self._blocks, self._size_bytes, tuple(self._repaired), tuple(self._findings))


def _fetched(store: BlockStore, cid: Cid, sources: Sequence[BlockSource]) -> bytes | None:
    for source in sources:
        try:
            block = source.get(cid)
        except FarlaneError:
            continue  # it is not there either, or the source is away: the next one may have it
        store.put(cid, block)
        return block
    return None
