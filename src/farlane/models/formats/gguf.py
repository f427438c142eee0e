"""GGUF, versions 2 and 3: metadata, descriptions of tensors, and their aligned data.

Source: ggml, docs/gguf.md.
"""

from __future__ import annotations

import struct
from typing import Final

from farlane.errors import Corrupted
from farlane.models.formats.content import Content, Cursor, truncated
from farlane.models.formats.gguf_types import ARRAY, FILE_TYPES, SCALARS, STRING, TYPES
from farlane.models.formats.values import FileFormat, Inspection, TensorPlace

MAGIC: Final = b"GGUF"
MAX_HEADER_BYTES: Final = 256 << 20
MAX_TENSORS: Final = 1 << 20
MAX_KEYS: Final = 1 << 16
MAX_KEY_BYTES: Final = 65535
MAX_STRING_BYTES: Final = 64 << 20
MAX_ARRAY: Final = 1 << 24
MAX_ARRAY_DEPTH: Final = 4
MAX_DIMENSIONS: Final = 4
MAX_ALIGNMENT: Final = 1 << 20
MAX_FACT_BYTES: Final = 1024
DEFAULT_ALIGNMENT: Final = 32


def looks_like(content: Content) -> bool:
    """Tell whether a file begins as a GGUF file does."""
    return content.read(0, 4) == MAGIC


