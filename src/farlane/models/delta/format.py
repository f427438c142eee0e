"""A delta as blocks: a DAG-CBOR root, parts with instructions, and payload in raw blocks; read with suspicion.

    root   {kind, version, bases: [{cid, size}], targets: [{cid, size, parts: [[bytes it makes, link]]}]}
    part   {pieces: [[operation, element, length, base, offset, base length, payload sizes...]], payload: [link]}

The CIDs of bases and targets are byte strings, not links: whoever fetches or pins a delta does not thereby fetch the
files it is about. Payload blocks hold PAYLOAD_BLOCK_BYTES each, the last of a part what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from farlane.errors import Corrupted, FarlaneError, UnsupportedVersion
from farlane.models.cid import DAG_CBOR, RAW, Cid, cid_from_bytes
from farlane.models.delta.elements import ELEMENTS, Element, number_of
from farlane.models.delta.pieces import BASED, MAX_PIECE_BYTES, Operation

KIND: Final = "farlane-delta"
VERSION: Final = 1
PAYLOAD_BLOCK_BYTES: Final = 1 << 20
MAX_BLOCK_BYTES: Final = 1 << 20
MAX_FILES: Final = 4096
MAX_PARTS: Final = 1 << 16
MAX_PIECES: Final = 1 << 14
"""Of one part."""
MAX_FILE_BYTES: Final = 1 << 50


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file by its CID, and its size."""

    cid: Cid
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PartRef:
    """A part by its CID, and how many bytes of the target it makes."""

    cid: Cid
    makes_bytes: int


@dataclass(frozen=True, slots=True)
class TargetRef:
    """A file that the delta makes, and its parts in order."""

    file: FileRef
    parts: tuple[PartRef, ...]


@dataclass(frozen=True, slots=True)
class Delta:
    """The root of a delta."""

    bases: tuple[FileRef, ...]
    targets: tuple[TargetRef, ...]


@dataclass(frozen=True, slots=True)
class Instruction:
    """How one piece is made.

    Attributes:
        base: number of the base, 0 where none is read.
        offset: where in the base its bytes begin.
        base_length: how many are read.
        sizes: bytes of each part of its payload.
    """

    operation: Operation
    element: Element
    length: int
    base: int
    offset: int
    base_length: int
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """Instructions in order, and the blocks in which their payload lies end to end."""

    instructions: tuple[Instruction, ...]
    payload: tuple[Cid, ...]


def encode_delta(delta: Delta) -> bytes:
    """Return the root as DAG-CBOR."""
    targets = [
        {**_file(target.file), "parts": [[part.makes_bytes, _link(part.cid)] for part in target.parts]}
        for target in delta.targets
    ]
    return _encoded(
        {"kind": KIND, "version": VERSION, "bases": [_file(base) for base in delta.bases], "targets": targets}
    )


def encode_part(part: Part) -> bytes:
    """Return a part as DAG-CBOR."""
    pieces = [
        [
            int(one.operation),
            number_of(one.element),
            one.length,
            one.base,
            one.offset,
            one.base_length,
            *one.sizes,
        ]
        for one in part.instructions
    ]
    return _encoded({"pieces": pieces, "payload": [_link(cid) for cid in part.payload]})


def decode_delta(raw: bytes) -> Delta:
    """Read a root.

    Raises:
        Corrupted: it is none, or speaks of files beyond every limit.
        UnsupportedVersion: a newer farlane wrote it.
    """
    root = _map(_decoded(raw), "its root")
    if root.get("kind") != KIND:
        raise _wrong("its root has another kind")
    if root.get("version") != VERSION:
        raise UnsupportedVersion(
            f"the delta has format version {str(root.get('version'))[:40]}, this farlane reads {VERSION}: fetch the "
            "blocks instead, or install a newer farlane"
        )
    bases = tuple(_read_file(_map(one, "a base")) for one in _items(root.get("bases"), MAX_FILES, "bases"))
    targets = tuple(
        _read_target(_map(one, "a target")) for one in _items(root.get("targets"), MAX_FILES, "targets")
    )
    return Delta(bases, targets)


