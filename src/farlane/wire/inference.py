"""Inference on the wire: what a served model is asked and answers, and those values as bounded pieces of bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from google.protobuf.message import DecodeError

from farlane.domain.inference import (
    Datatype,
    EmbedReply,
    EmbedRequest,
    FinishReason,
    GeneratePiece,
    GenerateRequest,
    InferenceKind,
    InferenceReply,
    InferenceRequest,
    Message,
    ModelDescription,
    Sampling,
    Tensor,
    TensorSpec,
    TensorsReply,
    TensorsRequest,
)
from farlane.errors import InvalidInput
from farlane.wire import limits
from farlane.wire.jobs import pairs_to_wire
from farlane.wire.v1 import serving_pb2

PIECE_BYTES = 1 << 20
"""The most bytes of a value in one message."""
MAX_REQUEST_BYTES = 256 << 20
MAX_REPLY_BYTES = 256 << 20
MAX_TENSORS = 1024
MAX_DIMENSIONS = 32
MAX_TEXTS = 16_384
MAX_MESSAGES = 16_384
MAX_TEXT_CHARS = 64 << 20
MAX_STOPS = 64
MAX_PARAMETERS = 256
MAX_ARRAY_CHARS = 256
"""Of an array's name."""
MAX_SIZE = (1 << 31) - 1
"""Of a dimension, a context or a batch that a model has."""
TEXT_LENGTH_BYTES = 4
"""Before each element of BYTES."""
ELEMENT_BYTES = {
    **dict.fromkeys((Datatype.BOOL, Datatype.UINT8, Datatype.INT8), 1),
    **dict.fromkeys((Datatype.UINT16, Datatype.INT16, Datatype.FP16, Datatype.BF16), 2),
    **dict.fromkeys((Datatype.UINT32, Datatype.INT32, Datatype.FP32), 4),
    **dict.fromkeys((Datatype.UINT64, Datatype.INT64, Datatype.FP64), 8),
}
"""Bytes of one element; those of BYTES differ."""


