"""The Open Inference Protocol over HTTP, pure: requests with JSON or binary tensors, answers, and descriptions.

With the header `Inference-Header-Content-Length` the JSON is only as long as that says; the binary tensors follow
it, in the order of the inputs, each as long as its parameter `binary_data_size` (Triton's binary data extension).
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct, field

from farlane.domain.inference import Datatype, Tensor, TensorSpec, TensorsReply, TensorsRequest
from farlane.errors import InvalidInput
from farlane.hub.gateway.json_bodies import decoded, encoded
from farlane.hub.gateway.port import ServedModel
from farlane.hub.gateway.tensors import datatype_of, listed_tensor, listed_values, raw_tensor

MAX_TENSORS = 1024
MAX_PARAMETERS = 64
MAX_ID_CHARS = 256
EXTENSIONS = ("binary_tensor_data", "model_repository")
_Value = bool | int | float | str
_Parameters = Annotated[dict[str, _Value], Meta(max_length=MAX_PARAMETERS)]
_OURS = frozenset({"binary_data", "binary_data_size", "binary_data_output", "classification"})


class _Input(Struct, kw_only=True, forbid_unknown_fields=True):
    name: str
    datatype: str
    shape: list[int]
    data: list[object] | None = None
    parameters: _Parameters = field(default_factory=dict)


class _Output(Struct, kw_only=True, forbid_unknown_fields=True):
    name: str
    parameters: _Parameters = field(default_factory=dict)


class _Infer(Struct, kw_only=True, forbid_unknown_fields=True):
    inputs: Annotated[list[_Input], Meta(min_length=1, max_length=MAX_TENSORS)]
    outputs: Annotated[list[_Output], Meta(max_length=MAX_TENSORS)] = field(default_factory=list)
    id: Annotated[str, Meta(max_length=MAX_ID_CHARS)] = ""
    parameters: _Parameters = field(default_factory=dict)


class InferBody(Struct, frozen=True):
    """A request, and which of its outputs are to be binary: by name, or all that are not named."""

    request: TensorsRequest
    id: str
    binary: dict[str, bool]
    binary_default: bool


def infer_request(body: bytes, header_length: str | None) -> InferBody:
    """Read the body of POST .../infer.

    Args:
        body: JSON, and binary tensors after it.
        header_length: the header `Inference-Header-Content-Length`, None where the body is JSON alone.

    Raises:
        InvalidInput: it does not say what its lengths and shapes promise.
        TooLarge: a shape is beyond any request.
    """
    cut = _header_bytes(body, header_length)
    asked = decoded(memoryview(body)[:cut], _Infer)
    rest, at, inputs = memoryview(body)[cut:], 0, []
    for one in asked.inputs:
        refuse_shared_memory(one.name, one.parameters)
        tensor, used = _input(one, rest[at:], binary=header_length is not None)
        inputs.append(tensor)
        at += used
    if at != len(rest):
        raise InvalidInput(f"{len(rest) - at} bytes follow the last binary tensor; none were announced")
    names = check_names(inputs, [one.name for one in asked.outputs])
    for wanted in asked.outputs:
        refuse_shared_memory(wanted.name, wanted.parameters)
    binary = {
        one.name: bool(one.parameters["binary_data"])
        for one in asked.outputs
        if "binary_data" in one.parameters
    }
    request = TensorsRequest(tuple(inputs), names, parameters_of(asked.parameters))
    return InferBody(request, asked.id, binary, asked.parameters.get("binary_data_output") is True)


def infer_reply(model: ServedModel, asked: InferBody, reply: TensorsReply) -> tuple[bytes, int | None]:
    """Return a body and how long its JSON is where binary tensors follow it.

    Raises:
        InvalidInput: an output has no JSON form and was not asked for as binary data.
    """
    described, blobs = [], []
    for one in reply.outputs:
        entry: dict[str, object] = {"name": one.name, "datatype": one.datatype, "shape": one.shape}
        if asked.binary.get(one.name, asked.binary_default):
            entry["parameters"] = {"binary_data_size": len(one.data)}
            blobs.append(one.data)
        else:
            entry["data"] = listed_values(one)
        described.append(entry)
    head: dict[str, object] = {"model_name": model.name, "model_version": model.version}
    if asked.id:
        head["id"] = asked.id
    text = encoded({**head, "outputs": described})
    return (text, None) if not blobs else (b"".join((text, *blobs)), len(text))


def model_metadata(model: ServedModel) -> dict[str, object]:
    """Return the answer to GET /v2/models/{model}."""
    what = model.description
    inputs, outputs = ((), ()) if what is None else (what.inputs, what.outputs)
    return {
        "name": model.name,
        "versions": model.versions or (model.version,),
        "platform": "" if what is None else what.runtime,
        "inputs": [_spec(one) for one in inputs],
        "outputs": [_spec(one) for one in outputs],
    }


def server_metadata(version: str) -> dict[str, object]:
    """Return the answer to GET /v2."""
    return {"name": "farlane", "version": version, "extensions": EXTENSIONS}


def index_entry(model: ServedModel) -> dict[str, object]:
    """Return one entry of POST /v2/repository/index."""
    return {"name": model.name, "version": model.version, "state": model.state, "reason": model.reason}


def refuse_shared_memory(name: str, parameters: dict[str, _Value]) -> None:
    """Refuse what only works between processes of one machine.

    Raises:
        InvalidInput: a tensor is to lie in shared memory.
    """
    if any(key.startswith("shared_memory") for key in parameters):
        raise InvalidInput(f"tensor {name!r}: shared memory is not supported; send its data", param=name)
    if parameters.get("classification"):
        raise InvalidInput(f"output {name!r}: the classification extension is not supported", param=name)


def check_names(inputs: list[Tensor], outputs: list[str]) -> tuple[str, ...]:
    """Return the names of the outputs, once every name stands there once.

    Raises:
        InvalidInput: one is there twice.
    """
    for names in ([one.name for one in inputs], outputs):
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidInput(f"tensor {twice[:80]!r} stands there twice", param=twice[:80])
    return tuple(outputs)


def parameters_of(given: dict[str, _Value]) -> tuple[tuple[str, str], ...]:
    """Return the parameters that are meant for the model, as texts, by name."""
    kept = {key: value for key, value in given.items() if key not in _OURS}
    return tuple(sorted((key, str(value)) for key, value in kept.items()))


def _input(one: _Input, rest: memoryview, *, binary: bool) -> tuple[Tensor, int]:
    """Return an input and how many binary bytes it took."""
    datatype = datatype_of(one.datatype, one.name)
    size = one.parameters.get("binary_data_size")
    if size is None:
        if one.data is None:
            raise InvalidInput(f"input {one.name!r} has neither data nor a binary_data_size", param=one.name)
        return listed_tensor(one.name, datatype, one.shape, one.data), 0
    if not binary:
        raise InvalidInput(
            f"input {one.name!r} announces binary data, but the request has no Inference-Header-Content-Length",
            param=one.name,
        )
    if one.data is not None:
        raise InvalidInput(f"input {one.name!r} has both data and a binary_data_size", param=one.name)
    if type(size) is not int or not 0 <= size <= len(rest):
        raise InvalidInput(
            f"input {one.name!r} announces {str(size)[:40]} binary bytes; {len(rest)} are left",
            param=one.name,
        )
    return raw_tensor(one.name, datatype, one.shape, bytes(rest[:size])), size


def _header_bytes(body: bytes, header_length: str | None) -> int:
    if header_length is None:
        return len(body)
    # Only plain digits: int() would take signs, blanks, underscores and digits of other scripts too.
    if not (header_length.isascii() and header_length.isdigit()) or len(header_length) > 12:
        raise InvalidInput(f"Inference-Header-Content-Length is {header_length[:40]!r}; expected a number")
    length = int(header_length)
    if length > len(body):
        raise InvalidInput(f"Inference-Header-Content-Length is {length}; the body has {len(body)} bytes")
    return length


def _spec(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "datatype": Datatype(spec.datatype), "shape": spec.shape}
