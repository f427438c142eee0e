"""Tensors as protocols carry them: sizes checked before anything is made of them, JSON numbers to bytes and back."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from farlane.domain.inference import Datatype, Tensor
from farlane.errors import InvalidInput, TooLarge

if TYPE_CHECKING:
    import numpy as np

MAX_RANK = 32
MAX_NAME_CHARS = 256
MAX_ELEMENTS = 1 << 31
"""Of one tensor; the body's own cap is reached long before by anything but empty texts."""
_LENGTH = struct.Struct("<I")
_NUMPY = {
    Datatype.BOOL: "?",
    Datatype.UINT8: "u1",
    Datatype.UINT16: "<u2",
    Datatype.UINT32: "<u4",
    Datatype.UINT64: "<u8",
    Datatype.INT8: "i1",
    Datatype.INT16: "<i2",
    Datatype.INT32: "<i4",
    Datatype.INT64: "<i8",
    Datatype.FP16: "<f2",
    Datatype.FP32: "<f4",
    Datatype.FP64: "<f8",
}
_FLOATS = (Datatype.FP16, Datatype.FP32, Datatype.FP64)
ELEMENT_BYTES = {kind: int(code[-1]) if code != "?" else 1 for kind, code in _NUMPY.items()} | {
    Datatype.BF16: 2
}
"""Bytes of one element; those of BYTES differ."""


def datatype_of(name: str, tensor: str) -> Datatype:
    """Return a datatype by its name in the protocol.

    Raises:
        InvalidInput: there is none by that name.
    """
    try:
        return Datatype(name)
    except ValueError as error:
        known = ", ".join(Datatype)
        raise InvalidInput(
            f"tensor {tensor!r} has datatype {name[:40]!r}; expected one of {known}", param=tensor
        ) from error


def element_count(name: str, shape: Sequence[int]) -> int:
    """Return how many elements a tensor of some shape has.

    Raises:
        InvalidInput: the name or a dimension is none.
        TooLarge: more than any request could carry.
    """
    if not 0 < len(name) <= MAX_NAME_CHARS:
        raise InvalidInput(f"a tensor's name has 1 to {MAX_NAME_CHARS} characters; this one has {len(name)}")
    if len(shape) > MAX_RANK:
        raise InvalidInput(
            f"tensor {name!r} has {len(shape)} dimensions; expected at most {MAX_RANK}", param=name
        )
    if any(size < 0 for size in shape):
        raise InvalidInput(
            f"tensor {name!r} has shape {list(shape)}: a tensor that is sent has no negative dimension",
            param=name,
        )
    count = math.prod(shape)
    if count > MAX_ELEMENTS or max(shape, default=0) > MAX_ELEMENTS:
        raise TooLarge(f"tensor {name!r} would have more than {MAX_ELEMENTS} elements", param=name)
    return count


def raw_tensor(name: str, datatype: Datatype, shape: Sequence[int], data: bytes) -> Tensor:
    """Return a tensor of bytes as they were sent, once they are as many as its shape says.

    Raises:
        InvalidInput: they are not, or the lengths between texts lie.
    """
    count = element_count(name, shape)
    if datatype is Datatype.BYTES:
        found = sum(1 for _ in texts_of(name, data, limit=count))
        if found != count:
            raise InvalidInput(f"tensor {name!r} carries {found} texts; its shape has {count}", param=name)
    elif len(data) != count * ELEMENT_BYTES[datatype]:
        raise InvalidInput(
            f"tensor {name!r} carries {len(data)} bytes; {datatype} of shape {list(shape)} takes "
            f"{count * ELEMENT_BYTES[datatype]}",
            param=name,
        )
    elif datatype is Datatype.BOOL and data.translate(None, b"\0\1"):
        raise InvalidInput(f"tensor {name!r} is BOOL but has bytes other than 0 and 1", param=name)
    return Tensor(name, datatype, tuple(shape), data)


def texts_of(name: str, data: bytes, limit: int) -> Iterator[bytes]:
    """Yield the elements of a BYTES tensor, each after its length (4 bytes, little-endian).

    Raises:
        InvalidInput: a length leads past the end, or more than `limit` elements follow.
    """
    at = 0
    while at < len(data):
        if limit <= 0:
            raise InvalidInput(f"tensor {name!r} carries more texts than its shape has", param=name)
        limit -= 1
        end = at + _LENGTH.size
        size = _LENGTH.unpack_from(data, at)[0] if end <= len(data) else len(data)
        if end + size > len(data):
            raise InvalidInput(
                f"tensor {name!r} ends in the middle of a text: a length before one lies", param=name
            )
        yield data[end : end + size]
        at = end + size


