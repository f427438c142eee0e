"""Tensors of requests as numpy arrays and back, checked against what a model takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from farlane.domain.inference import Datatype, Tensor, TensorSpec
from farlane.errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUMPY = {
    Datatype.BOOL: np.dtype("?"),
    Datatype.UINT8: np.dtype("u1"),
    Datatype.UINT16: np.dtype("<u2"),
    Datatype.UINT32: np.dtype("<u4"),
    Datatype.UINT64: np.dtype("<u8"),
    Datatype.INT8: np.dtype("i1"),
    Datatype.INT16: np.dtype("<i2"),
    Datatype.INT32: np.dtype("<i4"),
    Datatype.INT64: np.dtype("<i8"),
    Datatype.FP16: np.dtype("<f2"),
    Datatype.FP32: np.dtype("<f4"),
    Datatype.FP64: np.dtype("<f8"),
}
"""Element types with a numpy type; BF16 has none, BYTES is a list of lengths and bytes."""
_DATATYPES = {dtype: datatype for datatype, dtype in NUMPY.items()}
MAX_DIMENSIONS = 16


def to_array(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor's elements as an array; BYTES become an array of Python strings.

    Raises:
        InvalidInput: shape and bytes do not fit each other, or an element type without numpy's equal.
    """
    if len(tensor.shape) > MAX_DIMENSIONS or any(size < 0 for size in tensor.shape):
        raise InvalidInput(f"input {tensor.name!r} has the impossible shape {list(tensor.shape)}")
    count = math.prod(tensor.shape)
    if tensor.datatype is Datatype.BYTES:
        return np.array(_strings(tensor, count), dtype=object).reshape(tensor.shape)
    dtype = NUMPY.get(tensor.datatype)
    if dtype is None:
        raise InvalidInput(
            f"input {tensor.name!r} has element type {tensor.datatype}; send FP32 or FP16 in its place"
        )
    if len(tensor.data) != count * dtype.itemsize:
        raise InvalidInput(
            f"input {tensor.name!r} of shape {list(tensor.shape)} and type {tensor.datatype} needs "
            f"{count * dtype.itemsize} bytes; the request has {len(tensor.data)}",
            input=tensor.name,
        )
    array: NDArray[Any] = np.frombuffer(tensor.data, dtype).reshape(tensor.shape)
    return array


def _strings(tensor: Tensor, count: int) -> list[str]:
    found: list[str] = []
    data, start = tensor.data, 0
    while start < len(data) and len(found) <= count:
        end = start + 4 + int.from_bytes(data[start : start + 4], "little")
        if end > len(data):
            break
        try:
            found.append(data[start + 4 : end].decode("utf-8"))
        except UnicodeDecodeError as error:
            raise InvalidInput(f"element {len(found)} of input {tensor.name!r} is not UTF-8") from error
        start = end
    if start != len(data) or len(found) != count:
        raise InvalidInput(
            f"input {tensor.name!r} needs {count} elements of BYTES, each after its length in 4 bytes; the request "
            f"has {len(found)} and {len(data) - start} bytes that are none",
            input=tensor.name,
        )
    return found


def to_tensor(name: str, array: NDArray[Any]) -> Tensor:
    """Return an array as a tensor.

    Raises:
        InvalidInput: an element type that the protocol has no name for.
    """
    if array.dtype.kind in "OUS":
        parts = [str(item).encode() for item in array.ravel().tolist()]
        data = b"".join(len(part).to_bytes(4, "little") + part for part in parts)
        return Tensor(name, Datatype.BYTES, array.shape, data)
    datatype = _DATATYPES.get(array.dtype.newbyteorder("<"))
    if datatype is None:
        raise InvalidInput(
            f"output {name!r} has element type {array.dtype}, which no protocol here can carry"
        )
    return Tensor(
        name, datatype, array.shape, np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    )


def checked(inputs: Sequence[Tensor], specs: Sequence[TensorSpec]) -> dict[str, NDArray[Any]]:
    """Return the inputs as arrays by name, each of the type and shape that the model takes.

    Raises:
        InvalidInput: an input is missing, unknown, double, or not of the model's type or shape.
    """
    wanted = {spec.name: spec for spec in specs}
    given = {tensor.name: tensor for tensor in inputs}
    if len(given) != len(inputs):
        raise InvalidInput("two inputs of the request have the same name")
    if set(given) != set(wanted):
        raise InvalidInput(
            f"the model takes {_listed(specs)}; the request has {', '.join(sorted(given)) or 'no inputs'}",
            inputs=sorted(wanted),
        )
    for name, spec in wanted.items():
        _check(given[name], spec)
    return {name: to_array(given[name]) for name in wanted}


def _check(tensor: Tensor, spec: TensorSpec) -> None:
    if tensor.datatype is not spec.datatype:
        raise InvalidInput(
            f"input {spec.name!r} has element type {tensor.datatype}; the model takes {spec.datatype}",
            input=spec.name,
        )
    same = len(tensor.shape) == len(spec.shape) and all(
        want in (-1, size) for size, want in zip(tensor.shape, spec.shape, strict=True)
    )
    if not same:
        raise InvalidInput(
            f"input {spec.name!r} has shape {list(tensor.shape)}; the model takes {list(spec.shape)}, where -1 is "
            "any size",
            input=spec.name,
        )


def _listed(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {spec.datatype}{list(spec.shape)}" for spec in specs) or "no inputs"


def chosen(names: Sequence[str], outputs: Sequence[str]) -> list[str]:
    """Return the outputs to compute: those asked for, or all.

    Raises:
        InvalidInput: one that the model does not have.
    """
    unknown = [name for name in outputs if name not in names]
    if unknown:
        raise InvalidInput(f"the model has no output {unknown[0]!r}; it has {', '.join(names)}")
    return list(outputs) or list(names)
