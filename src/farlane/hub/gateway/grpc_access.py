"""Who calls over gRPC: nobody's message is read before its token is known, but for the two questions about health."""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from farlane.errors import FarlaneError, Unauthenticated
from farlane.hub.gateway.access import Access
from farlane.hub.gateway.grpc_answering import count_error
from farlane.hub.gateway.metrics import GatewayMetrics
from farlane.hub.gateway.port import Caller
from farlane.wire.status import abort

_OPEN = frozenset({f"/inference.GRPCInferenceService/{name}" for name in ("ServerLive", "ServerReady")})
_current: contextvars.ContextVar[Caller] = contextvars.ContextVar("farlane_gateway_caller")


def current_caller() -> Caller:
    """Return who makes the call that this code answers.

    Raises:
        Unauthenticated: not inside an authenticated call.
    """
    try:
        return _current.get()
    except LookupError as error:
        raise Unauthenticated("this call has no authenticated caller") from error


class GatewayAuthenticator(grpc.aio.ServerInterceptor):
    """Authenticates every call, streams included, before its handler runs.

    Args:
        access: knows the callers.
        metrics: counts those that it does not.
    """

    def __init__(self, access: Access, metrics: GatewayMetrics) -> None:
        self._access, self._metrics = access, metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the handler for a known caller, else one that refuses."""
        if handler_call_details.method in _OPEN:
            return await continuation(handler_call_details)
        shown = [
            value for key, value in handler_call_details.invocation_metadata or () if key == "authorization"
        ]
        try:
            _current.set(self._access.caller([str(value) for value in shown]))
        except FarlaneError as error:
            count_error(self._metrics, error)
            return _refusing(error)
        return await continuation(handler_call_details)


def _refusing(error: FarlaneError) -> grpc.RpcMethodHandler[Any, Any]:
    async def refuse(request: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        await abort(context, error)

    # Stream in, stream out serves every kind of call: it answers before a message is read.
    return grpc.stream_stream_rpc_method_handler(refuse)
