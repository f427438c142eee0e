"""The chain's JSON-RPC endpoint for wallets and tools of this machine: HTTP on loopback, closed to web pages."""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from farlane.errors import InvalidSetting, Unavailable
from farlane.ledger.embedded.documents import failure
from farlane.ledger.embedded.embedded import EmbeddedChain
from farlane.ledger.embedded.refusals import LIMIT_EXCEEDED, PARSE_ERROR

if TYPE_CHECKING:
    from aiohttp.web import Request, Response

MAX_BODY_BYTES = 1 << 20
MAX_WAITING = 64
MAX_BRACKETS = 4000
"""Of one document: a batch of a hundred calls has far fewer."""
"""Documents that may wait for the chain's thread."""


@contextlib.asynccontextmanager
async def serve_rpc(chain: EmbeddedChain, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve a chain during a block; yields the URL.

    Args:
        chain: stays open afterwards.
        host: a loopback address; nothing else, since there is neither authentication nor encryption.
        port: 0 for a free one.

    Raises:
        InvalidSetting: the address is not of this machine alone.
        Unavailable: the port is taken.
    """
    from aiohttp import web

    if not _is_loopback(host):
        raise InvalidSetting(
            f"the embedded chain's endpoint cannot listen on {host!r}: expected 127.0.0.1 or ::1, since whoever "
            "reaches it may use it. For other machines use a chain of its own (anvil, geth)",
            host=host,
        )
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_route("*", "/", _Endpoint(chain).handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise Unavailable(
                f"the embedded chain's endpoint cannot listen on {host}:{port}: {error.strerror or error}. Stop what "
                "uses that port or choose another one"
            ) from error
        bound = runner.addresses[0]
        yield f"http://{f'[{bound[0]}]' if ':' in bound[0] else bound[0]}:{bound[1]}"
    finally:
        await runner.cleanup()


class _Endpoint:
    def __init__(self, chain: EmbeddedChain) -> None:
        self._chain, self._waiting = chain, 0

    async def handle(self, request: Request) -> Response:
        from aiohttp import web

        # Pages of the web reach loopback too, under a name of their own (DNS rebinding) or from their own origin.
        if not _is_loopback(_host_of(request.host)):
            return web.Response(status=403, text="invalid host specified\n")
        if request.method != "POST" or "Origin" in request.headers:
            return web.Response(
                status=403 if "Origin" in request.headers else 405, text="POST JSON-RPC here\n"
            )
        if request.content_type != "application/json":
            return web.Response(status=415, text="invalid content type, only application/json is supported\n")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return web.Response(status=413, text=f"content too large; limit {MAX_BODY_BYTES} bytes\n")
        found = await self._answer(body)
        return web.Response(status=204) if found is None else web.json_response(found)

    async def _answer(self, body: bytes) -> Any:
        if body.count(b"[") + body.count(b"{") > MAX_BRACKETS:
            # The parser recurses; a text that nests deep enough would overflow its stack.
            return failure(None, PARSE_ERROR, f"parse error: more than {MAX_BRACKETS} brackets")
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return failure(None, PARSE_ERROR, "parse error: not JSON")
        if self._waiting >= MAX_WAITING:
            return failure(None, LIMIT_EXCEEDED, "too many requests wait already")
        self._waiting += 1
        try:
            return await self._chain.answer(document)
        finally:
            self._waiting -= 1


def _host_of(header: str) -> str:
    """Return a Host header without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if ":" in header else header


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
