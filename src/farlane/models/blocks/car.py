"""CAR files: DAGs written as a stream of version 1, and files of versions 1 and 2 read, each block verified.

Source: https://ipld.io/specs/transport/car/ (CARv1 and CARv2).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO, Final, NamedTuple

from farlane.errors import Corrupted, InvalidInput, TooLarge
from farlane.models.blocks.port import MAX_BLOCK_BYTES, BlockSource, BlockStore
from farlane.models.blocks.walking import walk
from farlane.models.cid import Cid, cid_from_bytes, verify_block
from farlane.models.unixfs.protobuf import varint

MAX_HEADER_BYTES: Final = 1 << 20
"""Longest header read: 25,000 roots."""
MAX_PADDING_BYTES: Final = 1 << 20
"""Most bytes passed over in front of the data of version 2."""

_MAX_SECTION_BYTES: Final = MAX_BLOCK_BYTES + 36
_BATCH_BLOCKS: Final = 256
_BATCH_BYTES: Final = 16 << 20
_V2_PRAGMA: Final = bytes.fromhex("0aa16776657273696f6e02")
_V2_HEADER_BYTES: Final = 40
_V0_BYTES: Final = 34
_V1_BYTES: Final = 36


class Imported(NamedTuple):
    """What came in: the roots that the file names, and how many blocks of how many bytes it had."""

    roots: tuple[Cid, ...]
    blocks: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class CarFile:
    """A CAR that is being read: the roots it names, and its blocks in order, each verified; they can be read once."""

    roots: tuple[Cid, ...]
    blocks: Iterator[tuple[Cid, bytes]]


def pieces(roots: Sequence[Cid], blocks: Iterable[tuple[Cid, bytes]]) -> Iterator[bytes]:
    """Yield the bytes of a CAR.

    Args:
        roots: named in its header; kubo takes a CAR without any.
        blocks: in the order in which they shall stand.
    """
    import dag_cbor
    import multiformats

    links: list[dag_cbor.IPLDKind] = [multiformats.CID.decode(root.bytes) for root in roots]
    header = dag_cbor.encode({"roots": links, "version": 1})
    yield varint(len(header)) + header
    for cid, data in blocks:
        name = cid.bytes
        yield varint(len(name) + len(data)) + name + data


def export_car(source: BlockSource, roots: Sequence[Cid]) -> Iterator[bytes]:
    """Yield the bytes of a CAR with everything that roots lead to: parents first, each block once, always the same.

    Raises:
        NotFound, Corrupted: a block is missing or damaged; what was written until then is no whole CAR.
        InvalidInput: a block is no node of its codec.
    """
    found = walk(source.get, roots)
    return pieces(roots, ((cid, block) for cid, block in found if block is not None))


def read_car(stream: BinaryIO) -> CarFile:
    """Begin to read a CAR; the index of version 2 is left unread, since it can be made anew.

    Raises:
        InvalidInput: it is no CAR, or of blocks farlane does not know. Here and when blocks are taken:
        TooLarge: its header or a block is beyond its limit.
        Corrupted: it is cut off, or a block's bytes are not its CID's.
    """
    head = stream.read(len(_V2_PRAGMA))
    if head == _V2_PRAGMA:
        reader = _Reader(stream, b"", None)
        characteristics = reader.exactly(_V2_HEADER_BYTES, "its second header")
        offset, size = (int.from_bytes(characteristics[at : at + 8], "little") for at in (16, 24))
        padding = offset - len(_V2_PRAGMA) - _V2_HEADER_BYTES
        if not 0 <= padding <= MAX_PADDING_BYTES:
            raise InvalidInput(f"a CAR of version 2 says that its data begin at {offset}: it is none")
        reader.exactly(padding, "its padding")
        reader = _Reader(stream, b"", size)
    else:
        reader = _Reader(stream, head, None)
    return CarFile(_roots(reader), _blocks(reader))


def import_car(store: BlockStore, stream: BinaryIO) -> Imported:
    """Put the blocks of a CAR into a store, batch by batch; its roots are held meanwhile.

    Raises:
        InvalidInput, TooLarge, Corrupted: as `read_car`; the batches before the fault are kept.
        DiskFull: there is no room.
    """
    file = read_car(stream)
    count = size_bytes = 0
    with ExitStack() as holds:
        for root in dict.fromkeys(file.roots):
            holds.enter_context(store.hold(root))
        for batch in _batches(file.blocks):
            store.put_many(batch)
            count += len(batch)
            size_bytes += sum(len(data) for _, data in batch)
    return Imported(file.roots, count, size_bytes)


class _Reader:
    """Reads a stream up to a limit, after what was read of it already."""

    def __init__(self, stream: BinaryIO, head: bytes, limit: int | None) -> None:
        self._stream, self._head, self._left = stream, head, limit

    def exactly(self, count: int, what: str) -> bytes:
        found = self._some(count)
        if len(found) < count:
            raise Corrupted(
                f"the CAR is cut off in {what}: {count} bytes expected, {len(found)} there. Get it again"
            )
        return found

    def number(self, limit: int, what: str) -> int | None:
        """Return an unsigned LEB128 of at most `limit`, or None at the end."""
        value, shift = 0, 0
        while True:
            octet = self._some(1)
            if not octet:
                if shift or self._left:
                    raise Corrupted(f"the CAR is cut off before {what}: get it again")
                return None
            value |= (octet[0] & 0x7F) << shift
            if value > limit or shift > 28:
                raise TooLarge(f"{what} of the CAR has more than {limit} bytes: it is not read")
            if octet[0] < 0x80:
                if shift and not octet[0]:
                    raise InvalidInput(f"the length of {what} of the CAR is not in its shortest form")
                return value
            shift += 7

    def _some(self, count: int) -> bytes:
        if self._left is not None:
            count = min(count, self._left)
        found = bytearray(self._head[:count])
        self._head = self._head[count:]
        while len(found) < count and (piece := self._stream.read(count - len(found))):
            found += piece
        if self._left is not None:
            self._left -= len(found)
        return bytes(found)


def _roots(reader: _Reader) -> tuple[Cid, ...]:
    import dag_cbor
    from multiformats import CID

    length = reader.number(MAX_HEADER_BYTES, "the header")
    if not length:
        raise InvalidInput("this is no CAR: it is empty, or has no header")
    raw = reader.exactly(length, "its header")
    try:
        header = dag_cbor.decode(raw)
    except Exception as error:  # the library raises its own, KeyError and RecursionError alike
        raise InvalidInput("this is no CAR: its header is not dag-cbor") from error
    if not isinstance(header, dict) or header.get("version") != 1:
        raise InvalidInput("this is no CAR of version 1 or 2: its header says another version, or none")
    links = header.get("roots")
    if not isinstance(links, list) or not all(isinstance(link, CID) for link in links):
        raise InvalidInput("this is no CAR: its header has no list of roots")
    return tuple(cid_from_bytes(bytes(link)) for link in links if isinstance(link, CID))


def _blocks(reader: _Reader) -> Iterator[tuple[Cid, bytes]]:
    while (length := reader.number(_MAX_SECTION_BYTES, "a block")) is not None:
        if length < _V0_BYTES:
            raise InvalidInput(f"a section of {length} bytes of the CAR is too short for a CID with sha2-256")
        section = reader.exactly(length, "a block")
        end = _V0_BYTES if section[0] == 0x12 else _V1_BYTES
        cid = cid_from_bytes(section[:end])
        data = section[end:]
        if len(data) > MAX_BLOCK_BYTES:
            raise TooLarge(f"block {cid} has more than {MAX_BLOCK_BYTES} bytes: it is not read", cid=cid.text)
        verify_block(cid, data)
        yield cid, data


def _batches(blocks: Iterator[tuple[Cid, bytes]]) -> Iterator[list[tuple[Cid, bytes]]]:
    batch: list[tuple[Cid, bytes]] = []
    size = 0
    for cid, data in blocks:
        batch.append((cid, data))
        size += len(data)
        if len(batch) == _BATCH_BLOCKS or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
