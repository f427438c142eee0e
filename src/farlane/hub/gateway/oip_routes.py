"""The Open Inference Protocol over HTTP, with Triton's extensions for binary tensors and repositories."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec import Struct, field

from farlane.domain.inference import TensorsReply
from farlane.errors import Internal, InvalidInput
from farlane.hub.gateway.door import Door, request_id
from farlane.hub.gateway.json_bodies import decoded, encoded
from farlane.hub.gateway.oip_json import (
    index_entry,
    infer_reply,
    infer_request,
    model_metadata,
    server_metadata,
)
from farlane.hub.gateway.port import ModelState

if TYPE_CHECKING:
    from aiohttp.web import Request, Response, UrlDispatcher

LENGTH = "Inference-Header-Content-Length"
HARMLESS = frozenset({"unload_dependents"})
"""Parameters of load and unload that ask for nothing here."""


class _Index(Struct):
    ready: bool = False


class _Change(Struct):
    parameters: dict[str, object] = field(default_factory=dict)


class OipRoutes:
    """Answers below /v2.

    Args:
        door: lets requests in.
    """

    def __init__(self, door: Door) -> None:
        self._door, self._gateway = door, door.gateway

    def add_to(self, router: UrlDispatcher) -> None:
        """Add every route; longer paths before those that would take them for a model's name."""
        router.add_get("/v2", self.server)
        router.add_get("/v2/health/live", self.healthy)
        router.add_get("/v2/health/ready", self.routable)
        router.add_post("/v2/repository/index", self.index)
        router.add_post("/v2/repository/models/{model:.+}/load", self.load)
        router.add_post("/v2/repository/models/{model:.+}/unload", self.unload)
        for model in ("{model:.+}/versions/{version:[^/]+}", "{model:.+}"):
            router.add_post(f"/v2/models/{model}/infer", self.infer)
            router.add_get(f"/v2/models/{model}/ready", self.ready)
            router.add_get(f"/v2/models/{model}", self.model)

    async def server(self, request: Request) -> Response:
        """Say what this server is."""
        self._door.caller(request)
        return _json(server_metadata(importlib.metadata.version("farlane")))

    async def healthy(self, request: Request) -> Response:
        """Say that the server answers; open to all."""
        return _json({})

    async def routable(self, request: Request) -> Response:
        """Say whether requests can be routed: 200 or 503; open to all."""
        trouble = self._gateway.router.trouble()
        return _json(
            {"ready": not trouble} | ({"error": trouble} if trouble else {}), 503 if trouble else 200
        )

    async def model(self, request: Request) -> Response:
        """Describe a model's arrays."""
        caller, (model, version) = self._door.caller(request), _named(request)
        return _json(model_metadata(await self._gateway.router.describe(caller, model, version)))

    async def ready(self, request: Request) -> Response:
        """Say whether a model answers: 200 or 503."""
        caller, (model, version) = self._door.caller(request), _named(request)
        found = await self._gateway.router.describe(caller, model, version)
        is_ready = found.state is ModelState.READY
        return _json({"name": model, "ready": is_ready}, status=200 if is_ready else 503)

    async def infer(self, request: Request) -> Response:
        """Run arrays through a model."""
        caller, (model, version) = self._door.caller(request), _named(request)
        lengths = request.headers.getall(LENGTH, [])
        if len(lengths) > 1:
            raise InvalidInput(f"the request has {len(lengths)} headers {LENGTH}; expected one at most")
        async with self._door.body(request, caller) as body:
            asked = infer_request(body.data, lengths[0] if lengths else None)
            async with self._gateway.asking(
                caller,
                model,
                version,
                asked.request,
                request_id=request_id(request),
                request_bytes=body.arrived,
            ) as asking:
                reply = await asking.only()
                if not isinstance(reply, TensorsReply):
                    raise Internal("the model's answer has no tensors")
                data, json_length = infer_reply(asking.model, asked, reply)
                asking.reply_bytes = len(data)
        response = _response(data, "application/json" if json_length is None else "application/octet-stream")
        if json_length is not None:
            response.headers[LENGTH] = str(json_length)
        now = self._gateway.clock.monotonic()
        response.headers.update(self._gateway.limits.headers(now, caller.organisation))
        return response

    async def index(self, request: Request) -> Response:
        """List models and their states."""
        caller = self._door.caller(request)
        async with self._door.body(request, caller) as body:
            asked = decoded(body.data or b"{}", _Index)
        found = await self._gateway.router.models(caller)
        return _json([index_entry(one) for one in found if one.state is ModelState.READY or not asked.ready])

    async def load(self, request: Request) -> Response:
        """Have a model served again."""
        return await self._change(request, load=True)

    async def unload(self, request: Request) -> Response:
        """Stop serving a model."""
        return await self._change(request, load=False)

    async def _change(self, request: Request, *, load: bool) -> Response:
        caller, model = self._door.caller(request), request.match_info["model"]
        async with self._door.body(request, caller) as body:
            asked = decoded(body.data or b"{}", _Change)
            refuse_parameters(asked.parameters)
            await self._gateway.change(caller, model, load=load)
        return _json({})


def refuse_parameters(parameters: Iterable[str]) -> None:
    """Refuse what would make a model out of the request: models come from the repository alone.

    Raises:
        InvalidInput: a parameter that is not known.
    """
    unknown = sorted(set(parameters) - HARMLESS)
    if unknown:
        raise InvalidInput(
            f"parameter {unknown[0][:80]!r} is not supported: models are loaded as they were deployed",
            param=unknown[0],
        )


def _named(request: Request) -> tuple[str, str | None]:
    return request.match_info["model"], request.match_info.get("version")


def _json(document: object, status: int = 200) -> Response:
    return _response(encoded(document), "application/json", status)


def _response(body: bytes, content_type: str, status: int = 200) -> Response:
    from aiohttp.web import Response

    return Response(body=body, content_type=content_type, status=status)
