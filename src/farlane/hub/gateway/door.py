"""What every HTTP route begins with: who calls, under which id, and a body within its caps."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from uuid import uuid4

from farlane.errors import TooLarge
from farlane.hub.gateway.access import Access
from farlane.hub.gateway.bodies import Unpacker, held
from farlane.hub.gateway.gateway import Gateway
from farlane.hub.gateway.port import Caller

if TYPE_CHECKING:
    from aiohttp.web import Request, RequestKey

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
REQUEST_ID = "X-Request-Id"


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body, unpacked, and how many bytes of it arrived."""

    data: bytes
    arrived: int


class Door:
    """Lets requests in.

    Args:
        gateway: its limits hold.
        access: knows the callers.
    """

    def __init__(self, gateway: Gateway, access: Access) -> None:
        self.gateway, self._access = gateway, access

    def caller(self, request: Request) -> Caller:
        """Return who calls.

        Raises:
            Unauthenticated: no proof of it.
            PermissionRefused: no client.
        """
        return self._access.caller(request.headers.getall("Authorization", []))

    def require_owner(self, request: Request, what: str) -> None:
        """Let only the hub's owner in; see `Access.require_owner`."""
        self._access.require_owner(request.headers.getall("Authorization", []), what)

    @asynccontextmanager
    async def body(self, request: Request, caller: Caller) -> AsyncIterator[Body]:
        """Read a body, and hold one of the caller's places and its memory during a block.

        Raises:
            Exhausted: too many requests, or bytes of them, at the same time.
            TooLarge: the body is, packed or unpacked.
            InvalidInput: it is not of its encoding.
            DeadlineExceeded: it does not arrive.
        """
        settings = self.gateway.settings
        with self.gateway.concurrency.slot(caller.organisation), held(self.gateway.bodies) as body:
            if (request.content_length or 0) > settings.body_bytes:
                raise TooLarge(
                    f"the body has {request.content_length} bytes; this gateway takes {settings.body_bytes}"
                )
            unpacker = Unpacker(
                request.headers.get("Content-Encoding", "").strip().lower(), settings.body_bytes
            )
            data = await body.read(request.content.iter_any(), unpacker, settings.read_timeout_s)
            yield Body(data, body.arrived)


@cache
def _key() -> RequestKey[str]:
    from aiohttp.web import RequestKey

    return RequestKey("request id", str)


def name_request(request: Request) -> None:
    """Give a request the id that its client gave it, where that can stand in logs, else a new one."""
    given = request.headers.get(REQUEST_ID, "")
    request[_key()] = given if _ID.fullmatch(given) else uuid4().hex


def request_id(request: Request) -> str:
    """Return a request's id."""
    return request[_key()]
