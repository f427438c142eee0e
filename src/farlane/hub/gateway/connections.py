"""HTTP connections: so many at a time and no more, each with so long to say what it wants."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp.web import Server

log = logging.getLogger(__name__)
HANDSHAKE_S = 15.0
"""How long a client may take over its TLS handshake, in seconds."""
LINGER_S = 5.0
"""How long the rest of a body that was refused is read, so that the client sees why, in seconds."""
_SORRY = b'{"error":{"message":"the gateway has as many connections as it takes: try again","type":"server_error"}}'
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_SORRY), _SORRY)
)


class _Refusing(asyncio.Protocol):
    """Tells a client that there is no room, and hangs up."""

    def __init__(self, refused: Callable[[], None]) -> None:
        self._refused = refused

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(_FULL)
        transport.close()
        self._refused()


@asynccontextmanager
async def accepting(
    server: Server,
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None,
    most: int,
    refused: Callable[[], None],
) -> AsyncIterator[int]:
    """Take connections during a block; yields the port.

    Args:
        server: talks to those that are taken; it bounds by itself how long one may be silent or in its headers.
        host: address to listen on.
        port: 0 for a free one.
        tls: None for none.
        most: connections at a time.
        refused: called for each connection above that.

    Raises:
        OSError: the address cannot be listened on.
    """

    def protocol() -> asyncio.BaseProtocol:
        return _Refusing(refused) if len(server.connections) >= most else server()

    handshake_s = None if tls is None else HANDSHAKE_S
    listener = await asyncio.get_running_loop().create_server(
        protocol, host, port, ssl=tls, ssl_handshake_timeout=handshake_s
    )
    try:
        found: int = listener.sockets[0].getsockname()[1]
        yield found
    finally:
        listener.close()
