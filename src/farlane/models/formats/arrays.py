"""Arrays as numpy saves them (.npy): their header, and object arrays refused, since those are pickles.

Source: numpy.lib.format.
"""

from __future__ import annotations

import ast
import math
import re
from typing import Final

from farlane.errors import Corrupted, InvalidInput
from farlane.models.formats.content import Content, truncated
from farlane.models.formats.values import FileFormat, Inspection, TensorPlace

MAGIC: Final = b"\x93NUMPY"
MAX_HEADER_BYTES: Final = 65536
_PLAIN: Final = re.compile(r"[<>|=]?([biufc?SUV])(\d{0,6})")


def looks_like(content: Content) -> bool:
    """Tell whether a file begins as a .npy file does."""
    return content.read(0, 6) == MAGIC


def inspect(content: Content) -> Inspection:
    """Read the header of an array.

    Raises:
        InvalidInput: it holds Python objects.
        Corrupted: cut off, or no such header.
    """
    head = content.read(0, 12)
    wide = head[6:7] != b"\x01"
    start = 12 if wide else 10
    length = int.from_bytes(head[8:start], "little")
    if len(head) < 12 or length > MAX_HEADER_BYTES:
        raise Corrupted("this .npy file has no sound header: save the array again")
    raw = content.read(start, length)
    if len(raw) < length:
        raise truncated("numpy", length - len(raw), content.size)
    try:
        header = ast.literal_eval(raw.decode())
        descr, shape = header["descr"], tuple(int(one) for one in header["shape"])
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise Corrupted("this .npy file has no sound header: save the array again") from error
    if not isinstance(descr, str) or "O" in descr:
        raise InvalidInput(
            "this .npy file holds Python objects, which numpy keeps as a pickle: save plain arrays with "
            "`numpy.save(file, array, allow_pickle=False)`"
        )
    return _found(content, start + length, descr, shape)


def _found(content: Content, offset: int, descr: str, shape: tuple[int, ...]) -> Inspection:
    kind = _PLAIN.fullmatch(descr)
    width = int(kind[2] or 1) * (4 if kind[1] == "U" else 1) if kind else 0
    size = math.prod(shape) * width
    if kind is None or any(one < 0 for one in shape) or size > 1 << 60:
        raise Corrupted(f"this .npy file has the unknown type {descr[:40]!r} or shape: save the array again")
    if offset + size > content.size:
        raise truncated("numpy", offset + size - content.size, content.size)
    tensor = TensorPlace("array", descr, shape, offset, size)
    rest = content.size - offset - size
    ranges = tuple(
        (at, length) for at, length in ((0, offset), (offset, size), (offset + size, rest)) if length
    )
    return Inspection(format=FileFormat.NUMPY, size=content.size, tensors=(tensor,), ranges=ranges)
