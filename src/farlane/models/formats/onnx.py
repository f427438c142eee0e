"""ONNX: a scan of the protobuf message for its versions, inputs, outputs and weights, without building the graph.

Source: onnx.proto3 (ModelProto, GraphProto, ValueInfoProto, TensorProto).
"""

from __future__ import annotations

from typing import Final

from farlane.domain.inference import Datatype, TensorSpec
from farlane.errors import Corrupted
from farlane.models.formats.content import Content
from farlane.models.formats.cutting import ranges_along, side_by_side
from farlane.models.formats.onnx_weights import MAX_FIELDS, find_weights
from farlane.models.formats.protobuf import BYTES, VARINT, fields, text
from farlane.models.formats.values import FileFormat, Inspection

MAX_VALUES: Final = 4096
MAX_IR_VERSION: Final = 1000
_MODEL_FIELDS: Final = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})
DATATYPES: Final = {
    1: Datatype.FP32, 2: Datatype.UINT8, 3: Datatype.INT8, 4: Datatype.UINT16, 5: Datatype.INT16, 6: Datatype.INT32,
    7: Datatype.INT64, 8: Datatype.BYTES, 9: Datatype.BOOL, 10: Datatype.FP16, 11: Datatype.FP64, 12: Datatype.UINT32,
    13: Datatype.UINT64, 16: Datatype.BF16,
}  # fmt: skip
"""TensorProto.DataType -> its name; what is missing here has none in the Open Inference Protocol."""


def looks_like(content: Content) -> bool:
    """Tell whether a file is a protobuf message with the fields of an ONNX model, among them a graph and an opset."""
    if content.read(0, 1) != b"\x08":
        return False
    seen = set()
    try:
        for number, _, _, _ in fields(content, 0, content.size, 10_000):
            if number not in _MODEL_FIELDS:
                return False
            seen.add(number)
    except Corrupted:
        return False
    return {7, 8} <= seen


def inspect(content: Content) -> Inspection:
    """Read versions, inputs and outputs, and where weights lie.

    Raises:
        Corrupted: it is cut off, or no ONNX model.
        InvalidInput: weights of it lie in files outside of its folder.
    """
    facts: dict[str, str] = {}
    graph = None
    try:
        for number, kind, start, end in fields(content, 0, content.size, 10_000):
            if number == 1 and kind == VARINT:
                facts["ir_version"] = str(start)
            elif number == 2 and kind == BYTES:
                facts["producer"] = text(content, start, end)
            elif number == 8 and kind == BYTES:
                domain, version = _opset(content, start, end)
                facts[f"opset.{domain}" if domain else "opset"] = str(version)
            elif number == 7 and kind == BYTES:
                graph = (start, end)
        if graph is None or not 0 < int(facts.get("ir_version", "0")) <= MAX_IR_VERSION:
            raise Corrupted("it has no graph or no version")
        weights = find_weights(content, *graph)
        inputs, outputs = _values(content, *graph)
    except Corrupted as error:
        raise Corrupted(
            f"this ONNX file is not sound: {error.message}; it may be cut off: copy it again", **error.facts
        ) from error
    tensors = side_by_side(weights.tensors, content.size)
    return Inspection(
        format=FileFormat.ONNX,
        size=content.size,
        tensors=tensors,
        ranges=ranges_along(tensors, content.size),
        outside=tuple(weights.outside),
        facts=tuple(sorted(facts.items())),
        # Models before IR version 4 list their weights among the inputs.
        inputs=tuple(one for one in inputs if one.name not in weights.initializers),
        outputs=tuple(outputs),
    )


def _opset(content: Content, start: int, end: int) -> tuple[str, int]:
    domain, version = "", 0
    for number, kind, at, stop in fields(content, start, end, 16):
        if number == 1 and kind == BYTES:
            domain = text(content, at, stop, 256)
        elif number == 2 and kind == VARINT:
            version = at
    return domain, version


def _values(content: Content, start: int, end: int) -> tuple[list[TensorSpec], list[TensorSpec]]:
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    for number, kind, at, stop in fields(content, start, end, MAX_FIELDS):
        if number in {11, 12} and kind == BYTES and (spec := _value(content, at, stop)) is not None:
            (inputs if number == 11 else outputs).append(spec)
        if len(inputs) > MAX_VALUES or len(outputs) > MAX_VALUES:
            raise Corrupted(f"it has more than {MAX_VALUES} inputs or outputs")
    return inputs, outputs


def _value(content: Content, start: int, end: int) -> TensorSpec | None:
    """Return an input or output, None where it is no tensor with a type that can be asked for."""
    name, spec = "", None
    for number, kind, at, stop in fields(content, start, end, 64):
        if number == 1 and kind == BYTES:
            name = text(content, at, stop, 1024)
        elif number == 2 and kind == BYTES:
            spec = _tensor_type(content, at, stop)
    return None if spec is None else TensorSpec(name, *spec)


def _tensor_type(content: Content, start: int, end: int) -> tuple[Datatype, tuple[int, ...]] | None:
    for number, kind, at, stop in fields(content, start, end, 16):
        if number != 1 or kind != BYTES:
            continue
        element = 0
        shape: tuple[int, ...] = ()
        for inner, inner_kind, first, last in fields(content, at, stop, 16):
            if inner == 1 and inner_kind == VARINT:
                element = first
            elif inner == 2 and inner_kind == BYTES:
                shape = _shape(content, first, last)
        return (DATATYPES[element], shape) if element in DATATYPES else None
    return None


def _shape(content: Content, start: int, end: int) -> tuple[int, ...]:
    shape = []
    for number, kind, at, stop in fields(content, start, end, 64):
        if number == 1 and kind == BYTES:
            sizes = [
                value
                for field, inner, value, _ in fields(content, at, stop, 16)
                if field == 1 and inner == VARINT
            ]
            shape.append(sizes[0] if sizes and sizes[0] < 1 << 53 else -1)
    return tuple(shape[:32])
