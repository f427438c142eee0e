"""OpenAI's requests read strictly: what is not understood is refused by name, never silently ignored.

Tolerated fields say nothing about the answer (`user`, `metadata`, `store`, `service_tier`, ...). Fields that would
change the answer and are not supported are accepted only with the value that asks for nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from farlane.domain.inference import EmbedRequest, GenerateRequest, Message, Sampling
from farlane.errors import InvalidInput
from farlane.hub.gateway.json_bodies import decoded

MAX_MESSAGES = 2048
MAX_STOPS = 4
MAX_STOP_CHARS = 512
MAX_TEXTS = 2048
MAX_DIMENSIONS = 65_536
MAX_TOKENS = 1 << 24

ModelName = Annotated[str, Meta(min_length=1, max_length=256)]
Tokens = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]


class _Tolerated(Struct, kw_only=True, forbid_unknown_fields=True):
    """Fields that change nothing about the answer."""

    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


class StreamOptions(Struct, forbid_unknown_fields=True):
    """What a stream says besides its pieces."""

    include_usage: bool = False
    include_obfuscation: bool = False


class _Generating(_Tolerated, kw_only=True, forbid_unknown_fields=True):
    model: ModelName
    max_tokens: Tokens | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)] | None = None
    stop: str | list[str] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logit_bias: dict[str, float] | None = None


class _Part(Struct, forbid_unknown_fields=True):
    type: str
    text: str | None = None
    image_url: Any = None
    input_audio: Any = None
    file: Any = None


class _Turn(Struct, kw_only=True, forbid_unknown_fields=True):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_Part] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[Any] | None = None


class _Format(Struct):
    type: str


class _Chat(_Generating, kw_only=True, forbid_unknown_fields=True):
    messages: Annotated[list[_Turn], Meta(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: _Format | None = None
    modalities: list[str] | None = None


class _Completion(_Generating, kw_only=True, forbid_unknown_fields=True):
    prompt: str | list[Any]
    best_of: int | None = None
    echo: bool | None = None
    logprobs: int | None = None
    suffix: str | None = None


class _Embeddings(_Tolerated, kw_only=True, forbid_unknown_fields=True):
    model: ModelName
    input: str | list[Any]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=MAX_DIMENSIONS)] | None = None


class Generation(Struct, frozen=True):
    """What to generate, and how to send it."""

    model: str
    request: GenerateRequest
    stream: bool
    usage_in_stream: bool


class Embedding(Struct, frozen=True):
    """What to embed, and how to send it."""

    model: str
    request: EmbedRequest
    base64: bool


def chat_request(body: bytes) -> Generation:
    """Read the body of POST /v1/chat/completions.

    Raises:
        InvalidInput: it cannot be answered as asked; fact `param` names the field.
    """
    asked = decoded(body, _Chat)
    for name in ("logprobs", "top_logprobs", "tools"):
        _refuse(asked, name)
    if asked.tool_choice not in (None, "none", "auto"):
        _refuse(asked, "tool_choice")
    if asked.response_format is not None and asked.response_format.type != "text":
        raise _unsupported("response_format", "only the type 'text' is")
    if asked.modalities not in (None, ["text"]):
        raise _unsupported("modalities", "only ['text'] is")
    if asked.max_tokens is not None and asked.max_completion_tokens is not None:
        raise InvalidInput("give max_completion_tokens or the older max_tokens, not both", param="max_tokens")
    turns = tuple(_message(turn, at) for at, turn in enumerate(asked.messages))
    room = asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens
    return _generation(asked, GenerateRequest(messages=turns, sampling=_sampling(asked, room)))


def completion_request(body: bytes) -> Generation:
    """Read the body of POST /v1/completions.

    Raises:
        InvalidInput: it cannot be answered as asked; fact `param` names the field.
    """
    asked = decoded(body, _Completion)
    for name in ("echo", "logprobs", "suffix"):
        _refuse(asked, name)
    if asked.best_of not in (None, 1):
        raise _unsupported("best_of", "only 1 is")
    prompts = _texts("prompt", asked.prompt)
    if len(prompts) != 1:
        raise InvalidInput(f"prompt: {len(prompts)} prompts in one request; send one in each", param="prompt")
    room = 16 if asked.max_tokens is None else asked.max_tokens  # Source: OpenAI API reference, completions
    return _generation(asked, GenerateRequest(prompt=prompts[0], sampling=_sampling(asked, room)))


def embedding_request(body: bytes) -> Embedding:
    """Read the body of POST /v1/embeddings.

    Raises:
        InvalidInput: it cannot be answered as asked; fact `param` names the field.
    """
    asked = decoded(body, _Embeddings)
    texts = _texts("input", asked.input)
    if not all(texts):
        raise InvalidInput("input: an empty text has no embedding", param="input")
    return Embedding(asked.model, EmbedRequest(texts, asked.dimensions), asked.encoding_format == "base64")


def _generation(asked: _Generating, request: GenerateRequest) -> Generation:
    if asked.n not in (None, 1):
        raise _unsupported("n", "one choice is given for each request; send it several times for more")
    _refuse(asked, "logit_bias")
    if asked.stream_options is not None and not asked.stream:
        raise InvalidInput("stream_options: only a stream has any; set stream", param="stream_options")
    usage = asked.stream_options is not None and asked.stream_options.include_usage
    return Generation(asked.model, request, bool(asked.stream), usage)


def _sampling(asked: _Generating, room: int | None) -> Sampling:
    stops = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    if len(stops) > MAX_STOPS or not all(0 < len(one) <= MAX_STOP_CHARS for one in stops):
        raise InvalidInput(
            f"stop: expected at most {MAX_STOPS} texts of 1 to {MAX_STOP_CHARS} characters", param="stop"
        )
    return Sampling(
        max_tokens=room,
        temperature=1.0 if asked.temperature is None else asked.temperature,
        top_p=1.0 if asked.top_p is None else asked.top_p,
        seed=asked.seed,
        stop=tuple(stops),
        frequency_penalty=asked.frequency_penalty or 0.0,
        presence_penalty=asked.presence_penalty or 0.0,
    )


def _message(turn: _Turn, at: int) -> Message:
    where = f"messages[{at}]"
    if turn.tool_calls:
        raise _unsupported(f"{where}.tool_calls", "models are called without tools")
    if turn.content is None:
        raise InvalidInput(f"{where}.content: expected a text", param=f"{where}.content")
    role = "system" if turn.role == "developer" else turn.role
    if isinstance(turn.content, str):
        return Message(role, turn.content)
    for part in turn.content:
        if part.type != "text" or part.text is None:
            raise _unsupported(
                f"{where}.content", f"parts of type {part.type[:40]!r} are not read; only 'text' is"
            )
    return Message(role, "".join(part.text or "" for part in turn.content))


def _texts(param: str, given: str | list[Any]) -> tuple[str, ...]:
    texts = [given] if isinstance(given, str) else given
    if not 0 < len(texts) <= MAX_TEXTS:
        raise InvalidInput(f"{param}: expected 1 to {MAX_TEXTS} texts, not {len(texts)}", param=param)
    if not all(isinstance(one, str) for one in texts):
        raise InvalidInput(
            f"{param}: expected a text or a list of texts; lists of token numbers are not read, since they mean "
            "something else to each model",
            param=param,
        )
    return tuple(texts)


def _refuse(asked: Struct, name: str) -> None:
    if getattr(asked, name):
        raise _unsupported(name, "leave it out")


def _unsupported(param: str, instead: str) -> InvalidInput:
    return InvalidInput(
        f"{param}: this value is not supported; {instead}", param=param, code="unsupported_value"
    )
