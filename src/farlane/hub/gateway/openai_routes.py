"""OpenAI's API over HTTP: models, completions of chats and prompts, whole or streamed, and embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from farlane.domain.inference import EmbedReply, GeneratePiece
from farlane.errors import FarlaneError, Internal
from farlane.hub.gateway.door import Body, Door, request_id
from farlane.hub.gateway.gateway import Asking, ClientGone
from farlane.hub.gateway.json_bodies import encoded
from farlane.hub.gateway.openai_replies import (
    DONE,
    Completion,
    embeddings,
    error_document,
    event,
    model_document,
    model_list,
)
from farlane.hub.gateway.openai_requests import (
    Generation,
    chat_request,
    completion_request,
    embedding_request,
)
from farlane.hub.gateway.port import Caller

if TYPE_CHECKING:
    from aiohttp.web import Request, Response, StreamResponse, UrlDispatcher

_STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # proxies of nginx's kind would hold the pieces back
}


class OpenAiRoutes:
    """Answers below /v1.

    Args:
        door: lets requests in.
    """

    def __init__(self, door: Door) -> None:
        self._door, self._gateway = door, door.gateway

    def add_to(self, router: UrlDispatcher) -> None:
        """Add every route."""
        router.add_get("/v1/models", self.models)
        router.add_get("/v1/models/{model:.+}", self.model)
        router.add_post("/v1/chat/completions", self.chat)
        router.add_post("/v1/completions", self.completion)
        router.add_post("/v1/embeddings", self.embed)

    async def models(self, request: Request) -> Response:
        """List what the caller may use."""
        return _json(model_list(await self._gateway.router.models(self._door.caller(request))))

    async def model(self, request: Request) -> Response:
        """Describe one model."""
        caller = self._door.caller(request)
        return _json(
            model_document(await self._gateway.router.describe(caller, request.match_info["model"], None))
        )

    async def chat(self, request: Request) -> StreamResponse:
        """Continue a chat."""
        return await self._generate(request, chat_request, chat=True)

    async def completion(self, request: Request) -> StreamResponse:
        """Continue a prompt."""
        return await self._generate(request, completion_request, chat=False)

    async def embed(self, request: Request) -> Response:
        """Embed texts."""
        caller = self._door.caller(request)
        async with self._door.body(request, caller) as body:
            asked = embedding_request(body.data)
            async with self._gateway.asking(
                caller, asked.model, None, asked.request,
                request_id=request_id(request), request_bytes=body.arrived,
            ) as asking:  # fmt: skip
                reply = await asking.only()
                if not isinstance(reply, EmbedReply):
                    raise Internal("the model's answer is no embedding")
                response = _json(embeddings(asked.model, reply, as_base64=asked.base64))
                asking.reply_bytes = len(response.body)  # type: ignore[arg-type]  # bytes: it was made of some
        return self._with_rates(response, caller)

    async def _generate(
        self, request: Request, read: Callable[[bytes], Generation], *, chat: bool
    ) -> StreamResponse:
        caller = self._door.caller(request)
        async with self._door.body(request, caller) as body:
            asked = read(body.data)
            if asked.stream:
                return await self._streamed(request, caller, asked, body, chat=chat)
            async with self._gateway.asking(
                caller, asked.model, None, asked.request,
                request_id=request_id(request), request_bytes=body.arrived,
            ) as asking:  # fmt: skip
                text, last = await _collected(asking)
                completion = self._completion(asking, request, asked, chat=chat)
                response = _json(completion.whole(text, last))
                asking.reply_bytes = len(response.body)  # type: ignore[arg-type]  # bytes: it was made of some
        return self._with_rates(response, caller)

    async def _streamed(
        self, request: Request, caller: Caller, asked: Generation, body: Body, *, chat: bool
    ) -> StreamResponse:
        """Send pieces as they come: what fails before the first is an HTTP error, afterwards an event."""
        stream = _EventStream(request, self._rates(caller), self._gateway.settings.write_timeout_s)
        try:
            try:
                async with self._gateway.asking(
                    caller, asked.model, None, asked.request,
                    request_id=request_id(request), request_bytes=body.arrived,
                ) as asking:  # fmt: skip
                    try:
                        await self._send_pieces(stream, asking, request, asked, chat=chat)
                    finally:
                        asking.reply_bytes = stream.sent
            except FarlaneError as error:
                if not stream.begun:
                    raise
                await stream.send(event(error_document(error)))
            await stream.end()
        except ClientGone:
            pass  # the request is cancelled by now, and booked as such
        return stream.response

    async def _send_pieces(
        self, stream: _EventStream, asking: Asking, request: Request, asked: Generation, *, chat: bool
    ) -> None:
        completion: Completion | None = None
        last = None
        async for reply in asking.replies():
            assert isinstance(reply, GeneratePiece)  # asking has checked it
            first = completion is None
            completion = completion or self._completion(asking, request, asked, chat=chat)
            await stream.send(event(completion.piece(reply.text, reply.finish, first=first)))
            last = reply if reply.finish is not None else last
        if completion is None or last is None:
            raise Internal("the model ended its answer without a reason")
        if asked.usage_in_stream:
            await stream.send(event(completion.counts(last)))

    def _completion(self, asking: Asking, request: Request, asked: Generation, *, chat: bool) -> Completion:
        created = int(self._gateway.clock.now())
        return Completion(chat, request_id(request), asked.model, asking.model.version, created)

    def _rates(self, caller: Caller) -> dict[str, str]:
        return self._gateway.limits.headers(self._gateway.clock.monotonic(), caller.organisation)

    def _with_rates(self, response: Response, caller: Caller) -> Response:
        response.headers.update(self._rates(caller))
        return response


class _EventStream:
    """Server-sent events to one client, which is given up when it leaves them unread."""

    def __init__(self, request: Request, headers: dict[str, str], timeout_s: float) -> None:
        from aiohttp.web import StreamResponse

        headers = {**_STREAM_HEADERS, **headers, "X-Request-Id": request_id(request)}
        self.response = StreamResponse(headers=headers)
        self._request, self._timeout_s, self.sent = request, timeout_s, 0

    @property
    def begun(self) -> bool:
        """Whether the headers have been sent."""
        return self.response.prepared

    async def send(self, data: bytes) -> None:
        """Send one event, and the headers before the first.

        Raises:
            ClientGone: nobody takes it.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                if not self.begun:
                    await self.response.prepare(self._request)
                await self.response.write(data)
        except TimeoutError as error:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ClientGone from error
        except ConnectionError as error:
            raise ClientGone from error
        self.sent += len(data)

    async def end(self) -> None:
        """Say that nothing follows.

        Raises:
            ClientGone: nobody takes it.
        """
        await self.send(DONE)
        try:
            await self.response.write_eof()
        except ConnectionError as error:
            raise ClientGone from error


async def _collected(asking: Asking) -> tuple[str, GeneratePiece]:
    pieces = [one async for one in asking.replies() if isinstance(one, GeneratePiece)]
    if not pieces or pieces[-1].finish is None:
        raise Internal("the model ended its answer without a reason")
    return "".join(one.text for one in pieces), pieces[-1]


def _json(document: object) -> Response:
    from aiohttp.web import Response

    return Response(body=encoded(document), content_type="application/json")
