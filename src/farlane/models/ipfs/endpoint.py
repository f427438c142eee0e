"""One HTTP server by its URL: requests with a deadline and a cap, without redirects, over connections kept open."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import ssl
import time
import urllib.parse
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from farlane.errors import ConnectionLost, DeadlineExceeded, InvalidInput, TooLarge, Unavailable

TIMEOUT_S: Final = 60.0
PIECE_BYTES: Final = 1 << 20
MAX_ERROR_BYTES: Final = 64 << 10
"""Of what a server says when it refuses; the rest is not read."""
MAX_IDLE: Final = 8
"""Connections kept open to one server."""
_READING: Final = ("GET", "HEAD")

Body = bytes | Iterable[bytes]


@dataclass(frozen=True)
class Answer:
    """What a server answered, read completely."""

    status: int
    """HTTP status."""
    body: bytes
    """At most the cap of the request; of a refusal, at most `MAX_ERROR_BYTES`."""
    headers: Mapping[str, str]
    """Names in lower case."""


class Endpoint:
    """An HTTP server; may be used from any thread, with one connection for each request under way.

    Reading requests (GET, HEAD) go over connections that earlier ones left open, if there are any.

    Args:
        url: `http://` or `https://`, a host, perhaps a port and a path that all requests begin with.
        timeout_s: how long one request may take as a whole, unless it says otherwise.

    Raises:
        InvalidInput: if `url` is anything else, or names a user or password.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._secure, self._host, self._port, self._path = _parts(url)
        self._timeout_s = timeout_s
        self._idle: deque[http.client.HTTPConnection] = deque()
        weakref.finalize(self, _close_all, self._idle)

    @property
    def place(self) -> str:
        """How messages call the server: scheme, host and port."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._secure else 'http'}://{host}:{self._port}"

    @property
    def is_private_way(self) -> bool:
        """Whether nobody between here and the server can read a secret: TLS, or this machine itself."""
        return self._secure or is_loopback(self._host)

    def ask(
        self,
        method: str,
        path: str,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Send one request and read its answer; what a redirect points to is never asked.

        Args:
            method: of HTTP.
            path: with its query, below the endpoint's own path.
            max_bytes: the longest answer that is taken.
            headers: to send.
            body: to send; pieces go out as they come.
            timeout_s: for this request as a whole; the sending of pieces counts only while one is being written.

        Raises:
            Unavailable: no connection.
            ConnectionLost: it broke in mid-answer, or the answer is no HTTP.
            DeadlineExceeded: not complete in time.
            TooLarge: the answer is longer than `max_bytes`.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        request = (method, path, dict(headers or {}), body)
        reading = method in _READING and body is None
        if reading and (kept := self._kept(limit_s)) is not None:
            # A server may close a connection that was idle at the very moment it is used again.
            with contextlib.suppress(ConnectionLost):
                return self._exchange(kept, request, max_bytes, limit_s, keep=True)
        return self._exchange(self._connection(limit_s), request, max_bytes, limit_s, keep=reading)

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        request: tuple[str, str, dict[str, str], Body | None],
        max_bytes: int,
        limit_s: float,
        *,
        keep: bool,
    ) -> Answer:
        with contextlib.ExitStack() as stack, self._troubles(limit_s):
            stack.callback(connection.close)
            response = self._response(connection, *request)
            cap = max_bytes if response.status < 300 else min(max_bytes, MAX_ERROR_BYTES)
            # Where the server closes after its answer, the connection lets go of the socket, and only this closes it.
            with contextlib.closing(response):
                data = self._read(connection, response, cap, time.monotonic() + limit_s)
                whole = (response.isclosed() or response.length == 0) and not response.will_close
            if keep and whole and connection.sock is not None and len(self._idle) < MAX_IDLE:
                stack.pop_all()
                self._idle.append(connection)
            return Answer(
                response.status, data, {name.lower(): value for name, value in response.getheaders()}
            )

    def _kept(self, timeout_s: float) -> http.client.HTTPConnection | None:
        """Return a connection that an earlier request left open, None where there is none."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return None
        connection.sock.settimeout(timeout_s)
        return connection

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)

    def _response(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        headers: dict[str, str],
        body: Body | None,
    ) -> http.client.HTTPResponse:
        try:
            if connection.sock is None:
                connection.connect()
        except TimeoutError:
            raise
        except OSError as error:
            raise Unavailable(
                f"nothing answers at {self.place} ({error}): is a kubo or gateway running "
                "there, and is the address right?"
            ) from error
        # A server that refuses early closes while the rest is still being sent; its answer says why.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if body is None or isinstance(body, bytes):
                connection.request(method, self._path + path, body=body, headers=headers)
            else:
                headers["Transfer-Encoding"] = "chunked"
                connection.request(method, self._path + path, body=body, headers=headers, encode_chunked=True)
        return connection.getresponse()

    def _read(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        cap: int,
        end: float,
    ) -> bytes:
        refused = response.status >= 300
        if not refused and (response.length or 0) > cap:
            raise self._too_large(cap)
        pieces, size = [], 0
        while True:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if connection.sock is not None:  # None once the server said that it closes
                connection.sock.settimeout(left)
            # One read of the socket at a time, so that a trickle of bytes does not outlive the deadline.
            piece = response.read1(min(PIECE_BYTES, cap - size + 1))
            pieces.append(piece)
            size += len(piece)
            if size > cap:
                if refused:
                    return b"".join(pieces)[:cap]
                raise self._too_large(cap)
            if not piece:
                if response.length:
                    raise http.client.IncompleteRead(b"", response.length)
                return b"".join(pieces)

    def _too_large(self, cap: int) -> TooLarge:
        return TooLarge(f"{self.place} answers with more than the {cap} bytes that were expected", limit=cap)

    @contextlib.contextmanager
    def _troubles(self, limit_s: float) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise DeadlineExceeded(f"{self.place} does not answer within {limit_s:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise ConnectionLost(f"the connection to {self.place} broke: {reason}") from error


def _close_all(connections: deque[http.client.HTTPConnection]) -> None:
    while connections:
        connections.pop().close()


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _parts(url: str) -> tuple[bool, str, int, str]:
    expected = "expected one like http://127.0.0.1:5001"
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInput(f"that is no URL of a server ({error}): {expected}") from error
    if parts.username is not None or parts.password is not None:
        raise InvalidInput(
            f"the URL of a server carries a user or password, which ends up in logs: {expected}"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(f"{url[:200]!r} is no URL of a server: {expected}")
    if parts.query or parts.fragment or any(character <= " " for character in url):
        raise InvalidInput(f"{url[:200]!r} has a query, a fragment or spaces: {expected}")
    secure = parts.scheme == "https"
    return secure, parts.hostname, port or (443 if secure else 80), parts.path.rstrip("/")
