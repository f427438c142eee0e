"""Answering the gateway's gRPC calls: an error of the tree becomes its status, and is counted."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import grpc

from farlane.errors import FarlaneError, Internal
from farlane.hub.gateway.gateway import Gateway
from farlane.hub.gateway.metrics import GatewayMetrics
from farlane.wire.status import abort

log = logging.getLogger(__name__)


class HasGateway(Protocol):
    """A service of the gateway."""

    gateway: Gateway


Context = grpc.aio.ServicerContext[Any, Any]
Reply = TypeVar("Reply")
Service = TypeVar("Service", bound=HasGateway)
Request = TypeVar("Request")


def answered(
    method: Callable[[Service, Request, Context], Awaitable[Reply]],
) -> Callable[[Service, Request, Context], Awaitable[Reply]]:
    """Turn an error into its status; one that is not of the tree is logged, and told as Internal."""

    @functools.wraps(method)
    async def call(self: Service, request: Request, context: Context) -> Reply:
        try:
            return await method(self, request, context)
        except FarlaneError as error:
            failure = error
        except Exception:
            log.exception("a call of %s died", method.__name__)
            failure = Internal("the gateway failed: its log says why")
        count_error(self.gateway.metrics, failure)
        return await abort(context, failure)

    return call


def count_error(metrics: GatewayMetrics, error: FarlaneError) -> None:
    """Count a call, or a message of a stream, that was answered with an error."""
    metrics.failed("grpc", error.grpc_code)
