"""Directories: one block of named links, or shards of them (a HAMT) where that would be too large."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

from farlane.errors import InvalidInput
from farlane.models.cid import DAG_PB, Cid, block_cid
from farlane.models.unixfs.dag_pb import PbLink, PbNode, encode_node, link_size
from farlane.models.unixfs.murmur3 import murmur3_x64_64
from farlane.models.unixfs.nodes import MURMUR3_X64_64, NodeData, NodeKind, encode_data
from farlane.models.unixfs.profiles import V1_2025, Profile, ShardingRule

_HASH_BITS: Final = 64
_DATA: Final = encode_data(NodeData(NodeKind.DIRECTORY))
_MAX_NAME_BYTES: Final = 255


class Entry(NamedTuple):
    """Something in a directory. total_bytes: of all blocks below and its own."""

    name: str
    cid: Cid
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory as blocks: its root's CID, the bytes of all blocks below and its own, and the blocks made."""

    root: Cid
    total_bytes: int
    nodes: dict[Cid, bytes] = field(repr=False)


def directory(entries: Iterable[Entry], profile: Profile = V1_2025) -> Directory:
    """Return the directory with these entries, sharded if the profile says so.

    Raises:
        InvalidInput: a name is no file name, or is there twice.
    """
    ordered = sorted(entries, key=lambda entry: entry.name.encode())
    for entry in ordered:
        check_name(entry.name)
    for one, other in pairwise(ordered):
        if one.name == other.name:
            raise InvalidInput(f"a directory has {one.name!r} twice: rename one of them")
    nodes: dict[Cid, bytes] = {}
    if _is_large(ordered, profile):
        root = _shard([(murmur3_x64_64(entry.name.encode()), entry) for entry in ordered], 0, profile, nodes)
    else:
        root = _node(
            [PbLink(entry.cid, entry.name, entry.total_bytes) for entry in ordered], _DATA, profile, nodes
        )
    return Directory(root.cid, root.total_bytes, nodes)


def check_name(name: str) -> None:
    """Check the name of something in a directory.

    Raises:
        InvalidInput: it is no name of one file, or one that leads out of the directory.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name or "\\" in name:
        raise InvalidInput(
            f"{name[:100]!r} is not a file name: expected one without slashes, and neither . nor .."
        )
    if len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME_BYTES:
        raise InvalidInput(f"the name {name[:60]!r}... has more than {_MAX_NAME_BYTES} bytes: shorten it")


def _is_large(entries: Sequence[Entry], profile: Profile) -> bool:
    if profile.sharding is ShardingRule.LINKS:
        size = sum(len(entry.name.encode()) + len(entry.cid.bytes) for entry in entries)
    else:
        links = (link_size(len(cid.bytes), name, total_bytes) for name, cid, total_bytes in entries)
        size = sum(links) + 2 + len(_DATA)
    return size > profile.sharding_threshold_bytes


def _shard(
    entries: Sequence[tuple[int, Entry]], depth: int, profile: Profile, nodes: dict[Cid, bytes]
) -> PbLink:
    """Return the shard of some entries, each with its name's hash, whose first `depth` digits they share."""
    bits = (profile.fanout - 1).bit_length()
    if bits * (depth + 1) > _HASH_BITS:
        raise InvalidInput(
            f"names {entries[0][1].name!r} and {entries[1][1].name!r} have one hash: rename one of them"
        )
    digits = len(f"{profile.fanout - 1:X}")
    slots: dict[int, list[tuple[int, Entry]]] = {}
    for pair in entries:
        slot = pair[0] >> _HASH_BITS - bits * (depth + 1) & profile.fanout - 1
        slots.setdefault(slot, []).append(pair)
    links, bitfield = [], 0
    for slot in sorted(slots):
        prefix = f"{slot:0{digits}X}"
        bitfield |= 1 << slot
        if len(slots[slot]) == 1:
            entry = slots[slot][0][1]
            links.append(PbLink(entry.cid, prefix + entry.name, entry.total_bytes))
        else:
            links.append(_shard(slots[slot], depth + 1, profile, nodes)._replace(name=prefix))
    field_bytes = bitfield.to_bytes((bitfield.bit_length() + 7) // 8, "big")
    data = NodeData(NodeKind.SHARD, field_bytes, hash_code=MURMUR3_X64_64, fanout=profile.fanout)
    return _node(links, encode_data(data), profile, nodes)


def _node(links: Sequence[PbLink], data: bytes, profile: Profile, nodes: dict[Cid, bytes]) -> PbLink:
    block = encode_node(PbNode(links, data))
    cid = block_cid(DAG_PB, block, profile.cid_version)
    nodes[cid] = block
    return PbLink(cid, "", len(block) + sum(link.total_bytes for link in links))
