"""farlane.models.formats.onnx: what onnx itself writes, real models, and weights in files elsewhere."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from farlane.domain.inference import Datatype, TensorSpec
from farlane.errors import Corrupted, FarlaneError, InvalidInput
from farlane.models.formats.content import BytesContent, file_content
from farlane.models.formats.onnx import inspect, looks_like


def model(location: str = "") -> bytes:
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    if location:
        weights.ClearField("float_data")
        weights.data_location = TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, None)],
        [weights],
    )
    made: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="tests"
    ).SerializeToString()
    return made


def test_versions_inputs_and_outputs_are_read() -> None:
    found = inspect(BytesContent(model()))
    assert found.fact("opset") == "17"
    assert found.fact("producer") == "tests"
    assert found.inputs == (TensorSpec("x", Datatype.FP32, (-1, 2)),)
    assert found.outputs == (TensorSpec("y", Datatype.FP16, ()),)


def test_real_models_say_what_the_onnx_package_says(silero: Path, magika: Path, rapidocr: Path) -> None:
    for path in (silero / "silero_vad.onnx", magika / "model.onnx", rapidocr / "PP-OCRv6_det_small.onnx"):
        with file_content(path) as content:
            assert looks_like(content)
            found = inspect(content)
        graph = onnx.load(path).graph
        weights = {one.name for one in graph.initializer}
        assert [one.name for one in found.inputs] == [
            one.name for one in graph.input if one.name not in weights
        ]
        assert [one.name for one in found.outputs] == [one.name for one in graph.output]
        for spec, value in zip(found.outputs, graph.output, strict=True):
            assert len(spec.shape) == len(value.type.tensor_type.shape.dim)


def test_a_file_that_is_cut_off_is_refused() -> None:
    raw = model()
    for left in (1, 10, len(raw) // 2, len(raw) - 1):
        with pytest.raises(Corrupted, match="cut off"):
            inspect(BytesContent(raw[:left]))


def test_weights_beside_the_file_are_fine() -> None:
    assert inspect(BytesContent(model("model.onnx_data"))).fact("opset") == "17"


@pytest.mark.parametrize("location", ["/etc/passwd", "../../secret", "a/../../b", "C:\\x"])
def test_weights_outside_of_the_folder_are_refused(location: str) -> None:
    with pytest.raises(InvalidInput, match="not beside it"):
        inspect(BytesContent(model(location)))


def test_other_protobuf_is_no_model() -> None:
    assert not looks_like(BytesContent(b"\x08\x01"))
    assert not looks_like(BytesContent(b"plain text"))
    assert not looks_like(BytesContent(b"\x08\x01\x9a\x01\x00"))


def test_one_changed_byte_is_never_more_than_an_error() -> None:
    raw = model()
    for at in range(len(raw)):
        damaged = raw[:at] + bytes([raw[at] ^ 0x81]) + raw[at + 1 :]
        try:
            inspect(BytesContent(damaged))
        except FarlaneError:
            continue