def pieces(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield bytes in pieces that fit a message, each with whether it is the last."""
    for start in range(0, max(1, len(data)), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES], start + PIECE_BYTES >= len(data)


def encode_request(request: InferenceRequest) -> bytes:
    """Return a request as bytes.

    Raises:
        InvalidInput: a number or text that cannot travel.
    """
    with limits.sendable("the request"):
        match request:
            case TensorsRequest():
                tensors = serving_pb2.TensorsRequest(
                    inputs=map(_tensor_to_wire, request.inputs),
                    outputs=request.outputs,
                    parameters=pairs_to_wire(request.parameters),
                )
                return serving_pb2.InferenceRequest(tensors=tensors).SerializeToString()
            case EmbedRequest():
                embed = serving_pb2.EmbedRequest(texts=request.texts, dimensions=request.dimensions)
                return serving_pb2.InferenceRequest(embed=embed).SerializeToString()
            case GenerateRequest():
                generate = serving_pb2.GenerateRequest(
                    messages=[
                        serving_pb2.ChatMessage(role=each.role, content=each.content)
                        for each in request.messages
                    ],
                    prompt=request.prompt,
                    sampling=_sampling_to_wire(request.sampling),
                )
                return serving_pb2.InferenceRequest(generate=generate).SerializeToString()


def decode_request(data: bytes) -> InferenceRequest:
    """Read a request.

    Raises:
        InvalidInput: the bytes are none, or hold what cannot be.
    """
    message = serving_pb2.InferenceRequest()
    _parse(message, data, "an inference request")
    match message.WhichOneof("kind"):
        case "tensors":
            return TensorsRequest(
                _tensors(message.tensors.inputs),
                _texts("wanted outputs", message.tensors.outputs, MAX_TENSORS),
                limits.pairs("parameters", message.tensors.parameters, MAX_PARAMETERS, MAX_TEXT_CHARS),
            )
        case "embed":
            embed = message.embed
            dimensions = embed.dimensions if embed.HasField("dimensions") else None
            return EmbedRequest(_texts("texts", embed.texts, MAX_TEXTS), dimensions)
        case "generate":
            limits.at_most("messages of a chat", message.generate.messages, MAX_MESSAGES)
            return GenerateRequest(
                tuple(Message(each.role, each.content) for each in message.generate.messages),
                message.generate.prompt,
                _sampling(message.generate.sampling),
            )
    raise InvalidInput("an inference request asks for nothing this version knows: upgrade farlane")


def encode_reply(reply: InferenceReply) -> bytes:
    """Return a reply as bytes.

    Raises:
        InvalidInput: a number or text that cannot travel.
    """
    with limits.sendable("the reply"):
        match reply:
            case TensorsReply():
                tensors = serving_pb2.TensorsReply(outputs=map(_tensor_to_wire, reply.outputs))
                return serving_pb2.InferenceReply(tensors=tensors).SerializeToString()
            case EmbedReply():
                embed = serving_pb2.EmbedReply(
                    vectors=reply.vectors, dimensions=reply.dimensions, prompt_tokens=reply.prompt_tokens
                )
                return serving_pb2.InferenceReply(embed=embed).SerializeToString()
            case GeneratePiece():
                piece = serving_pb2.GeneratePiece(
                    text=reply.text,
                    finish=reply.finish or "",
                    prompt_tokens=reply.prompt_tokens,
                    completion_tokens=reply.completion_tokens,
                )
                return serving_pb2.InferenceReply(piece=piece).SerializeToString()


def decode_reply(data: bytes) -> InferenceReply:
    """Read a reply.

    Raises:
        InvalidInput: the bytes are none, or hold what cannot be.
    """
    message = serving_pb2.InferenceReply()
    _parse(message, data, "a replica's reply")
    match message.WhichOneof("kind"):
        case "tensors":
            return TensorsReply(tuple(map(_whole, _tensors(message.tensors.outputs))))
        case "embed":
            embed = message.embed
            _check_vectors(len(embed.vectors), embed.dimensions)
            return EmbedReply(embed.vectors, embed.dimensions, embed.prompt_tokens)
        case "piece":
            piece = message.piece
            finish = _finish(piece.finish) if piece.finish else None
            return GeneratePiece(piece.text, finish, piece.prompt_tokens, piece.completion_tokens)
    raise InvalidInput("a replica's reply says nothing this version knows: upgrade farlane")


def description_to_wire(description: ModelDescription) -> serving_pb2.ModelDescription:
    """Return what a loaded model is, as it travels.

    Raises:
        InvalidInput: a number or text that cannot travel.
    """
    with limits.sendable("the model's description"):
        return serving_pb2.ModelDescription(
            runtime=description.runtime,
            kinds=description.kinds,
            inputs=map(_spec_to_wire, description.inputs),
            outputs=map(_spec_to_wire, description.outputs),
            context_tokens=description.context_tokens,
            max_batch=description.max_batch,
        )


def description_from_wire(message: serving_pb2.ModelDescription) -> ModelDescription:
    """Read what a node says of a loaded model.

    Raises:
        InvalidInput: an unknown kind or datatype, too many arrays.
    """
    limits.at_most("inputs of a model", message.inputs, MAX_TENSORS)
    limits.at_most("outputs of a model", message.outputs, MAX_TENSORS)
    limits.at_most("kinds of a model", message.kinds, len(InferenceKind))
    try:
        kinds = tuple(map(InferenceKind, message.kinds))
    except ValueError as error:
        raise InvalidInput(
            f"a model answers an unknown kind of request ({error}): upgrade farlane"
        ) from error
    return ModelDescription(
        runtime=limits.text("runtime", message.runtime, limits.MAX_NAME_CHARS),
        kinds=kinds,
        inputs=tuple(map(_spec, message.inputs)),
        outputs=tuple(map(_spec, message.outputs)),
        context_tokens=limits.integer("context_tokens", message.context_tokens, 0, MAX_SIZE),
        max_batch=limits.integer("max_batch", message.max_batch, 0, MAX_SIZE),
    )


def _parse(
    message: serving_pb2.InferenceRequest | serving_pb2.InferenceReply, data: bytes, what: str
) -> None:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise InvalidInput(f"{what} of {len(data)} bytes cannot be read: {error}") from error


def _tensor_to_wire(tensor: Tensor) -> serving_pb2.Tensor:
    return serving_pb2.Tensor(
        name=tensor.name, datatype=tensor.datatype, shape=tensor.shape, data=tensor.data
    )


def _spec_to_wire(spec: TensorSpec) -> serving_pb2.TensorSpec:
    return serving_pb2.TensorSpec(name=spec.name, datatype=spec.datatype, shape=spec.shape)


def _sampling_to_wire(sampling: Sampling) -> serving_pb2.Sampling:
    return serving_pb2.Sampling(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed,
        stop=sampling.stop,
        frequency_penalty=sampling.frequency_penalty,
        presence_penalty=sampling.presence_penalty,
    )


def _sampling(message: serving_pb2.Sampling) -> Sampling:
    return Sampling(
        max_tokens=message.max_tokens if message.HasField("max_tokens") else None,
        temperature=limits.finite("temperature", message.temperature),
        top_p=limits.finite("top_p", message.top_p),
        seed=message.seed if message.HasField("seed") else None,
        stop=_texts("stop sequences", message.stop, MAX_STOPS),
        frequency_penalty=limits.finite("frequency_penalty", message.frequency_penalty),
        presence_penalty=limits.finite("presence_penalty", message.presence_penalty),
    )


def _tensors(messages: Iterable[serving_pb2.Tensor]) -> tuple[Tensor, ...]:
    found = list(messages)
    limits.at_most("arrays", found, MAX_TENSORS)
    return tuple(
        Tensor(each.name, _datatype(each.datatype), _shape(each.name, each.shape), each.data)
        for each in found
    )


def _whole(tensor: Tensor) -> Tensor:
    """Return an array whose bytes are as many as its shape says; of texts only the least is known unread."""
    limits.text("an array's name", tensor.name, MAX_ARRAY_CHARS)
    if any(size < 0 for size in tensor.shape):
        raise InvalidInput(f"array {tensor.name!r} of a reply has shape {list(tensor.shape)}: below zero")
    count, each = math.prod(tensor.shape), ELEMENT_BYTES.get(tensor.datatype)
    least = count * (TEXT_LENGTH_BYTES if each is None else each)
    if len(tensor.data) < least or (each is not None and len(tensor.data) > least):
        raise InvalidInput(
            f"array {tensor.name!r} of a reply has {len(tensor.data)} bytes; {tensor.datatype} of shape "
            f"{list(tensor.shape)} takes {least}"
        )
    return tensor


def _check_vectors(size: int, dimensions: int) -> None:
    if not 0 < dimensions <= MAX_SIZE or size % (4 * dimensions):
        raise InvalidInput(f"a reply has vectors of {size} bytes, which are none of {dimensions} numbers")


def _spec(message: serving_pb2.TensorSpec) -> TensorSpec:
    name = limits.text("an array's name", message.name, MAX_ARRAY_CHARS)
    shape = _shape(name, message.shape)
    if any(not -1 <= size <= MAX_SIZE for size in shape):
        raise InvalidInput(f"array {name!r} of a model has shape {list(shape)}; expected -1 to {MAX_SIZE}")
    return TensorSpec(name, _datatype(message.datatype), shape)


def _shape(name: str, shape: Iterable[int]) -> tuple[int, ...]:
    found = tuple(shape)
    if len(found) > MAX_DIMENSIONS:
        raise InvalidInput(
            f"array {name[:40]!r} has {len(found)} dimensions; expected at most {MAX_DIMENSIONS}"
        )
    return found


def _datatype(name: str) -> Datatype:
    try:
        return Datatype(name)
    except ValueError as error:
        raise InvalidInput(
            f"datatype {name[:20]!r} is not one of the Open Inference Protocol; expected one of {', '.join(Datatype)}"
        ) from error


def _finish(name: str) -> FinishReason:
    try:
        return FinishReason(name)
    except ValueError as error:
        raise InvalidInput(
            f"a generation ended for an unknown reason {name[:20]!r}: upgrade farlane"
        ) from error


def _texts(what: str, texts: Iterable[str], most: int) -> tuple[str, ...]:
    found = tuple(texts)
    limits.at_most(what, found, most)
    return found
