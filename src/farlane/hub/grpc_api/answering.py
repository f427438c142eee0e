"""Answering plain calls: an error of the tree becomes its gRPC status."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc

from farlane.errors import FarlaneError
from farlane.wire.status import abort

Context = grpc.aio.ServicerContext[Any, Any]
Reply = TypeVar("Reply")
Service = TypeVar("Service")
Request = TypeVar("Request")


def answered(
    method: Callable[[Service, Request, Context], Awaitable[Reply]],
) -> Callable[[Service, Request, Context], Awaitable[Reply]]:
    """Turn an error of the tree into its status."""

    @functools.wraps(method)
    async def call(self: Service, request: Request, context: Context) -> Reply:
        try:
            return await method(self, request, context)
        except FarlaneError as error:
            await abort(context, error)
            raise

    return call