def decode_part(raw: bytes, makes_bytes: int, bases: tuple[FileRef, ...]) -> Part:
    """Read a part and check that its instructions make `makes_bytes` out of what the bases have.

    Raises:
        Corrupted: it is none, makes another length, or reads beyond a base or its payload.
    """
    part = _map(_decoded(raw), "a part")
    instructions = tuple(
        _read_instruction(one, bases) for one in _items(part.get("pieces"), MAX_PIECES, "pieces")
    )
    if sum(one.length for one in instructions) != makes_bytes:
        raise _wrong(f"a part makes another length than the {makes_bytes} bytes it is for")
    size = sum(sum(one.sizes) for one in instructions)
    blocks = -(-size // PAYLOAD_BLOCK_BYTES)
    payload = tuple(_cid(one, RAW) for one in _items(part.get("payload"), blocks, "payload"))
    if len(payload) != blocks:
        raise _wrong(f"a part has {len(payload)} payload blocks, its pieces need {blocks}")
    return Part(instructions, payload)


def _read_instruction(value: object, bases: tuple[FileRef, ...]) -> Instruction:
    fields = _items(value, 6 + 8, "a piece")
    if len(fields) < 6 or not all(type(field) is int and 0 <= field <= MAX_FILE_BYTES for field in fields):
        raise _wrong("a piece is not 6 to 14 numbers")
    number, kind, length, base, offset, base_length, *sizes = fields
    if number not in Operation.__members__.values() or kind >= len(ELEMENTS):
        raise _wrong(f"operation {number} on element {kind} is not known")
    operation, element = Operation(number), ELEMENTS[kind]
    limit = MAX_FILE_BYTES if operation is Operation.COPY else MAX_PIECE_BYTES
    if not 0 < length <= limit or length % element.width_bytes or any(size > length for size in sizes):
        raise _wrong(f"a piece has {length} bytes, or payload larger than itself")
    if operation in BASED:
        if base >= len(bases) or offset + base_length > bases[base].size_bytes:
            raise _wrong("a piece reads outside of the bases")
        if base_length > MAX_PIECE_BYTES and operation is not Operation.COPY:
            raise _wrong(f"a piece reads {base_length} bytes of a base at once, at most {MAX_PIECE_BYTES}")
        if base_length != length and operation is not Operation.DICTIONARY:
            raise _wrong(f"a piece of {length} bytes reads {base_length} bytes of a base")
    return Instruction(operation, element, length, base, offset, base_length, tuple(sizes))


def _read_target(value: dict[str, Any]) -> TargetRef:
    file = _read_file(value)
    parts = []
    for one in _items(value.get("parts"), MAX_PARTS, "parts"):
        makes, link = (*_items(one, 2, "a part"), None, None)[:2]
        if type(makes) is not int or not 0 < makes <= file.size_bytes:
            raise _wrong("a part makes an impossible number of bytes")
        parts.append(PartRef(_cid(link, DAG_CBOR), makes))
    if sum(part.makes_bytes for part in parts) != file.size_bytes:
        raise _wrong(f"the parts of a target do not make its {file.size_bytes} bytes")
    return TargetRef(file, tuple(parts))


def _read_file(value: dict[str, Any]) -> FileRef:
    cid, size = value.get("cid"), value.get("size")
    if not isinstance(cid, bytes) or type(size) is not int or not 0 <= size <= MAX_FILE_BYTES:
        raise _wrong("a file has no CID or an impossible size")
    return FileRef(cid_from_bytes(cid), size)


def _file(file: FileRef) -> dict[str, Any]:
    return {"cid": file.cid.bytes, "size": file.size_bytes}


def _items(value: object, limit: int, what: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > limit:
        raise _wrong(f"{what}: not a list of at most {limit}")
    return value


def _map(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(f"{what} is not a map")
    return value


def _encoded(value: dict[str, Any]) -> bytes:
    import dag_cbor

    return bytes(dag_cbor.encode(value))


def _decoded(raw: bytes) -> object:
    import dag_cbor

    if len(raw) > MAX_BLOCK_BYTES:
        raise _wrong(f"a block of {len(raw)} bytes, at most {MAX_BLOCK_BYTES}")
    try:
        return dag_cbor.decode(raw)
    except Exception as error:  # the library raises its own, KeyError and RecursionError alike
        raise _wrong("not strict DAG-CBOR") from error


def _link(cid: Cid) -> Any:
    from multiformats import CID

    return CID.decode(cid.bytes)


def _cid(link: object, codec: int) -> Cid:
    from multiformats import CID

    if not isinstance(link, CID):
        raise _wrong("a link is missing")
    try:
        cid = cid_from_bytes(bytes(link))
    except FarlaneError as error:
        raise _wrong("a link is not a CID of sha2-256") from error
    if cid.codec != codec:
        raise _wrong("a link leads to a block of another kind")
    return cid


def _wrong(reason: str) -> Corrupted:
    return Corrupted(f"this is not a delta that can be applied: {reason}; fetch the blocks instead")
