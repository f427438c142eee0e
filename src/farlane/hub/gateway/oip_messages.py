"""The Open Inference Protocol's gRPC messages to and from farlane's values, pure."""

from __future__ import annotations

import operator
from collections.abc import Mapping

from farlane.domain.inference import Datatype, Tensor, TensorsReply, TensorsRequest
from farlane.errors import InvalidInput
from farlane.hub.gateway.oip import inference_pb2 as pb
from farlane.hub.gateway.oip_json import (
    MAX_ID_CHARS,
    MAX_PARAMETERS,
    MAX_TENSORS,
    check_names,
    model_metadata,
    parameters_of,
    refuse_shared_memory,
)
from farlane.hub.gateway.port import ServedModel
from farlane.hub.gateway.tensors import datatype_of, listed_tensor, raw_tensor

_CONTENTS = {
    Datatype.BOOL: "bool_contents",
    Datatype.INT8: "int_contents",
    Datatype.INT16: "int_contents",
    Datatype.INT32: "int_contents",
    Datatype.INT64: "int64_contents",
    Datatype.UINT8: "uint_contents",
    Datatype.UINT16: "uint_contents",
    Datatype.UINT32: "uint_contents",
    Datatype.UINT64: "uint64_contents",
    Datatype.FP32: "fp32_contents",
    Datatype.FP64: "fp64_contents",
    Datatype.BYTES: "bytes_contents",
}
"""The field of each datatype's elements; FP16 and BF16 come as raw bytes alone."""
_Input = pb.ModelInferRequest.InferInputTensor


def request_from_wire(message: pb.ModelInferRequest) -> TensorsRequest:
    """Return what a message asks.

    Raises:
        InvalidInput: it does not carry what its shapes promise.
        TooLarge: a shape is beyond any request.
    """
    if not 0 < len(message.inputs) <= MAX_TENSORS or len(message.outputs) > MAX_TENSORS:
        raise InvalidInput(f"expected 1 to {MAX_TENSORS} inputs and at most as many outputs")
    if len(message.id) > MAX_ID_CHARS:
        raise InvalidInput(f"the request's id has more than {MAX_ID_CHARS} characters")
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise InvalidInput(
            f"{len(raw)} raw_input_contents come with {len(message.inputs)} inputs; expected one each"
        )
    for one in message.inputs:
        refuse_shared_memory(one.name, _parameters(one.parameters))
    for wanted in message.outputs:
        refuse_shared_memory(wanted.name, _parameters(wanted.parameters))
    inputs = [_raw(one, data) for one, data in zip(message.inputs, raw, strict=True)] if raw else []
    inputs = inputs or [_listed(one) for one in message.inputs]
    names = check_names(inputs, [one.name for one in message.outputs])
    return TensorsRequest(tuple(inputs), names, parameters_of(_parameters(message.parameters)))


def reply_to_wire(model: ServedModel, request_id: str, reply: TensorsReply) -> pb.ModelInferResponse:
    """Return a model's answer; its tensors are raw bytes."""
    outputs = [
        pb.ModelInferResponse.InferOutputTensor(name=one.name, datatype=one.datatype, shape=one.shape)
        for one in reply.outputs
    ]
    return pb.ModelInferResponse(
        model_name=model.name,
        model_version=model.version,
        id=request_id,
        outputs=outputs,
        raw_output_contents=[one.data for one in reply.outputs],
    )


def metadata_to_wire(model: ServedModel) -> pb.ModelMetadataResponse:
    """Return a model's description."""
    what = model_metadata(model)
    specs = model.description
    inputs, outputs = ((), ()) if specs is None else (specs.inputs, specs.outputs)
    kind = pb.ModelMetadataResponse.TensorMetadata
    return pb.ModelMetadataResponse(
        name=model.name,
        versions=model.versions or (model.version,),
        platform=str(what["platform"]),
        inputs=[kind(name=one.name, datatype=one.datatype, shape=one.shape) for one in inputs],
        outputs=[kind(name=one.name, datatype=one.datatype, shape=one.shape) for one in outputs],
    )


def _raw(one: _Input, data: bytes) -> Tensor:
    if one.HasField("contents") and one.contents.ByteSize():
        raise InvalidInput(f"input {one.name!r} has both contents and raw_input_contents", param=one.name)
    return raw_tensor(one.name, datatype_of(one.datatype, one.name), tuple(one.shape), data)


def _listed(one: _Input) -> Tensor:
    datatype = datatype_of(one.datatype, one.name)
    field = _CONTENTS.get(datatype)
    if field is None:
        raise InvalidInput(f"input {one.name!r} is {datatype}: send it as raw_input_contents", param=one.name)
    wrong = [found.name for found, _ in one.contents.ListFields() if found.name != field]
    if wrong:
        raise InvalidInput(
            f"input {one.name!r} is {datatype} but has {wrong[0]}; expected {field}", param=one.name
        )
    values = list(operator.attrgetter(field)(one.contents))
    return listed_tensor(one.name, datatype, tuple(one.shape), values)


def _parameters(given: Mapping[str, pb.InferParameter]) -> dict[str, bool | int | float | str]:
    if len(given) > MAX_PARAMETERS:
        raise InvalidInput(f"{len(given)} parameters; expected at most {MAX_PARAMETERS}")
    chosen = ((key, value, value.WhichOneof("parameter_choice")) for key, value in given.items())
    return {key: getattr(value, choice) for key, value, choice in chosen if choice is not None}