def inspect(content: Content) -> Inspection:
    """Read metadata and tensors, and where padding lies between them.

    Raises:
        Corrupted: cut off, a count beyond reason, a tensor that stands twice or overlaps another, or an unknown type.
    """
    cursor = Cursor(content, "GGUF", MAX_HEADER_BYTES)
    _check_version(cursor)
    tensor_count, key_count = struct.unpack("<QQ", cursor.take(16))
    if tensor_count > MAX_TENSORS or key_count > MAX_KEYS:
        raise _wrong(
            f"it claims {tensor_count} tensors and {key_count} keys, more than {MAX_TENSORS} and {MAX_KEYS}"
        )
    facts = _metadata(cursor, key_count)
    alignment = _alignment(facts)
    described = [_description(cursor) for _ in range(tensor_count)]
    if len({name for name, *_ in described}) != len(described):
        raise _wrong("two of its tensors have one name")
    start = -(-cursor.at // alignment) * alignment
    tensors = sorted(
        (_tensor(one, start, alignment) for one in described), key=lambda tensor: (tensor.offset, tensor.size)
    )
    ranges = _ranges(content, cursor.at, start, tensors)
    named = {key: value for key, value in facts.items() if len(value) <= MAX_FACT_BYTES}
    if quantisation := FILE_TYPES.get(int(facts.get("general.file_type", "-1"))):
        named["quantisation"] = quantisation
    return Inspection(
        format=FileFormat.GGUF, size=content.size, tensors=tuple(tensors), ranges=ranges,
        facts=tuple(sorted(named.items())),
    )  # fmt: skip


def _check_version(cursor: Cursor) -> None:
    magic, version = struct.unpack("<4sI", cursor.take(8))
    if magic != MAGIC:
        raise _wrong("it does not begin with GGUF")
    if version in {0x02000000, 0x03000000}:
        raise _wrong("it is big-endian, which no runtime here reads: convert it with gguf_convert_endian")
    if version not in {2, 3}:
        raise _wrong(f"it has version {version}; expected 2 or 3")


def _metadata(cursor: Cursor, count: int) -> dict[str, str]:
    facts: dict[str, str] = {}
    seen: set[str] = set()
    for _ in range(count):
        key = _text(cursor, MAX_KEY_BYTES)
        if key in seen:
            raise _wrong(f"its key {key[:80]!r} stands twice")
        seen.add(key)
        (kind,) = struct.unpack("<I", cursor.take(4))
        value = _value(cursor, kind, 0)
        if value is not None:
            facts[key] = value
    return facts


def _value(cursor: Cursor, kind: int, depth: int) -> str | None:
    """Return a metadata value as text, None for an array, which is only stepped over."""
    if kind == STRING:
        return _text(cursor, MAX_STRING_BYTES)
    if kind in SCALARS:
        letter = SCALARS[kind]
        return str(struct.unpack(f"<{letter}", cursor.take(struct.calcsize(f"<{letter}")))[0])
    if kind != ARRAY or depth >= MAX_ARRAY_DEPTH:
        raise _wrong(
            f"its metadata has a value of type {kind}, which the format does not know or nests too deep"
        )
    item, count = struct.unpack("<IQ", cursor.take(12))
    if count > MAX_ARRAY:
        raise _wrong(f"its metadata has an array of {count} values, more than {MAX_ARRAY}")
    if item in SCALARS:
        _skip(cursor, count * struct.calcsize(f"<{SCALARS[item]}"))
        return None
    for _ in range(count):
        _value(cursor, item, depth + 1)
    return None


def _skip(cursor: Cursor, length: int) -> None:
    while length:
        step = min(length, 1 << 20)
        cursor.take(step)
        length -= step


def _text(cursor: Cursor, limit: int) -> str:
    (length,) = struct.unpack("<Q", cursor.take(8))
    if length > limit:
        raise _wrong(f"it has a text of {length} bytes, more than {limit}")
    return cursor.take(length).decode("utf-8", "replace")


def _alignment(facts: dict[str, str]) -> int:
    text = facts.get("general.alignment", str(DEFAULT_ALIGNMENT))
    alignment = int(text) if text.isdecimal() else 0
    if not 0 < alignment <= MAX_ALIGNMENT or alignment % 8:
        raise _wrong(f"its alignment is {text[:40]}; expected a multiple of 8")
    return alignment


def _description(cursor: Cursor) -> tuple[str, tuple[int, ...], int, int]:
    name = _text(cursor, MAX_KEY_BYTES)
    (dimensions,) = struct.unpack("<I", cursor.take(4))
    if dimensions > MAX_DIMENSIONS:
        raise _wrong(f"its tensor {name[:80]!r} has {dimensions} dimensions, more than {MAX_DIMENSIONS}")
    shape = struct.unpack(f"<{dimensions}Q", cursor.take(8 * dimensions))
    kind, offset = struct.unpack("<IQ", cursor.take(12))
    return name, shape, kind, offset


def _tensor(described: tuple[str, tuple[int, ...], int, int], start: int, alignment: int) -> TensorPlace:
    name, shape, kind, offset = described
    if kind not in TYPES:
        raise _wrong(f"its tensor {name[:80]!r} has the unknown type {kind}")
    dtype, block_elements, block_bytes = TYPES[kind]
    elements = 1
    for one in shape:
        elements *= one
    if elements >= 1 << 60 or offset >= 1 << 60 or offset % alignment:
        raise _wrong(f"its tensor {name[:80]!r} has an impossible size or an offset that is not aligned")
    if (shape[0] if shape else 1) % block_elements:
        raise _wrong(f"rows of its tensor {name[:80]!r} are no whole blocks of {dtype}")
    return TensorPlace(name, dtype, shape, start + offset, elements // block_elements * block_bytes)


def _ranges(
    content: Content, header: int, start: int, tensors: list[TensorPlace]
) -> tuple[tuple[int, int], ...]:
    """Return header, tensors and the padding between them, each a range of its own."""
    ranges, at = [(0, min(header, content.size))], header
    if not tensors:
        start = header
    for offset, size, name in [(start, 0, ""), *((one.offset, one.size, one.name) for one in tensors)]:
        if offset < at:
            raise _wrong(f"its tensor {name[:80]!r} overlaps the one before it")
        if offset + size > content.size and (size or name):
            end = max(one.offset + one.size for one in tensors)
            raise truncated("GGUF", end - content.size, content.size)
        gap = min(offset, content.size) - at
        ranges += [(place, length) for place, length in ((at, gap), (offset, size)) if length > 0]
        at = max(at, offset + size)
    if at < content.size:
        ranges.append((at, content.size - at))
    return tuple(ranges)


def _wrong(what: str) -> Corrupted:
    return Corrupted(f"this GGUF file is not sound: {what}; get it again from where it was made")