def listed_tensor(name: str, datatype: Datatype, shape: Sequence[int], values: list[Any]) -> Tensor:
    """Return a tensor of values as JSON lists them, nested or flat, row by row.

    Raises:
        InvalidInput: they are not as many as the shape says, or not of the datatype.
    """
    count = element_count(name, shape)
    flat = _flattened(name, values, count)
    if len(flat) != count:
        raise InvalidInput(f"tensor {name!r} lists {len(flat)} values; its shape has {count}", param=name)
    return Tensor(name, datatype, tuple(shape), pack_values(name, datatype, flat))


def pack_values(name: str, datatype: Datatype, values: Sequence[Any]) -> bytes:
    """Return values as a tensor's bytes.

    Raises:
        InvalidInput: one is not of the datatype, or beyond its range.
    """
    if datatype is Datatype.BYTES:
        return b"".join(_LENGTH.pack(len(one)) + one for one in (_octets(name, value) for value in values))
    if datatype is Datatype.BF16:
        raise InvalidInput(
            f"tensor {name!r} is BF16, which has no JSON form: send it as binary data", param=name
        )
    wanted = (bool,) if datatype is Datatype.BOOL else (int, float) if datatype in _FLOATS else (int,)
    for value in values:
        if type(value) not in wanted:
            raise InvalidInput(f"tensor {name!r} is {datatype} but lists {str(value)[:40]!r}", param=name)
    return _packed_numbers(name, datatype, values)


def _packed_numbers(name: str, datatype: Datatype, values: Sequence[Any]) -> bytes:
    import numpy as np

    try:
        with np.errstate(over="raise"):
            packed: np.ndarray = np.array(values, dtype="<f8" if datatype in _FLOATS else _NUMPY[datatype])
            return packed.astype(_NUMPY[datatype]).tobytes()
    except (OverflowError, FloatingPointError) as error:
        raise InvalidInput(
            f"tensor {name!r} lists a number beyond the range of {datatype}", param=name
        ) from error


def listed_values(tensor: Tensor) -> list[Any]:
    """Return a tensor's elements as JSON lists them: flat, row by row.

    Raises:
        InvalidInput: JSON has no form of them: BF16, not a number, infinity, or texts that are not UTF-8.
    """
    if tensor.datatype is Datatype.BYTES:
        return [_text(tensor.name, one) for one in texts_of(tensor.name, tensor.data, MAX_ELEMENTS)]
    if tensor.datatype is Datatype.BF16:
        raise _no_json_form(tensor.name, "BF16")
    import numpy as np

    found = np.frombuffer(tensor.data, dtype=_NUMPY[tensor.datatype])
    if tensor.datatype in _FLOATS and not np.isfinite(found).all():
        raise _no_json_form(tensor.name, "a number that is infinite or none")
    listed: list[Any] = found.tolist()
    return listed


def _flattened(name: str, values: list[Any], limit: int) -> list[Any]:
    """Return nested lists as one, level by level, so that no depth overflows a stack."""
    flat, depth = values, 0
    while any(isinstance(one, list) for one in flat):
        depth += 1
        if depth > MAX_RANK or not all(isinstance(one, list) for one in flat):
            raise InvalidInput(f"tensor {name!r} nests its values unevenly or too deep", param=name)
        flat = [inner for one in flat for inner in one]
        if len(flat) > limit:
            raise InvalidInput(f"tensor {name!r} lists more values than the {limit} of its shape", param=name)
    return flat


def _octets(name: str, value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise InvalidInput(
            f"tensor {name!r} is BYTES but lists {str(value)[:40]!r}; expected texts", param=name
        )
    return value.encode()


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise _no_json_form(name, "bytes that are no UTF-8 text") from error


def _no_json_form(name: str, what: str) -> InvalidInput:
    return InvalidInput(
        f"output {name!r} has {what}, which JSON cannot carry: ask for it with the parameter binary_data",
        param=name,
    )
