"""Where the weights of an ONNX model lie: initializers and constants, in the file, in graphs below, in files beside it.

Source: onnx.proto3 (GraphProto, NodeProto, AttributeProto, TensorProto, SparseTensorProto).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from farlane.errors import Corrupted, InvalidInput
from farlane.models.formats.content import Content
from farlane.models.formats.cutting import MAX_TENSORS
from farlane.models.formats.protobuf import BYTES, VARINT, fields, text
from farlane.models.formats.values import OutsideTensor, TensorPlace
from farlane.models.manifest.paths import check_path

MAX_FIELDS: Final = 4_000_000
"""Of all messages together: no real model has so many."""
MAX_DEPTH: Final = 16
"""Graphs in each other."""
_MAX_DIMENSIONS: Final = 32
_EXTERNAL: Final = 1
_FLOAT, _DOUBLE = 1, 11
_DTYPES: Final = {
    1: ("F32", 4), 2: ("U8", 1), 3: ("I8", 1), 4: ("U16", 2), 5: ("I16", 2), 6: ("I32", 4), 7: ("I64", 8),
    9: ("BOOL", 1), 10: ("F16", 2), 11: ("F64", 8), 12: ("U32", 4), 13: ("U64", 8), 16: ("BF16", 2),
    17: ("F8_E4M3", 1), 18: ("F8_E4M3FNUZ", 1), 19: ("F8_E5M2", 1), 20: ("F8_E5M2FNUZ", 1),
}  # fmt: skip
"""TensorProto.DataType -> its name as safetensors has it, and bytes of an element."""


@dataclass(slots=True)
class OnnxWeights:
    """What a walk has found: tensors in the file and outside of it, and the names of the outermost initializers."""

    tensors: list[TensorPlace] = field(default_factory=list)
    outside: list[OutsideTensor] = field(default_factory=list)
    initializers: set[str] = field(default_factory=set)


def find_weights(content: Content, start: int, end: int) -> OnnxWeights:
    """Return the weights of a graph and of those in its nodes.

    Raises:
        Corrupted: the graph is none, nests too deep, or has more fields than any model.
        InvalidInput: weights lie in files outside of its folder.
    """
    walk = _Walk(content)
    walk.graph(start, end, "", 0)
    return walk.found


@dataclass(slots=True)
class _Tensor:
    """A TensorProto as far as it is read; data: (offset, length) of bytes as they are in memory."""

    name: str = ""
    kind: int = 0
    shape: tuple[int, ...] = ()
    data: tuple[int, int] | None = None
    external: bool = False
    entries: dict[str, str] = field(default_factory=dict)


class _Walk:
    def __init__(self, content: Content) -> None:
        self.found = OnnxWeights()
        self._content, self._left = content, MAX_FIELDS

    def graph(self, start: int, end: int, prefix: str, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise Corrupted(f"it has graphs more than {MAX_DEPTH} deep in each other")
        for number, kind, at, stop in self._fields(start, end):
            if kind != BYTES:
                continue
            if number == 1:
                self._node(at, stop, prefix, depth)
            elif number == 5:
                name = self._tensor(at, stop, prefix)
                if depth == 0:
                    self.found.initializers.add(name)
            elif number == 15:
                self._sparse(at, stop, prefix)

    def _node(self, start: int, end: int, prefix: str, depth: int) -> None:
        label, attributes = "", []
        for number, kind, at, stop in self._fields(start, end):
            if number == 2 and kind == BYTES and not label:
                label = text(self._content, at, stop)
            elif number == 5 and kind == BYTES:
                attributes.append((at, stop))
        for at, stop in attributes:
            self._attribute(at, stop, f"{prefix}{label}", depth)

    def _attribute(self, start: int, end: int, label: str, depth: int) -> None:
        name, tensors, sparse, graphs = "", [], [], []
        for number, kind, at, stop in self._fields(start, end):
            if number == 1 and kind == BYTES:
                name = text(self._content, at, stop)
            elif number in {5, 10} and kind == BYTES:
                tensors.append((at, stop))
            elif number in {22, 23} and kind == BYTES:
                sparse.append((at, stop))
            elif number in {6, 11} and kind == BYTES:
                graphs.append((at, stop))
        for at, stop in tensors:
            self._tensor(at, stop, "", label if name == "value" else f"{label}.{name}")
        for at, stop in sparse:
            self._sparse(at, stop, f"{label}.{name}.")
        for at, stop in graphs:
            self.graph(at, stop, f"{label}.{name}/", depth + 1)

    def _sparse(self, start: int, end: int, prefix: str) -> None:
        for number, kind, at, stop in self._fields(start, end):
            if number in {1, 2} and kind == BYTES:
                self._tensor(at, stop, prefix if number == 1 else f"{prefix}indices.")

    def _tensor(self, start: int, end: int, prefix: str, label: str = "") -> str:
        """Note a tensor under its own name, or a label where it has one, and return its own name."""
        one = self._read(start, end)
        dtype, width = _DTYPES.get(one.kind, (f"ONNX_{one.kind}", 0))
        name = label or f"{prefix}{one.name}"
        if one.external:
            self._outside(one, name, dtype, width)
        elif one.data is not None and one.data[1]:
            self.found.tensors.append(TensorPlace(name, dtype, one.shape, *one.data))
        if len(self.found.tensors) + len(self.found.outside) > MAX_TENSORS:
            raise Corrupted(f"it has more than {MAX_TENSORS} tensors")
        return one.name

    def _read(self, start: int, end: int) -> _Tensor:
        one = _Tensor()
        packed: dict[int, tuple[int, int]] = {}
        shape: list[int] = []
        for number, kind, at, stop in self._fields(start, end):
            if number == 1:
                shape += [at] if kind == VARINT else self._varints(at, stop)
            elif number == 2 and kind == VARINT:
                one.kind = at
            elif number == 8 and kind == BYTES:
                one.name = text(self._content, at, stop)
            elif number in {4, 9, 10} and kind == BYTES:
                packed[number] = (at, stop - at)
            elif number == 13 and kind == BYTES:
                one.entries |= self._entry(at, stop)
            elif number == 14 and kind == VARINT:
                one.external = at == _EXTERNAL
        one.shape = tuple(shape[:_MAX_DIMENSIONS])
        # Floats that are packed lie in the file as they do in memory, like raw data; other numbers do not.
        plain = {_FLOAT: 4, _DOUBLE: 10}.get(one.kind, 9)
        one.data = packed.get(9) or packed.get(plain)
        return one

    def _outside(self, one: _Tensor, name: str, dtype: str, width: int) -> None:
        location = one.entries.get("location", "")
        _check_location(name, location)
        offset, length = _number(one.entries.get("offset", "0")), _number(one.entries.get("length", ""))
        if length is None and width:
            length = math.prod(one.shape) * width
        if offset is not None and length:
            self.found.outside.append(
                OutsideTensor(location, TensorPlace(name, dtype, one.shape, offset, length))
            )

    def _entry(self, start: int, end: int) -> dict[str, str]:
        pair = {
            number: text(self._content, at, stop)
            for number, kind, at, stop in self._fields(start, end)
            if kind == BYTES
        }
        return {pair.get(1, ""): pair.get(2, "")}

    def _varints(self, start: int, end: int) -> list[int]:
        if end - start > 10 * _MAX_DIMENSIONS:
            raise Corrupted(f"a tensor has more than {_MAX_DIMENSIONS} dimensions")
        values, value, shift = [], 0, 0
        for byte in self._content.read(start, end - start):
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                values.append(value)
                value = shift = 0
        return values

    def _fields(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        for one in fields(self._content, start, end, MAX_FIELDS):
            self._left -= 1
            if self._left < 0:
                raise Corrupted(f"it has more than {MAX_FIELDS} fields")
            yield one


def _number(digits: str) -> int | None:
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 18 else None


def _check_location(name: str, location: str) -> None:
    try:
        check_path(location)
    except InvalidInput as error:
        raise InvalidInput(
            f"the weights {name[:80]!r} of this ONNX model lie in the file {location[:80]!r}, which is not beside it: "
            "a model reads no files outside of its folder; save it with its weights in one file or beside it"
        ) from error
