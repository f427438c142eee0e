"""The Open Inference Protocol's messages: what a request claims is checked before anything is made of it."""

from __future__ import annotations

import struct

import pytest

from farlane.domain.inference import Datatype, Tensor, TensorsReply, TensorsRequest
from farlane.errors import FarlaneError
from farlane.hub.gateway.oip import inference_pb2 as pb
from farlane.hub.gateway.oip_messages import metadata_to_wire, reply_to_wire, request_from_wire
from farlane.testing.fake_router import OLD_VERSION, VERSION, FakeRouter

Input = pb.ModelInferRequest.InferInputTensor
Output = pb.ModelInferRequest.InferRequestedOutputTensor
Contents = pb.InferTensorContents
NUMBERS = struct.pack("<2f", 1, 2.5)


def asked(
    *inputs: Input, raw: tuple[bytes, ...] = (), outputs: tuple[Output, ...] = ()
) -> pb.ModelInferRequest:
    """Return a request."""
    return pb.ModelInferRequest(model_name="m", inputs=inputs, raw_input_contents=raw, outputs=outputs)


def floats(
    shape: tuple[int, ...] = (2,), datatype: str = "FP32", name: str = "x", **fields: Contents
) -> Input:
    """Return an input."""
    return Input(name=name, datatype=datatype, shape=shape, **fields)


def test_raw_and_listed_inputs_are_the_same() -> None:
    wanted = TensorsRequest((Tensor("x", Datatype.FP32, (2,), NUMBERS),))
    assert request_from_wire(asked(floats(), raw=(NUMBERS,))) == wanted
    assert request_from_wire(asked(floats(contents=Contents(fp32_contents=[1, 2.5])))) == wanted


@pytest.mark.parametrize(
    ("datatype", "contents", "data"),
    [
        ("BOOL", Contents(bool_contents=[True, False]), b"\1\0"),
        ("INT8", Contents(int_contents=[-1, 2]), b"\xff\2"),
        ("UINT16", Contents(uint_contents=[1, 65535]), b"\1\0\xff\xff"),
        ("INT64", Contents(int64_contents=[-1, 2]), struct.pack("<2q", -1, 2)),
        ("UINT64", Contents(uint64_contents=[1, 2]), struct.pack("<2Q", 1, 2)),
        ("FP64", Contents(fp64_contents=[1, 2.5]), struct.pack("<2d", 1, 2.5)),
        ("BYTES", Contents(bytes_contents=[b"a", b"\xff"]), b"\1\0\0\0a\1\0\0\0\xff"),
    ],
)
def test_every_field_of_contents(datatype: str, contents: Contents, data: bytes) -> None:
    found = request_from_wire(asked(floats(datatype=datatype, contents=contents))).inputs[0]
    assert (found.datatype, found.data) == (datatype, data)


@pytest.mark.parametrize(
    "message",
    [
        asked(),
        asked(floats()),
        asked(floats(), raw=(NUMBERS, NUMBERS)),
        asked(floats(), raw=(NUMBERS[:-1],)),
        asked(floats(contents=Contents(fp32_contents=[1, 2])), raw=(NUMBERS,)),
        asked(floats(contents=Contents(fp64_contents=[1, 2]))),
        asked(floats(contents=Contents(fp32_contents=[1, 2], fp64_contents=[1, 2]))),
        asked(floats(contents=Contents(fp32_contents=[1, 2, 3]))),
        asked(floats(datatype="INT8", contents=Contents(int_contents=[1, 300]))),
        asked(floats(datatype="FP16", contents=Contents(fp32_contents=[1, 2]))),
        asked(floats(datatype="FP8"), raw=(NUMBERS,)),
        asked(floats((-1,)), raw=(NUMBERS,)),
        asked(floats((1 << 62, 1 << 62)), raw=(NUMBERS,)),
        asked(floats(datatype="BYTES", shape=(1,)), raw=(b"\xff\xff\xff\xff",)),
        asked(floats(), floats(), raw=(NUMBERS, NUMBERS)),
        asked(floats(), raw=(NUMBERS,), outputs=(Output(name="a"), Output(name="a"))),
        asked(*(floats(name=str(at)) for at in range(1025)), raw=(NUMBERS,) * 1025),
    ],
)
def test_messages_that_lie(message: pb.ModelInferRequest) -> None:
    with pytest.raises(FarlaneError) as caught:
        request_from_wire(message)
    assert caught.value.http_status in (400, 413)


def test_shared_memory_is_refused() -> None:
    place = pb.InferParameter(string_param="region")
    one = Input(name="x", datatype="FP32", shape=[2], parameters={"shared_memory_region": place})
    with pytest.raises(FarlaneError, match="shared memory"):
        request_from_wire(asked(one))


async def test_answers_and_descriptions() -> None:
    served = FakeRouter().served["mirror"]
    answer = reply_to_wire(served, "mine", TensorsReply((Tensor("y", Datatype.FP32, (2,), NUMBERS),)))
    assert (answer.id, answer.model_version, list(answer.raw_output_contents)) == ("mine", VERSION, [NUMBERS])
    described = metadata_to_wire(served)
    assert (list(described.versions), list(described.inputs[0].shape)) == ([OLD_VERSION, VERSION], [-1, 3])
