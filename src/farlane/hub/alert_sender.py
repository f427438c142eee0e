"""The alert sender: POSTs alerts to a webhook, one after the other, again and again until it takes them."""

from __future__ import annotations

import asyncio
import logging
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from farlane.errors import InvalidSetting
from farlane.hub.alert_outbox import AlertOutbox, Payload
from farlane.kit.backoff import Backoff

if TYPE_CHECKING:
    from aiohttp import ClientSession

TIMEOUT_S = 10.0
BACKOFF = Backoff(1.0, 300.0)
log = logging.getLogger(__name__)


class AlertSender:
    """Delivers what waits in an outbox at least once, in order.

    Args:
        outbox: whose.
        url: of the webhook; a key in it is never shown.
        backoff: between tries.
        random: of its delays.

    Raises:
        InvalidSetting: it is not an http or https URL.
    """

    def __init__(
        self, outbox: AlertOutbox, url: str, *, backoff: Backoff = BACKOFF, random: Random | None = None
    ) -> None:
        self._outbox, self._url, self._backoff = outbox, url, backoff
        self._random = random or Random()
        self._place = _place(url)

    async def run(self) -> None:
        """Deliver until cancelled."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                while self._outbox.waiting:
                    await self._deliver(session, self._outbox.waiting[0])
                self._outbox.arrived.clear()
                await self._outbox.arrived.wait()

    async def _deliver(self, session: ClientSession, payload: Payload) -> None:
        for delay_s in self._backoff.delays(self._random):  # pragma: no branch - it never ends
            problem = await self._post(session, payload)
            if problem is None:
                self._outbox.taken(payload)
                return
            self._outbox.failures += 1
            log.warning("the webhook at %s does not take an alert: %s; trying again", self._place, problem)
            await asyncio.sleep(delay_s)

    async def _post(self, session: ClientSession, payload: Payload) -> str | None:
        """Return why it was not taken, None when it was."""
        import aiohttp

        try:
            # A redirect would carry figures to a host nobody chose.
            async with session.post(self._url, json=payload, allow_redirects=False) as response:
                return None if 200 <= response.status < 300 else f"it answers HTTP {response.status}"
        except TimeoutError:
            return f"no answer within {TIMEOUT_S:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return type(error).__name__  # its text may hold the URL


def _place(url: str) -> str:
    """Return host and port of a URL: what may stand in a log."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidSetting("hub.alert_url is not a URL; expected http://host:port or https://host/path")
    return f"{host}:{port}" if port else host
