"""Frames between a replica process and whoever asks it: 4 bytes of length, big-endian, then MessagePack.

Every frame carries the id of its request, so that many share one connection. A frame that is longer than the cap, or
that is not one of these, ends the connection: nothing after it could be trusted to be a frame.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec

from farlane.domain.inference import (
    EmbedReply,
    EmbedRequest,
    GeneratePiece,
    GenerateRequest,
    InferenceReply,
    InferenceRequest,
    ModelDescription,
    TensorsReply,
    TensorsRequest,
)
from farlane.errors import Corrupted, FarlaneError, Internal, TooLarge, leaves
from farlane.models.serving.statistics import ReplicaStatistics

MAX_FRAME_BYTES = 64 << 20
"""Longest frame either side sends or reads."""
_LENGTH_BYTES = 4
_MAX_FACTS = 32


class Ask(msgspec.Struct, tag="ask", frozen=True):
    """A question; exactly one of the three is there."""

    id: int
    deadline_s: float
    tensors: TensorsRequest | None = None
    embed: EmbedRequest | None = None
    generate: GenerateRequest | None = None

    def request(self) -> InferenceRequest:
        """Return the question.

        Raises:
            Corrupted: there is not exactly one.
        """
        given = [part for part in (self.tensors, self.embed, self.generate) if part is not None]
        if len(given) != 1:
            raise Corrupted(f"a frame asks {len(given)} questions; expected exactly one")
        return given[0]


class Cancel(msgspec.Struct, tag="cancel", frozen=True):
    """Whoever asked `id` no longer waits for it."""

    id: int


class Describe(msgspec.Struct, tag="describe", frozen=True):
    """Ask what the model is."""

    id: int


class Health(msgspec.Struct, tag="health", frozen=True):
    """Ask whether the replica takes requests."""

    id: int


class Statistics(msgspec.Struct, tag="statistics", frozen=True):
    """Ask for the replica's counts."""

    id: int


class Drain(msgspec.Struct, tag="drain", frozen=True):
    """Refuse new requests; answered when the last one has ended."""

    id: int


class Reply(msgspec.Struct, tag="reply", frozen=True):
    """An answer or a piece of one; exactly one of the three is there."""

    id: int
    tensors: TensorsReply | None = None
    embed: EmbedReply | None = None
    piece: GeneratePiece | None = None

    def reply(self) -> InferenceReply:
        """Return the answer.

        Raises:
            Corrupted: there is not exactly one.
        """
        given = [part for part in (self.tensors, self.embed, self.piece) if part is not None]
        if len(given) != 1:
            raise Corrupted(f"a frame holds {len(given)} answers; expected exactly one")
        return given[0]


class End(msgspec.Struct, tag="end", frozen=True):
    """Request `id` is answered completely."""

    id: int


class Failed(msgspec.Struct, tag="failed", frozen=True):
    """Request `id` ended with an error of `farlane.errors`, by its class's name."""

    id: int
    error: str
    message: str
    facts: dict[str, str | int | float | bool | None] = {}


class Described(msgspec.Struct, tag="described", frozen=True):
    """What the model is."""

    id: int
    description: ModelDescription


class Healthy(msgspec.Struct, tag="healthy", frozen=True):
    """The replica runs; `ready` where it takes requests."""

    id: int
    ready: bool


class Counted(msgspec.Struct, tag="counted", frozen=True):
    """The replica's counts."""

    id: int
    statistics: ReplicaStatistics


ToReplica = Ask | Cancel | Describe | Health | Statistics | Drain
FromReplica = Reply | End | Failed | Described | Healthy | Counted
F = TypeVar("F")

_encoder = msgspec.msgpack.Encoder()
to_replica: msgspec.msgpack.Decoder[ToReplica] = msgspec.msgpack.Decoder(ToReplica)
from_replica: msgspec.msgpack.Decoder[FromReplica] = msgspec.msgpack.Decoder(FromReplica)


def ask_frame(request_id: int, request: InferenceRequest, deadline_s: float) -> Ask:
    """Return the frame of a question."""
    if isinstance(request, TensorsRequest):
        return Ask(request_id, deadline_s, tensors=request)
    if isinstance(request, EmbedRequest):
        return Ask(request_id, deadline_s, embed=request)
    return Ask(request_id, deadline_s, generate=request)


def reply_frame(request_id: int, reply: InferenceReply) -> Reply:
    """Return the frame of an answer or piece."""
    if isinstance(reply, TensorsReply):
        return Reply(request_id, tensors=reply)
    if isinstance(reply, EmbedReply):
        return Reply(request_id, embed=reply)
    return Reply(request_id, piece=reply)


def failed_frame(request_id: int, error: FarlaneError) -> Failed:
    """Return the frame of an error; facts that are no plain values travel as text."""
    facts = {
        name: value if isinstance(value, str | int | float | bool | None) else str(value)
        for name, value in list(error.facts.items())[:_MAX_FACTS]
    }
    return Failed(request_id, type(error).__name__, error.message, facts)


def error_of(frame: Failed) -> FarlaneError:
    """Return the error that a frame carries; one of an unknown class is `Internal`."""
    kind = leaves().get(frame.error, Internal)
    return kind(frame.message, **{name: value for name, value in frame.facts.items() if name != "message"})


def encode(frame: ToReplica | FromReplica) -> bytes:
    """Return the bytes of a frame, its length first.

    Raises:
        TooLarge: it is longer than the cap.
    """
    body = _encoder.encode(frame)
    if len(body) > MAX_FRAME_BYTES:
        raise TooLarge(
            f"a frame of {len(body)} bytes exceeds the {MAX_FRAME_BYTES} that a replica takes; send or ask for "
            "less at a time",
            size=len(body),
            limit=MAX_FRAME_BYTES,
        )
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


async def read(reader: asyncio.StreamReader, decoder: msgspec.msgpack.Decoder[F]) -> F | None:
    """Read the next frame; None where the other side closed between two frames.

    Raises:
        Corrupted: the bytes are no frame, or end in the middle of one.
        TooLarge: the frame announces more bytes than the cap.
    """
    try:
        size = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        if size > MAX_FRAME_BYTES:
            raise TooLarge(f"a frame announces {size} bytes; at most {MAX_FRAME_BYTES} are read", size=size)
        return decoder.decode(await reader.readexactly(size))
    except asyncio.IncompleteReadError as error:
        if not error.partial and error.expected == _LENGTH_BYTES:
            return None
        raise Corrupted("the connection ended in the middle of a frame") from error
    except ConnectionError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupted(f"the bytes received are no frame of a replica: {error}") from error
