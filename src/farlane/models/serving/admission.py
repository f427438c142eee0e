"""Checks of a request against a model's limits, before it waits for anything."""

from __future__ import annotations

from dataclasses import replace

from farlane.domain.inference import EmbedRequest, GenerateRequest, InferenceRequest, TensorsRequest
from farlane.errors import InvalidInput, TooLarge
from farlane.models.serving.limits import ServingLimits


def input_bytes(request: InferenceRequest) -> int:
    """Count the bytes of arrays or texts in a request."""
    if isinstance(request, TensorsRequest):
        return sum(len(tensor.data) for tensor in request.inputs)
    if isinstance(request, EmbedRequest):
        return sum(len(text.encode("utf-8", "surrogatepass")) for text in request.texts)
    texts = [request.prompt, *(message.content for message in request.messages)]
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)


def admitted(request: InferenceRequest, limits: ServingLimits) -> InferenceRequest:
    """Return the request as it will run: an answer's length never above the model's cap.

    Raises:
        TooLarge: more bytes or texts than the model takes.
        InvalidInput: no text, no array, or an answer that is longer than the cap.
    """
    size = input_bytes(request)
    if size > limits.max_input_bytes:
        raise TooLarge(
            f"the request has {size} bytes of input; this model takes at most {limits.max_input_bytes}: send "
            "less at a time, or raise max_input_bytes of the deployment",
            size=size,
            limit=limits.max_input_bytes,
        )
    if isinstance(request, EmbedRequest):
        _check_texts(request, limits)
    elif isinstance(request, TensorsRequest):
        if not request.inputs:
            raise InvalidInput("the request has no inputs; send the arrays that the model's metadata names")
    else:
        return _with_length(request, limits)
    return request


def _check_texts(request: EmbedRequest, limits: ServingLimits) -> None:
    if not request.texts:
        raise InvalidInput("the request has no text to embed; send at least one")
    if len(request.texts) > limits.max_texts:
        raise TooLarge(
            f"the request has {len(request.texts)} texts; this model takes at most {limits.max_texts} at a time",
            size=len(request.texts),
            limit=limits.max_texts,
        )


def _with_length(request: GenerateRequest, limits: ServingLimits) -> GenerateRequest:
    sampling = request.sampling
    asked = sampling.max_tokens
    if asked is not None and not 1 <= asked <= limits.max_tokens:
        raise InvalidInput(
            f"max_tokens is {asked}; this model answers with 1 to {limits.max_tokens} tokens",
            max_tokens=asked,
            limit=limits.max_tokens,
        )
    if not request.messages and not request.prompt:
        raise InvalidInput("the request has neither messages nor a prompt; send one of them")
    if asked is not None:
        return request
    return replace(request, sampling=replace(sampling, max_tokens=limits.max_tokens))
