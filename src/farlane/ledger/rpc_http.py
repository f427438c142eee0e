"""JSON-RPC over HTTP: one POST per document, the size of the answer capped, the URL kept to itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from farlane.errors import ChainUnavailable, InvalidSetting

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

MAX_ANSWER_BYTES = 64 << 20
CONNECT_TIMEOUT_S = 10.0
_TRY_LATER = (401, 403, 404, 429)


class HttpTransport:
    """Carries JSON-RPC documents to one URL over kept-alive connections.

    Args:
        url: of the endpoint; it may hold a user and password, or a key in its path: neither is ever shown.
        max_answer_bytes: a longer answer is refused before it is read to its end.

    Raises:
        InvalidSetting: it is not an http or https URL.
    """

    def __init__(self, url: str, *, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self.place = endpoint_place(url)
        self._url = url
        self._max_answer_bytes = max_answer_bytes
        self._session: ClientSession | None = None

    async def post(self, document: Any) -> Any:
        """Return the decoded answer to a request or a batch.

        Raises:
            ChainUnavailable: no connection, HTTP 5xx and the like, too long, or not JSON.
        """
        import aiohttp

        session = self._open()
        try:
            # A redirect would carry the request, and its credentials, to a host nobody chose.
            async with session.post(self._url, json=document, allow_redirects=False) as response:
                status, body = response.status, await self._body(response)
        except TimeoutError:
            raise ChainUnavailable(f"the chain's endpoint at {self.place} does not answer") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # The error's own text may hold the URL, its cause too: the kind of fault must do.
            kind = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise ChainUnavailable(
                f"the chain's endpoint at {self.place} cannot be reached: {kind}; is it running?"
            ) from None
        return self._decoded(status, body)

    async def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> ClientSession:
        import aiohttp

        if self._session is None or self._session.closed:
            # The deadline of a call is the client's; this one only bounds a connect to a dead host.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout)
        return self._session

    async def _body(self, response: ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_chunked(1 << 16):
            body += chunk
            if len(body) > self._max_answer_bytes:
                raise ChainUnavailable(
                    f"the chain's endpoint at {self.place} sends more than {self._max_answer_bytes} bytes; "
                    "ask for less at once"
                )
        return bytes(body)

    def _decoded(self, status: int, body: bytes) -> Any:
        if status >= 500 or status in _TRY_LATER:
            hint = "check the key or password in its URL" if status in (401, 403) else "trying later may help"
            raise ChainUnavailable(f"the chain's endpoint at {self.place} answers HTTP {status}; {hint}")
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise ChainUnavailable(
                f"{self.place} answers, but not with JSON (HTTP {status}): is it a chain's endpoint?"
            ) from None


def endpoint_place(url: str) -> str:
    """Return host and port of a URL: what may stand in a message. Paths and queries hold API keys.

    Raises:
        InvalidSetting: it is not an http or https URL.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("http", "https") or not host:
        raise InvalidSetting(
            "the chain's endpoint is not a URL; expected http://host:port or https://host/path"
        )
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port}" if port else host
