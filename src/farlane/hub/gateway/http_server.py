"""The gateway's HTTP listener: routes of every protocol, errors in the shape of each, health and metrics."""

from __future__ import annotations

import contextlib
import logging
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from farlane.errors import Exhausted, FarlaneError, Internal, InvalidSetting, Unauthenticated, Unavailable
from farlane.hub.gateway.access import Access
from farlane.hub.gateway.connections import LINGER_S, accepting
from farlane.hub.gateway.door import REQUEST_ID, Door, name_request, request_id
from farlane.hub.gateway.gateway import Gateway
from farlane.hub.gateway.json_bodies import encoded
from farlane.hub.gateway.metrics import exposition
from farlane.hub.gateway.oip_routes import OipRoutes
from farlane.hub.gateway.openai_replies import error_document
from farlane.hub.gateway.openai_routes import OpenAiRoutes
from farlane.hub.gateway.sending import send_whole

if TYPE_CHECKING:
    from aiohttp.web import Application, Request, Response, StreamResponse

    Handler = Callable[[Request], Awaitable[StreamResponse]]

log = logging.getLogger(__name__)
RETRY_S = 1
_HTTP = "http"
STOP_GRACE_S = 5.0
"""How long running requests may go on when the hub stops, in seconds."""


@asynccontextmanager
async def serve_http(
    gateway: Gateway, access: Access, certificate: tuple[Path, Path] | None
) -> AsyncIterator[int]:
    """Serve during a block; yields the port.

    Args:
        gateway: answers.
        access: knows the callers.
        certificate: files of the certificate and its key, PEM; None: without TLS, for loopback alone.

    Raises:
        InvalidSetting: the address cannot be listened on.
    """
    from aiohttp import web

    settings = gateway.settings
    # A body is unpacked by `bodies`, with its caps; a client that goes away cancels its request.
    runner = web.AppRunner(
        _application(Door(gateway, access)),
        access_log=None,
        handler_cancellation=True,
        auto_decompress=False,
        shutdown_timeout=STOP_GRACE_S,
        keepalive_timeout=settings.idle_timeout_s,
        lingering_time=LINGER_S,
    )
    await runner.setup()
    assert runner.server is not None  # set up just now
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        listening = accepting(
            runner.server, settings.host.strip("[]"), settings.port,
            tls=None if certificate is None else _tls(*certificate), most=settings.connections,
            refused=lambda: gateway.metrics.failed(_HTTP, str(Unavailable.http_status)),
        )  # fmt: skip
        try:
            port = await stack.enter_async_context(listening)
        except OSError as error:
            raise InvalidSetting(
                f"the gateway cannot listen on {settings.host}:{settings.port}: {error.strerror or error}. Choose "
                "another hub.gateway_port, 0 for any or -1 for none"
            ) from error
        log.info("the gateway listens on %s:%d", settings.host, port)
        yield port


def _application(door: Door) -> Application:
    from aiohttp import web

    @web.middleware
    async def answered(request: Request, handler: Handler) -> StreamResponse:
        name_request(request)
        try:
            response = await handler(request)
            if isinstance(response, web.Response):
                response.headers[REQUEST_ID] = request_id(request)
                await send_whole(door.gateway, request, response)
        except FarlaneError as error:
            response = _failed(door.gateway, request, error)
        except web.HTTPException as error:
            door.gateway.metrics.failed(_HTTP, str(error.status))
            response = _plain(request, error.status, error.text or error.reason, error.headers.get("Allow"))
        except Exception:
            log.exception("request %s died", request_id(request))
            response = _failed(door.gateway, request, Internal("the gateway failed: its log says why"))
        if not response.prepared:
            response.headers[REQUEST_ID] = request_id(request)
        return response

    app = web.Application(middlewares=[answered])
    OpenAiRoutes(door).add_to(app.router)
    OipRoutes(door).add_to(app.router)
    _Probes(door).add_to(app)
    return app


class _Probes:
    """Health for whoever asks, metrics for the owner of the hub."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def add_to(self, app: Application) -> None:
        app.router.add_get("/health", self.healthy)
        app.router.add_get("/ready", self.ready)
        app.router.add_get("/metrics", self.metrics)

    async def healthy(self, request: Request) -> Response:
        from aiohttp.web import Response

        return Response(text="ok\n")

    async def ready(self, request: Request) -> Response:
        """Say whether requests can be routed: 200, or 503 and why not."""
        from aiohttp.web import Response

        trouble = self._door.gateway.router.trouble()
        return Response(text=f"{trouble or 'ok'}\n", status=503 if trouble else 200)

    async def metrics(self, request: Request) -> Response:
        from aiohttp.web import Response

        self._door.require_owner(request, "/metrics")
        body = exposition(self._door.gateway.metrics)
        return Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _failed(gateway: Gateway, request: Request, error: FarlaneError) -> Response:
    """Return an error in the shape of the protocol that was spoken."""
    from aiohttp.web import Response

    gateway.metrics.failed(_HTTP, str(error.http_status))
    openai = not request.path.startswith("/v2")
    document = error_document(error) if openai else {"error": error.message}
    response = Response(body=encoded(document), status=error.http_status, content_type="application/json")
    if isinstance(error, Unauthenticated):
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.http_status in (Exhausted.http_status, Unavailable.http_status):
        response.headers["Retry-After"] = str(_seconds(error.facts.get("retry_after_s")))
    if not request.content.is_eof():
        response.force_close()  # what is left of the body is not read
    return response


def _plain(request: Request, status: int, text: str, allow: str | None) -> Response:
    from aiohttp.web import Response

    message = f"{request.method} {request.path[:200]}: {text}"
    document: dict[str, object] = {"error": message}
    if not request.path.startswith("/v2"):
        document = {
            "error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        }
    headers = {} if allow is None else {"Allow": allow}
    return Response(body=encoded(document), status=status, content_type="application/json", headers=headers)


def _seconds(given: object) -> int:
    return max(RETRY_S, math.ceil(given)) if isinstance(given, int | float) else RETRY_S


def _tls(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context
