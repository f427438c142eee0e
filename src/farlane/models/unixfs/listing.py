"""What is in a directory, plain or sharded: the entries of one, or the files of all below it with their paths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from farlane.errors import InvalidInput, TooLarge
from farlane.models.blocks.port import BlockSource
from farlane.models.cid import RAW, Cid
from farlane.models.unixfs.dag_pb import PbNode
from farlane.models.unixfs.directory import Entry, check_name
from farlane.models.unixfs.murmur3 import murmur3_x64_64
from farlane.models.unixfs.nodes import MURMUR3_X64_64, NodeData, NodeKind
from farlane.models.unixfs.reading import file_bytes, read_node

_HASH_BITS: Final = 64
_MAX_FANOUT: Final = 1024
_DIRECTORIES: Final = (NodeKind.DIRECTORY, NodeKind.SHARD)


class ListedFile(NamedTuple):
    """A file below a directory: its path with `/` between names, its root, and its bytes as its root says."""

    path: str
    cid: Cid
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ListingLimits:
    """How much is listed before a directory is refused."""

    depth: int = 32
    """Directories in each other."""
    entries: int = 100_000
    """Entries, directories among them, each counted as often as it occurs."""
    size_bytes: int = 1 << 44
    """Bytes of all files."""


LIMITS: Final = ListingLimits()


def list_directory(source: BlockSource, root: Cid, max_entries: int = LIMITS.entries) -> list[Entry]:
    """Return the entries of one directory, ordered by name.

    Raises:
        NotFound, Corrupted: a block of it is missing or damaged.
        InvalidInput: it is no directory, a name leads out of it or is there twice, or a shard is not in its place.
        TooLarge: it has more entries.
    """
    found: dict[str, Entry] = {}
    for entry in _entries(source, root):
        check_name(entry.name)
        if entry.name in found:
            raise InvalidInput(f"directory {root} has {entry.name!r} twice", cid=root.text)
        if len(found) >= max_entries:
            raise TooLarge(
                f"directory {root} has more entries than the {max_entries} that may be listed", cid=root.text
            )
        found[entry.name] = entry
    return sorted(found.values(), key=lambda entry: entry.name.encode())


def list_files(source: BlockSource, root: Cid, limits: ListingLimits = LIMITS) -> list[ListedFile]:
    """Return all files below a directory, ordered by their names at each level; empty directories leave no trace.

    Raises:
        NotFound, Corrupted: a directory's block or a file's root is missing or damaged.
        InvalidInput: as `list_directory`, or there is something that is neither file nor directory.
        TooLarge: it is beyond the limits.
    """
    files: list[ListedFile] = []
    entries = size_bytes = 0
    stack: list[tuple[str, Cid, int]] = [("", root, 0)]
    while stack:
        path, cid, depth = stack.pop()
        if depth and (length := _file_size(source, cid)) is not None:
            files.append(ListedFile(path, cid, length))
            size_bytes += length
            if size_bytes > limits.size_bytes:
                raise TooLarge(
                    f"the files below {root} have more than {limits.size_bytes} bytes", cid=root.text
                )
            continue
        if depth >= limits.depth:
            raise TooLarge(f"more than {limits.depth} directories lie in each other below {root}")
        inside = list_directory(source, cid, limits.entries - entries)
        entries += len(inside)
        prefix = f"{path}/" if depth else ""
        stack.extend((prefix + entry.name, entry.cid, depth + 1) for entry in reversed(inside))
    return files


def _file_size(source: BlockSource, cid: Cid) -> int | None:
    """Return the bytes of a file, or None of a directory."""
    if cid.codec == RAW:
        return source.size(cid)
    node, data = read_node(source, cid)
    return None if data.kind in _DIRECTORIES else file_bytes(cid, node, data)


def _entries(source: BlockSource, root: Cid) -> Iterator[Entry]:
    node, data = read_node(source, root)
    if data.kind is NodeKind.SHARD:
        yield from _sharded(source, root, data)
    elif data.kind is NodeKind.DIRECTORY:
        for link in node.links:
            yield Entry(link.name, link.cid, link.total_bytes)
    else:
        raise InvalidInput(f"{root} is a {data.kind.name.lower()} and no directory", cid=root.text)


def _sharded(source: BlockSource, root: Cid, data: NodeData) -> Iterator[Entry]:
    """Yield the entries of a sharded directory.

    Each must be where its name's hash leads, and each shard below must have some: so none is met twice, and a shard
    that is repeated all over is found out at its second place.
    """
    fanout = data.fanout or 0
    if not 8 <= fanout <= _MAX_FANOUT or fanout & (fanout - 1) or data.hash_code != MURMUR3_X64_64:
        raise InvalidInput(
            f"{root} is sharded {fanout} ways by hash {data.hash_code}: expected a power of 2 from 8 to {_MAX_FANOUT} "
            f"and murmur3 ({MURMUR3_X64_64})",
            cid=root.text,
        )
    bits, digits = fanout.bit_length() - 1, len(f"{fanout - 1:X}")
    stack = [(root, 0, 1)]
    while stack:
        cid, way, depth = stack.pop()
        if bits * depth > _HASH_BITS:
            raise InvalidInput(f"shard {cid} lies deeper than any hash leads", cid=cid.text)
        node, said = read_node(source, cid)
        same = (said.kind, said.fanout, said.hash_code) == (NodeKind.SHARD, fanout, MURMUR3_X64_64)
        if not same or (depth > 1 and not node.links):
            raise InvalidInput(f"{cid} is no shard of directory {root}, or an empty one", cid=cid.text)
        for slot, link in zip(_slots(cid, node, said, fanout, digits), node.links, strict=True):
            here, name = way << bits | slot, link.name[digits:]
            if not name:
                stack.append((link.cid, here, depth + 1))
            elif murmur3_x64_64(name.encode()) >> _HASH_BITS - bits * depth != here:
                raise InvalidInput(f"shard {cid} has {name[:100]!r}, whose place is elsewhere", cid=cid.text)
            else:
                yield Entry(name, link.cid, link.total_bytes)


def _slots(cid: Cid, node: PbNode, data: NodeData, fanout: int, digits: int) -> list[int]:
    """Return the slots of a shard's links, after checking that they are in order and those of its bitfield."""
    taken = int.from_bytes(data.data or b"", "big")
    expected = [slot for slot in range(fanout) if taken >> slot & 1]
    prefixes = [f"{slot:0{digits}X}" for slot in expected]
    if taken >> fanout or prefixes != [link.name[:digits] for link in node.links]:
        raise InvalidInput(f"the links of shard {cid} are not those of its bitfield", cid=cid.text)
    return expected
