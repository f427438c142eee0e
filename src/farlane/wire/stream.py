"""Writing an outbox into a gRPC stream and reading one, with every end of the stream an error of the tree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import NoReturn, Protocol, TypeVar

import grpc

from farlane.errors import ConnectionLost, FarlaneError, TooLarge
from farlane.wire.limits import MAX_MESSAGE_BYTES
from farlane.wire.outbox import Outbox
from farlane.wire.status import ended_call_error, final_error, from_rpc_error, remember_end

T = TypeVar("T")
STALL_S = 60.0
"""A peer that takes no byte of a message for this long is given up."""


class Sized(Protocol):
    """A protobuf message, as far as sending cares."""

    def ByteSize(self) -> int:  # noqa: N802 - protobuf's name
        """Return the bytes it takes on the wire."""
        ...


M_contra = TypeVar("M_contra", contravariant=True)
M = TypeVar("M")
S = TypeVar("S", bound=Sized)


class Writer(Protocol[M_contra]):
    """The writing half of a client's call or of a server's context."""

    async def write(self, request: M_contra, /) -> None:
        """Send one message; returns when gRPC's buffers have taken it."""
        ...


async def pump(
    outbox: Outbox[T],
    stream: Writer[S],
    encode: Callable[[list[T]], Iterable[S]],
    *,
    doing: str,
    stall_s: float = STALL_S,
) -> None:
    """Write what comes into `outbox` until it is closed; then half-close a client's call.

    No write runs under a caller's timeout, because a timed-out or cancelled write cancels the whole call. So end
    the pump by `outbox.close()`; cancelling it, or a stall, ends the call too, and this is meant.

    Args:
        outbox: what to send; closed when this returns or raises.
        stream: the call or context; nobody else may write to it.
        encode: makes messages of everything that waited, each below the message cap.
        doing: what the stream is for, for messages: `reporting to the hub`.
        stall_s: how long one message may take before the peer is given up, in seconds.

    Raises:
        ConnectionLost: the peer went away, or reads nothing.
        TooLarge: `encode` made a message above the cap; nothing of it was sent.
        FarlaneError: what the peer ended the call with.
    """
    if isinstance(stream, grpc.aio.Call):
        remember_end(stream)
    try:
        while batch := await outbox.drain():
            for message in encode(batch):
                check_size(message, doing)
                await _write(stream, message, doing, stall_s)
        if isinstance(stream, grpc.aio.StreamStreamCall | grpc.aio.StreamUnaryCall):
            await stream.done_writing()
    finally:
        outbox.close()


async def received(
    messages: AsyncIterable[M], *, doing: str, silence_s: float | None = None
) -> AsyncIterator[M]:
    """Yield what a peer sends; ends when the peer ends the stream in good order.

    Args:
        messages: a client's call or a server's request iterator.
        doing: what the stream is for, for messages.
        silence_s: how long the peer may say nothing, in seconds; silence beyond it ends the call.

    Raises:
        ConnectionLost: the peer went away, or fell silent.
        FarlaneError: what the peer ended the call with.
    """
    if isinstance(messages, grpc.aio.Call):
        remember_end(messages)
    iterator = aiter(messages)
    while True:
        try:
            async with asyncio.timeout(silence_s):
                message = await anext(iterator)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise ConnectionLost(
                f"{doing}: the peer said nothing for {silence_s:g} s, heartbeats included, and was given up. It may "
                "have been stopped, or the network between is down",
                silence_s=silence_s,
            ) from error
        except (
            grpc.RpcError,
            grpc.aio.BaseError,
            asyncio.InvalidStateError,
            asyncio.CancelledError,
        ) as error:
            await _raise_for_end(messages, error, doing)
        yield message


def check_size(message: Sized, doing: str) -> None:
    """Refuse a message that the peer would refuse, before it costs the stream.

    Raises:
        TooLarge: it is above the cap of one message.
    """
    size = message.ByteSize()
    if size > MAX_MESSAGE_BYTES:
        raise TooLarge(
            f"{doing}: a message of {size} bytes; expected at most {MAX_MESSAGE_BYTES}. Send smaller batches, or "
            "large data as blobs",
            size_bytes=size,
            limit_bytes=MAX_MESSAGE_BYTES,
        )


async def _write(stream: Writer[S], message: S, doing: str, stall_s: float) -> None:
    try:
        async with asyncio.timeout(stall_s):
            await stream.write(message)
    except TimeoutError as error:
        raise ConnectionLost(
            f"{doing}: the peer has read nothing for {stall_s:g} s and was given up; it may be stopped or overloaded",
            stall_s=stall_s,
        ) from error
    except (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError, asyncio.CancelledError) as error:
        await _raise_for_end(stream, error, doing)


async def _raise_for_end(stream: object, error: BaseException, doing: str) -> NoReturn:
    """Raise why the stream ended, as an error of the tree; a cancellation of this very task passes."""
    if isinstance(error, grpc.aio.AioRpcError):
        if isinstance(stream, grpc.aio.Call):
            raise await final_error(stream, error, doing) from error
        raise from_rpc_error(error, doing) from error
    if isinstance(error, asyncio.CancelledError):
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise error
        raise ConnectionLost(f"{doing}: the call was ended on this side") from error
    raise await _end_of(stream, doing) from error


async def _end_of(stream: object, doing: str) -> FarlaneError:
    """Return why a stream that takes no more messages has ended."""
    if isinstance(stream, grpc.aio.Call) and stream.done():
        error = await ended_call_error(stream)
        if error is not None:
            return await final_error(stream, error, doing)
    return ConnectionLost(f"{doing}: the peer ended the stream while there was more to send; connect again")
