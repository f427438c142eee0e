"""Inference: what a served model is asked and what it answers, whatever protocol the question came in.

Tensors      named arrays in, named arrays out                      (Open Inference Protocol)
Embedding    texts in, one vector each out                          (/v1/embeddings)
Generation   a chat or a prompt in, pieces of text out as they come (/v1/chat/completions, /v1/completions)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class InferenceKind(StrEnum):
    """What a model can be asked."""

    TENSORS = "tensors"
    EMBEDDING = "embedding"
    GENERATION = "generation"


class Datatype(StrEnum):
    """Element types, by the names of the Open Inference Protocol v2.

    Elements of BYTES have a length before each, 4 bytes little-endian.
    """

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"


class FinishReason(StrEnum):
    """Why a generation ended, by OpenAI's names."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named array: `data` holds its elements row by row, little-endian, without padding."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An array that a model takes or gives; -1 stands for a dimension of any size."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat: role is system, user, assistant or tool."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is drawn; temperature 0 takes the likeliest. `max_tokens` None: up to the context's end."""

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0


@dataclass(frozen=True, slots=True)
class TensorsRequest:
    """Arrays for a model; `outputs` names those wanted, none for all."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[str, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """Texts to embed; `dimensions` cuts the vectors and normalises them again."""

    texts: tuple[str, ...]
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """A chat (`messages`) or, where that is empty, a plain `prompt`."""

    messages: tuple[Message, ...] = ()
    prompt: str = ""
    sampling: Sampling = field(default_factory=Sampling)


InferenceRequest = TensorsRequest | EmbedRequest | GenerateRequest


@dataclass(frozen=True, slots=True)
class TensorsReply:
    """The arrays a model gave."""

    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class EmbedReply:
    """Vectors: float32 little-endian, (texts, dimensions) row by row."""

    vectors: bytes
    dimensions: int
    prompt_tokens: int
    text_tokens: tuple[int, ...] = ()
    """Tokens of each text; their sum is `prompt_tokens`."""


@dataclass(frozen=True, slots=True)
class GeneratePiece:
    """The next piece of text; the last has a `finish` reason and the counts of the whole generation."""

    text: str
    finish: FinishReason | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


InferenceReply = TensorsReply | EmbedReply | GeneratePiece


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDescription:
    """What a loaded model is: its runtime, what it may be asked, and its arrays where it takes any."""

    runtime: str
    kinds: tuple[InferenceKind, ...]
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    context_tokens: int = 0
    max_batch: int = 1
    """Rows that may run together: above 1 only where the first axis of all arrays is a batch."""
    dimensions: int = 0
    """Length of an embedding; 0 where the model has none."""
