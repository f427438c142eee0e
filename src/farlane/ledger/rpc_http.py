"""JSON-RPC over HTTP: one POST per document, the size of the answer capped, the URL kept to itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from farlane.errors import ChainUnavailable, InvalidInput

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

MAX_ANSWER_BYTES = 64 * 1024 * 1024
CONNECT_TIMEOUT_S = 10.0


def endpoint_name(url: str) -> str:
    """Return scheme, host and port of a URL: what may stand in a message. Paths and queries hold API keys.

    Raises:
        InvalidInput: it is not an http(s) URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInput("the chain's URL cannot be read; expected http(s)://HOST:PORT/...") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(
            f"the chain's URL has the scheme {parts.scheme!r}; expected http(s)://HOST:PORT/... (WebSockets are not used)"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


class HttpTransport:
    """Carries JSON-RPC documents to one URL over kept-alive connections.

    Args:
        url: of the endpoint; it may hold a user and password, or a key in its path.
        max_answer_bytes: a longer answer is refused before it is read to its end.
    """

    def __init__(self, url: str, *, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self.name = endpoint_name(url)
        self._url = url
        self._max_answer_bytes = max_answer_bytes
        self._session: ClientSession | None = None

    async def send(self, document: object) -> object:
        """Return the decoded answer to a document.

        Raises:
            ChainUnavailable: no connection, HTTP 5xx, another status without JSON, too long, or not JSON.
        """
        import aiohttp

        session = self._open()
        try:
            # A redirect would carry the request, with its credentials, to a host nobody chose.
            async with session.post(self._url, json=document, allow_redirects=False) as response:
                status, body = response.status, await self._read(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Their texts may hold the URL; the kind of fault is enough.
            reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise ChainUnavailable(
                f"the chain at {self.name} cannot be reached: {reason}; is it running, and is the URL right?",
                endpoint=self.name,
            ) from None
        return self._decoded(status, body)

    async def aclose(self) -> None:
        """Close the connections; the next call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> ClientSession:
        import aiohttp

        if self._session is None or self._session.closed:
            # The deadline of a call is its caller's; this one only bounds a connect to a dead host.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout)
        return self._session

    async def _read(self, response: ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_chunked(1 << 16):
            body += chunk
            if len(body) > self._max_answer_bytes:
                raise ChainUnavailable(
                    f"the chain at {self.name} answered with more than {self._max_answer_bytes} bytes; "
                    "ask for fewer blocks at once",
                    endpoint=self.name,
                )
        return bytes(body)

    def _decoded(self, status: int, body: bytes) -> object:
        answer: object = None
        if status < 500 and status != 429:
            try:
                answer = json.loads(body)
            except (ValueError, RecursionError):
                answer = None
        if isinstance(answer, dict | list):
            return answer
        hint = "check the key or password in its URL" if status in (401, 403) else "try again later"
        raise ChainUnavailable(
            f"the chain at {self.name} did not answer with JSON-RPC (HTTP status {status}); {hint}",
            endpoint=self.name,
            status=status,
        )
