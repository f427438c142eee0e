"""The error table: farlane's error tree to and from gRPC codes, stream messages and trailing metadata."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn
from weakref import WeakKeyDictionary

import grpc
from google.protobuf.message import DecodeError

from farlane import errors
from farlane.errors import FarlaneError
from farlane.wire.results import clipped
from farlane.wire.v1 import types_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

ERROR_METADATA = "farlane-error-bin"
"""Trailing metadata with the serialised error."""
MAX_ERROR_CHARS = 8 * 1024
MAX_FACTS = 32
MAX_FACT_CHARS = 32 * 1024
# Trailing metadata is capped by the peer (see channel.CLIENT_OPTIONS), and a call that breaks the cap loses its status.
_TRAILER_TEXT_CHARS = 1024
_TRAILER_FACT_CHARS = 512
_TRAILER_FACTS = 8

_BY_CODE: dict[grpc.StatusCode, type[FarlaneError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidInput,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidInput,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.Conflict,
    grpc.StatusCode.ABORTED: errors.Conflict,
    grpc.StatusCode.FAILED_PRECONDITION: errors.Conflict,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionRefused,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Exhausted,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.CANCELLED: errors.ConnectionLost,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.DATA_LOSS: errors.Corrupted,
    grpc.StatusCode.UNIMPLEMENTED: errors.UnsupportedVersion,
}
_ADVICE: dict[type[FarlaneError], str] = {
    errors.Unavailable: "The hub does not answer: check that it runs and that its address is right, then try again",
    errors.ConnectionLost: "The connection ended in mid-call: try again",
    errors.DeadlineExceeded: "No answer in time: the hub may be overloaded or the network slow; try again",
    errors.UnsupportedVersion: "The peer does not know this call: upgrade farlane on that side",
    errors.TooLarge: "A message was beyond the cap of one side: send smaller batches, or large data as blobs",
    errors.Unauthenticated: "Check the token: ask the hub's operator for one if yours was withdrawn",
}
_CUT_OFF = (
    "socket closed",
    "connection reset",
    "broken pipe",
    "recvmsg",
    "goaway",
    "rst_stream",
    "ping timeout",
    "too many pings",
    "internal error from core",
)
_SETTLE_POLL_S, _SETTLE_POLLS = 0.01, 100
_ENDS: WeakKeyDictionary[grpc.aio.Call, grpc.aio.AioRpcError | None] = WeakKeyDictionary()
"""The bad ends of streams; None while they go on."""


def error_to_wire(error: FarlaneError) -> types_pb2.Error:
    """Return an error as it travels on a stream; facts become text, bytes become hex."""
    return _to_wire(error, MAX_ERROR_CHARS, MAX_FACTS, MAX_FACT_CHARS)


def error_from_wire(message: types_pb2.Error) -> FarlaneError:
    """Return the error a peer sent: its class by name, `FarlaneError` for a name this version does not know."""
    kind = errors.leaves().get(message.name, FarlaneError)
    error = kind(clipped(message.message, MAX_ERROR_CHARS))
    # Not as keyword arguments: a peer may name a fact as it likes, `message` and `self` too.
    error.facts = dict(sorted(message.facts.items())[:MAX_FACTS])
    return error


def code_of(error: FarlaneError | type[FarlaneError]) -> grpc.StatusCode:
    """Return the gRPC code of an error or class of the tree."""
    return grpc.StatusCode[error.grpc_code]


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: FarlaneError) -> NoReturn:
    """End a call with an error of the tree: its code, its message, and the error itself in trailing metadata.

    Raises:
        grpc.aio.AbortError: always; let it pass.
    """
    message = _to_wire(error, _TRAILER_TEXT_CHARS, _TRAILER_FACTS, _TRAILER_FACT_CHARS)
    trailers = ((ERROR_METADATA, message.SerializeToString()),)
    await context.abort(code_of(error), message.message, trailers)
    raise AssertionError("abort returned")  # for the type checker: abort always raises


def from_rpc_error(error: grpc.aio.AioRpcError, doing: str) -> FarlaneError:
    """Return the error of the tree behind a failed call.

    Args:
        error: what grpc raised.
        doing: what was tried, for the message: `sending tasks to the hub`.
    """
    sent = _sent_error(error.trailing_metadata() or ())
    if sent is not None:
        return sent
    details = error.details() or "no details"
    kind = _kind(error.code(), details)
    said = "; ".join(part for part in (clipped(details, _TRAILER_TEXT_CHARS), _ADVICE.get(kind, "")) if part)
    return kind(f"{doing}: {said}", grpc_code=error.code().name)


def remember_end(call: grpc.aio.Call) -> None:
    """Keep the status a stream ends with for `final_error`; to be said before anything is written or read."""
    if call not in _ENDS:
        _ENDS[call] = None
        call.add_done_callback(_keep_end)


def _keep_end(call: grpc.aio.Call) -> None:
    # The status is there, so that asking for it never waits; a task of its own would come after the overwriting.
    asking = ended_call_error(call)
    try:
        asking.send(None)
    except StopIteration as answer:
        if answer.value is not None and not _is_from_core(answer.value):
            _ENDS[call] = answer.value
    finally:
        asking.close()


async def final_error(call: grpc.aio.Call, error: grpc.aio.AioRpcError, doing: str) -> FarlaneError:
    """Return the error of the tree behind a failed write or read of a stream.

    A write that meets the end of its call makes grpc.aio say `Internal error from Core`, until the peer's own
    status arrives a moment later, or in place of the one that has just arrived (see `remember_end`); that status is
    what people need.
    """
    for _ in range(_SETTLE_POLLS):
        error = _ENDS.get(call) or error
        if not _is_from_core(error):
            break
        await asyncio.sleep(_SETTLE_POLL_S)
        error = await ended_call_error(call) or error
    return from_rpc_error(error, doing)


def _is_from_core(error: grpc.aio.AioRpcError) -> bool:
    return error.code() is grpc.StatusCode.INTERNAL and "from Core" in (error.details() or "")


async def ended_call_error(call: grpc.aio.Call) -> grpc.aio.AioRpcError | None:
    """Return the status of a call that has ended badly as the exception grpc.aio would raise; None if well."""
    code = await call.code()
    if code is grpc.StatusCode.OK:
        return None
    return grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), await call.trailing_metadata(), await call.details()
    )


def _kind(code: grpc.StatusCode, details: str) -> type[FarlaneError]:
    lowered = details.lower()
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in lowered:
        return errors.TooLarge
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN) and any(
        sign in lowered for sign in _CUT_OFF
    ):
        return errors.ConnectionLost
    return _BY_CODE.get(code, errors.Internal)


def _sent_error(trailers: Iterable[tuple[str, str | bytes]]) -> FarlaneError | None:
    for key, value in trailers:
        if key == ERROR_METADATA and isinstance(value, bytes):
            try:
                return error_from_wire(types_pb2.Error.FromString(value))
            except DecodeError:  # a proxy or a stranger wrote it; code and details remain
                return None
    return None


def _to_wire(error: FarlaneError, max_chars: int, max_facts: int, max_fact_chars: int) -> types_pb2.Error:
    facts = {
        clipped(str(key), 64): clipped(_fact_text(value), max_fact_chars)
        for key, value in list(error.facts.items())[:max_facts]
    }
    return types_pb2.Error(name=type(error).__name__, message=clipped(error.message, max_chars), facts=facts)


def _fact_text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
