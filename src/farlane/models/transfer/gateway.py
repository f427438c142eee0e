"""A trustless gateway: blocks and CARs over HTTP, as kubo, Helia and other farlane nodes ask for them.

Source: https://specs.ipfs.tech/http-gateways/trustless-gateway/
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, Final

from farlane.errors import FarlaneError, InvalidInput, NotFound
from farlane.models.blocks.car import pieces
from farlane.models.blocks.port import BlockSource, Location
from farlane.models.blocks.scopes import Scope, in_scope, resolve
from farlane.models.cid import Cid, parse_cid

if TYPE_CHECKING:  # aiohttp takes 0.2 s to import: only those who serve pay for it
    from aiohttp import web

log = logging.getLogger(__name__)
RAW_TYPE: Final = "application/vnd.ipld.raw"
CAR_TYPE: Final = "application/vnd.ipld.car"
MAX_TICKET_CHARS: Final = 8192
SEND_S: Final = 120.0
"""How long a client may take for one block: who takes longer keeps others from their turn."""
_NO_LINGER: Final = struct.pack("ii", 1, 0)
_PROBE: Final = "bafkqaaa"
"""The empty block inside its own name, by which gateways are tried out."""
_FORMATS: Final = {"raw": RAW_TYPE, "car": CAR_TYPE}
_FOREVER: Final = "public, max-age=29030400, immutable"
_FOR_THE_CALLER: Final = "private, max-age=29030400, immutable"

Admit = Callable[[str, Cid], bool]
"""(ticket or "", block) -> whether everybody may have it; raises Unauthenticated or PermissionRefused if not even the
holder of this ticket may."""


class Counters:
    """What a gateway has sent and refused."""

    def __init__(self) -> None:
        self.blocks = 0
        self.sent_bytes = 0
        self.refused = 0


class Gateway:
    """Answers requests for blocks.

    Args:
        source: where the blocks are.
        admit: who may have which block.
        limit: requests answered at once; others wait.
    """

    def __init__(self, source: BlockSource, admit: Admit, *, limit: int = 64) -> None:
        self._source, self._admit = source, admit
        self._turns = asyncio.Semaphore(limit)
        self.counters = Counters()

    def application(self) -> web.Application:
        """Return it as an aiohttp application."""
        from aiohttp import web

        application = web.Application(client_max_size=1024)
        application.router.add_get("/ipfs/{cid}", self._answer)
        application.router.add_get("/ipfs/{cid}/{path:.*}", self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        try:
            async with self._turns:
                return await self._respond(request)
        except ConnectionError as error:
            # Whoever fetches takes requests back by hanging up: nothing is wrong, and nobody is left to be told.
            log.debug("a client went away: %s", error)
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        except FarlaneError as error:
            self.counters.refused += 1
            headers = {"WWW-Authenticate": "Bearer"} if error.http_status == 401 else {}
            return web.Response(status=error.http_status, text=error.message, headers=headers)

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        kind = _wanted(request)
        if request.match_info["cid"] == _PROBE:
            return web.Response(body=b"", content_type=RAW_TYPE)
        ticket = _ticket(request)
        root = parse_cid(request.match_info["cid"])
        loop = asyncio.get_running_loop()
        # Before anything is read: whoever may not have the root learns nothing of what is here.
        public = self._admit(ticket, root)
        way: list[Cid] = []
        target = root
        if path := request.match_info.get("path", ""):
            way, target = await loop.run_in_executor(None, resolve, self._source, root, path)
            public = self._admit(ticket, target) and public
        if kind == RAW_TYPE:
            return await self._send_raw(request, target, public)
        return await self._send_car(request, ticket, way, target, public)

    async def _send_raw(self, request: web.Request, cid: Cid, public: bool) -> web.StreamResponse:
        from aiohttp import web

        etag = f'"{cid.text}.raw"'
        headers = _headers(request, cid, public, etag, f"{cid.text}.bin")
        if request.headers.get("If-None-Match") in (etag, f"W/{etag}", "*"):
            return web.Response(status=304, headers=headers)
        place = self._source.locate(cid)
        if request.method == "HEAD":
            headers["Content-Length"] = str(place.length if place else self._source.size(cid))
            return web.Response(headers=headers, content_type=RAW_TYPE)
        self.counters.blocks += 1
        if place is None:
            data = await asyncio.get_running_loop().run_in_executor(None, self._source.get, cid)
            self.counters.sent_bytes += len(data)
            return web.Response(body=data, headers=headers, content_type=RAW_TYPE)
        response = web.StreamResponse(headers=headers)
        response.content_type = RAW_TYPE
        response.content_length = place.length
        with self._opened(cid, place) as (file, offset):
            await response.prepare(request)
            self.counters.sent_bytes += place.length  # now: the client may have it all before this goes on
            if place.length:  # the loop's sendfile refuses to send nothing
                await _send_file(request, file, offset, place.length)
        await response.write_eof()
        return response

    @contextmanager
    def _opened(self, cid: Cid, place: Location) -> Iterator[tuple[BinaryIO, int]]:
        """Open the file in which a block lies; it moves when the file that it is of has become whole."""
        try:
            file = place.path.open("rb")
        except FileNotFoundError:
            moved = self._source.locate(cid)
            if moved is None or not moved.path.exists():
                raise NotFound(f"block {cid} has just gone from here", cid=cid.text) from None
            place, file = moved, moved.path.open("rb")
        with file:
            yield file, place.offset

    async def _send_car(
        self, request: web.Request, ticket: str, way: list[Cid], target: Cid, public: bool
    ) -> web.StreamResponse:
        from aiohttp import web

        scope = _scope(request)
        etag = f'W/"{target.text}.car.{scope.value}"'
        headers = _headers(request, target, public, etag, f"{target.text}.car")
        response = web.StreamResponse(headers=headers)
        response.headers["Content-Type"] = f"{CAR_TYPE}; version=1; order=dfs; dups=n"
        if request.method == "HEAD":
            return response
        loop = asyncio.get_running_loop()
        # The first block before any header: what is not here is a 404, not a CAR that breaks off.
        await loop.run_in_executor(None, self._source.get, target)
        sections = pieces([target], self._blocks(ticket, way, target, scope))
        await response.prepare(request)
        while (section := await loop.run_in_executor(None, next, sections, None)) is not None:
            async with _sending(request.transport):
                await response.write(section)
        await response.write_eof()
        return response

    def _blocks(self, ticket: str, way: list[Cid], target: Cid, scope: Scope) -> Iterator[tuple[Cid, bytes]]:
        for cid, block in chain(((one, None) for one in way), in_scope(self._source, target, scope)):
            self._admit(ticket, cid)
            data = self._source.get(cid) if block is None else block
            self.counters.blocks += 1
            self.counters.sent_bytes += len(data)
            yield cid, data


async def _send_file(request: web.Request, file: BinaryIO, offset: int, length: int) -> None:
    loop = asyncio.get_running_loop()
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client went away")
    async with _sending(transport):
        await loop.sendfile(transport, file, offset, length)


@asynccontextmanager
async def _sending(transport: asyncio.BaseTransport | None) -> AsyncIterator[None]:
    """Send a block inside the block; a client that does not take it is cut off."""
    try:
        async with asyncio.timeout(SEND_S):
            yield
    except TimeoutError:
        if isinstance(transport, asyncio.Transport):
            # At once: else it would go on in its own time, and the kernel hold what is unsent.
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            transport.abort()
        raise ConnectionResetError("the client takes no bytes") from None


def _wanted(request: web.Request) -> str:
    """Return the type of answer that is asked for: `format` goes before the header.

    Raises:
        InvalidInput: neither asks for one of ours.
    """
    asked = request.query.get("format")
    if asked is not None:
        if asked not in _FORMATS:
            raise InvalidInput(f"format={asked[:40]!r} is not given here; expected raw or car")
        return _FORMATS[asked]
    accepted = request.headers.get("Accept", "")[:1024]
    for kind in (RAW_TYPE, CAR_TYPE):
        if kind in accepted:
            return kind
    raise InvalidInput(
        "this gateway gives blocks that the caller verifies, not files: ask with ?format=raw or ?format=car, or with "
        f"Accept: {RAW_TYPE} or {CAR_TYPE}"
    )


def _scope(request: web.Request) -> Scope:
    asked = request.query.get("dag-scope", Scope.ALL.value)
    try:
        return Scope(asked)
    except ValueError as error:
        raise InvalidInput(f"dag-scope={asked[:40]!r}; expected block, entity or all") from error


def _ticket(request: web.Request) -> str:
    kind, _, ticket = request.headers.get("Authorization", "").partition(" ")
    if len(ticket) > MAX_TICKET_CHARS:
        raise InvalidInput(f"a ticket of {len(ticket)} characters; expected at most {MAX_TICKET_CHARS}")
    return ticket.strip() if kind.lower() == "bearer" else ""


def _headers(request: web.Request, cid: Cid, public: bool, etag: str, name: str) -> dict[str, str]:
    return {
        "Cache-Control": _FOREVER if public else _FOR_THE_CALLER,
        "Etag": etag,
        "X-Ipfs-Path": request.path,
        "X-Ipfs-Roots": cid.text,
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f'attachment; filename="{name}"',
        "Vary": "Accept",
    }
