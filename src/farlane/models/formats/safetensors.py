"""safetensors: a length, a JSON header, and the tensors one behind the other without holes.

Source: the safetensors README, section Format, and its MAX_HEADER_SIZE.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

from farlane.errors import Corrupted
from farlane.models.formats.content import Content, truncated
from farlane.models.formats.values import FileFormat, Inspection, TensorPlace

LENGTH_BYTES: Final = 8
MAX_HEADER_BYTES: Final = 100_000_000
MAX_TENSORS: Final = 1_000_000
MAX_DIMENSIONS: Final = 64
MAX_NAME_BYTES: Final = 4096
ELEMENT_BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip
"""Bits of one element."""


def looks_like(content: Content) -> bool:
    """Tell whether a file begins as a safetensors file does."""
    head = content.read(0, LENGTH_BYTES + 1)
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    return len(head) > LENGTH_BYTES and head[-1:] == b"{" and 2 <= length <= MAX_HEADER_BYTES


def inspect(content: Content) -> Inspection:
    """Read the header and check every tensor.

    Raises:
        Corrupted: cut off, too large a header, a tensor that stands twice, overlaps another, leaves a hole, or whose
            size is not what its shape and type say.
    """
    head = content.read(0, LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        raise truncated("safetensors", LENGTH_BYTES - len(head), content.size)
    length = int.from_bytes(head, "little")
    if length > MAX_HEADER_BYTES:
        raise _wrong(
            f"its header would have {length} bytes, more than the {MAX_HEADER_BYTES} the format allows"
        )
    start = LENGTH_BYTES + length
    if start > content.size:
        raise truncated("safetensors", start - content.size, content.size)
    header = _header(content.read(LENGTH_BYTES, length))
    facts = _metadata(header.pop("__metadata__", {}))
    if len(header) > MAX_TENSORS:
        raise _wrong(f"it has {len(header)} tensors, more than {MAX_TENSORS}")
    tensors = sorted(
        (_tensor(name, entry, start) for name, entry in header.items()),
        key=lambda one: (one.offset, one.size, one.name),
    )
    end = _end_without_holes(tensors, start)
    if end > content.size:
        raise truncated("safetensors", end - content.size, content.size)
    if end < content.size:
        raise _wrong(f"{content.size - end} bytes behind its last tensor belong to nothing")
    ranges = ((0, start), *((one.offset, one.size) for one in tensors if one.size))
    return Inspection(
        format=FileFormat.SAFETENSORS, size=content.size, tensors=tuple(tensors), ranges=ranges, facts=facts
    )


def _header(raw: bytes) -> dict[str, Any]:
    if raw[:1] != b"{":
        raise _wrong("its header does not begin with '{'")
    try:
        header = json.loads(raw.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"its header is not JSON in UTF-8 ({error})") from error
    if not isinstance(header, dict):
        raise _wrong("its header is no JSON object")
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _wrong(f"{name[:80]!r} stands twice in its header")
        found[name] = value
    return found


def _metadata(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise _wrong("its __metadata__ is no map of texts")
    return tuple((f"metadata.{name}", text) for name, text in sorted(value.items()) if len(text) <= 1024)[
        :256
    ]


def _tensor(name: str, entry: object, start: int) -> TensorPlace:
    label = f"its tensor {name[:80]!r}"
    if not name or len(name.encode(errors="replace")) > MAX_NAME_BYTES or not isinstance(entry, dict):
        raise _wrong(f"{label} has no proper name or description")
    if entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _wrong(f"{label} is described by {sorted(entry)[:6]}; expected dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ELEMENT_BITS:
        raise _wrong(f"{label} has the unknown type {str(dtype)[:40]!r}")
    if not _sizes(shape) or len(shape) > MAX_DIMENSIONS or not _sizes(offsets) or len(offsets) != 2:
        raise _wrong(f"{label} has a shape or offsets that are no sizes")
    begin, end = offsets
    bits = math.prod(shape) * ELEMENT_BITS[dtype]
    if bits % 8 or end - begin != bits // 8:
        raise _wrong(f"{label} of {dtype} {shape[:8]} needs {bits / 8:g} bytes, but has {end - begin}")
    return TensorPlace(name, dtype, tuple(shape), start + begin, end - begin)


def _sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(one) is int and 0 <= one < 1 << 62 for one in value)


def _end_without_holes(tensors: list[TensorPlace], start: int) -> int:
    at = start
    for one in tensors:
        if one.offset != at:
            what = (
                "overlaps the one before it"
                if one.offset < at
                else f"leaves a hole of {one.offset - at} bytes"
            )
            raise _wrong(f"its tensor {one.name[:80]!r} {what}")
        at += one.size
    return at


def _wrong(what: str) -> Corrupted:
    return Corrupted(f"this safetensors file is not sound: {what}; get it again from where it was made")
