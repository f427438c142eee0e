"""Which blocks a delta consists of, in one order that all who send and fetch it share, as far as it is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from farlane.errors import Corrupted, NotFound, TooLarge, UnsupportedVersion
from farlane.models.blocks.checks import Readable, block_if_here
from farlane.models.cid import DAG_CBOR, Cid
from farlane.models.delta import format as wire
from farlane.models.delta.format import Part

MAX_BLOCKS: Final = 1 << 18
"""Of one delta: 256 GiB of payload."""

USELESS: Final = (NotFound, Corrupted, TooLarge, UnsupportedVersion)
"""Errors of a delta that cannot be read: the blocks of its version do as well."""


class Source(Readable, Protocol):
    """Where blocks of a delta may be already: any store."""

    def has(self, cid: Cid) -> bool:
        """Tell whether a block is here."""
        ...


@dataclass(frozen=True, slots=True)
class DeltaBlocks:
    """What is known of a delta's blocks.

    sizes: of each block by its CID, in the order of the walk: the root, then each part followed by its payload; 0 for
    a root or part that is not here, whose payload is not known yet; lacking: those to fetch next, in that order.
    """

    sizes: Mapping[Cid, int]
    lacking: tuple[Cid, ...]

    @property
    def cids(self) -> tuple[Cid, ...]:
        """The blocks known, in order, each once."""
        return tuple(self.sizes)

    @property
    def size_bytes(self) -> int:
        """Bytes of the blocks known."""
        return sum(self.sizes.values())


def blocks_so_far(source: Source, root: Cid) -> DeltaBlocks:
    """Return what is known of a delta's blocks; fetch what it lacks, and ask again, until it lacks nothing.

    The first time that is its root, then its parts, then its payload.

    Raises:
        Corrupted: what is here is no delta.
        TooLarge: more than MAX_BLOCKS.
        UnsupportedVersion: a newer farlane wrote it.
    """
    if root.codec != DAG_CBOR:
        raise Corrupted(f"{root.text} is no delta's CID, which begins with bafyrei")
    sizes: dict[Cid, int] = {}
    raw = block_if_here(source, root)
    _note(sizes, root, len(raw or b""))
    if raw is None:
        return DeltaBlocks(sizes, (root,))
    unread: list[Cid] = []
    payload: dict[Cid, int] = {}
    delta = wire.decode_delta(raw)
    for one in (part for target in delta.targets for part in target.parts):
        raw = block_if_here(source, one.cid)
        _note(sizes, one.cid, len(raw or b""))
        if raw is None:
            unread.append(one.cid)
            continue
        for cid, size_bytes in _payload(wire.decode_part(raw, one.makes_bytes, delta.bases)):
            _note(sizes, cid, size_bytes)
            payload[cid] = size_bytes
    lacking = unread or [cid for cid in payload if not source.has(cid)]
    return DeltaBlocks(sizes, tuple(dict.fromkeys(lacking)))


def block_list(source: Source, root: Cid) -> tuple[Cid, ...]:
    """Return all blocks of a delta whose root and parts are here, in the order of the walk, each once.

    Raises:
        NotFound: its root or a part is not here.
        Corrupted, TooLarge, UnsupportedVersion: as `blocks_so_far`.
    """
    found = blocks_so_far(source, root)
    for cid in found.lacking:
        if cid.codec == DAG_CBOR:
            raise NotFound(
                f"block {cid.text} of the delta {root.text} is not here: fetch it first", cid=cid.text
            )
    return found.cids


def readable_blocks(source: Source, root: Cid) -> tuple[Cid, ...]:
    """Return what `block_list` returns, or nothing for a delta that is missing or damaged, and so of no use."""
    try:
        return block_list(source, root)
    except USELESS:
        return ()


def _payload(part: Part) -> list[tuple[Cid, int]]:
    left = sum(sum(one.sizes) for one in part.instructions)
    sizes = []
    for cid in part.payload:
        sizes.append((cid, min(left, wire.PAYLOAD_BLOCK_BYTES)))
        left -= sizes[-1][1]
    return sizes


def _note(sizes: dict[Cid, int], cid: Cid, size_bytes: int) -> None:
    sizes.setdefault(cid, size_bytes)
    if len(sizes) > MAX_BLOCKS:
        raise TooLarge(f"a delta of more than {MAX_BLOCKS} blocks: fetch the version's own blocks instead")
