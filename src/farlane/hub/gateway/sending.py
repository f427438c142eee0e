"""Whole answers on their way out: counted among the bodies that are held, and given up when nobody reads them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from farlane.hub.gateway.bodies import holding
from farlane.hub.gateway.gateway import Gateway

if TYPE_CHECKING:
    from aiohttp.web import Request, Response

LEAST_BYTES_S = 256 << 10
"""A client that reads less than so much in a second, beyond the time to write a piece, is given up."""


async def send_whole(gateway: Gateway, request: Request, response: Response) -> None:
    """Send an answer to its end, or give its client up.

    Raises:
        Exhausted: other bodies fill the gateway's memory; nothing has been sent.
    """
    size = len(response.body) if isinstance(response.body, bytes) else 0
    with holding(gateway.bodies, size):
        try:
            async with asyncio.timeout(gateway.settings.write_timeout_s + size / LEAST_BYTES_S):
                await response.prepare(request)
                await response.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # the client went away: nobody is left to be told
