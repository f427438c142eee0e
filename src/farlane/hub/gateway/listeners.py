"""The gateway's listeners: HTTP and gRPC, each where a port is given, with TLS wherever others can reach them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from farlane.hub.gateway.access import Access
from farlane.hub.gateway.gateway import Gateway


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a gateway listens; 0 where it does not."""

    http: int
    grpc: int


@asynccontextmanager
async def listening(
    gateway: Gateway, access: Access, certificate: tuple[Path, Path] | None
) -> AsyncIterator[Ports]:
    """Serve during a block.

    Args:
        gateway: answers.
        access: knows the callers.
        certificate: files of the certificate and its key; None for an address of this machine alone.

    Raises:
        InvalidSetting: an address cannot be listened on.
    """
    http = grpc = 0
    async with AsyncExitStack() as stack:
        if gateway.settings.port >= 0:
            from farlane.hub.gateway.http_server import serve_http

            http = await stack.enter_async_context(serve_http(gateway, access, certificate))
        if gateway.settings.grpc_port >= 0:
            from farlane.hub.gateway.grpc_server import serve_grpc

            grpc = await stack.enter_async_context(serve_grpc(gateway, access, certificate))
        yield Ports(http, grpc)
