"""Asks a server on a unix socket over HTTP: a call, or a stream of server-sent events that ends when nobody waits."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from farlane.errors import ConnectionLost, Unavailable
from farlane.models.serving.runtime import Cancelled
from farlane.models.serving.runtimes.openai_server import error_of

MAX_ANSWER_BYTES = 512 << 20
"""Largest answer of a call: the tokens of a prompt of 32 MiB, written as numbers."""
MAX_EVENT_BYTES = 4 << 20
"""Longest event of a stream; one is some words and a few hundred bytes around them."""
MAX_ERROR_BYTES = 1 << 20
CALL_S = 60.0
"""How long a call may take."""
LOOK_S = 0.05
"""How often a stream looks whether anybody still waits for it."""
_BROKEN = (OSError, http.client.HTTPException, ValueError)
"""What reading raises when the other end is gone, or the socket was closed underneath."""


class OpenAIClient:
    """Asks one server; any number of threads may at once, each request has a connection of its own.

    Args:
        path: the server's socket.
        server: its name, for errors.
        key: shown with every request.
    """

    def __init__(self, path: Path, server: str, key: str = "") -> None:
        self._server, self._key = server, key
        self.path = path
        """The server's socket."""

    def healthy(self) -> bool:
        """Tell whether the server answers and says that it is well."""
        with _UnixConnection(self.path, CALL_S) as connection:
            try:
                connection.request("GET", "/health")
                return connection.getresponse().status == 200
            except _BROKEN:
                return False

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON that the server answers.

        Raises:
            ConnectionLost: the server is not there, or went away.
            FarlaneError: what it said instead, see `error_of`.
        """
        with _UnixConnection(self.path, CALL_S) as connection:
            try:
                self._send(connection, method, path, body)
                response = connection.getresponse()
                data = response.read(MAX_ANSWER_BYTES + 1)
            except _BROKEN as error:
                raise self._lost() from error
        return self._read(response.status, data)

    def stream(self, path: str, body: dict[str, Any], cancelled: Cancelled) -> Iterator[dict[str, Any]]:
        """Yield the events of an answer; leaving early, or `cancelled`, closes the connection, which ends it there.

        Args:
            path: what is asked.
            body: the question.
            cancelled: asked every `LOOK_S`; True ends the events at once.

        Raises:
            ConnectionLost: the server is not there, or went away before the answer was whole.
            FarlaneError: what it said instead, see `error_of`.
        """
        with _UnixConnection(self.path, None) as connection, _looking(connection, cancelled):
            try:
                self._send(connection, "POST", path, body)
                response = connection.getresponse()
                if response.status != 200:
                    self._read(response.status, response.read(MAX_ERROR_BYTES))
                yield from self._events(response)
            except _BROKEN as error:
                if not cancelled():
                    raise self._lost() from error

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: dict[str, Any] | None
    ) -> None:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"}
        connection.request(method, path, data, headers)

    def _events(self, response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
        """Read lines `data: {...}` up to `data: [DONE]`; comments and blank lines are between them."""
        while (line := response.readline(MAX_EVENT_BYTES + 1)).endswith(b"\n"):
            if not line.startswith(b"data:"):
                continue
            data = line.removeprefix(b"data:").strip()
            if data == b"[DONE]":
                return
            yield self._json(data)
        if len(line) > MAX_EVENT_BYTES:
            raise Unavailable(f"{self._server} sent an event of more than {MAX_EVENT_BYTES} bytes")
        raise http.client.IncompleteRead(line)

    def _read(self, status: int, data: bytes) -> dict[str, Any]:
        if len(data) > MAX_ANSWER_BYTES:
            raise Unavailable(f"{self._server} answered with more than {MAX_ANSWER_BYTES} bytes")
        if status == 200:
            return self._json(data)
        try:
            said = json.loads(data)
        except ValueError:
            said = data.decode("utf-8", "replace") or f"HTTP {status}"
        raise error_of(self._server, said, status)

    def _json(self, data: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(data)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Unavailable(f"{self._server} answered with something else than a JSON object")
        return answer

    def _lost(self) -> ConnectionLost:
        return ConnectionLost(
            f"{self._server} went away before its answer was whole; the replica's log has its last words"
        )


class _UnixConnection(http.client.HTTPConnection):
    """A connection over a unix socket; `hang_up` may come from another thread."""

    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def connect(self) -> None:
        """Connect to the path."""
        self._socket.settimeout(self.timeout)
        self._socket.connect(self._path)
        self.sock = self._socket

    def hang_up(self) -> None:
        """End reads and writes that wait, here and at the server."""
        with contextlib.suppress(OSError):  # not connected yet, or not any more
            self._socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        self.close()
        self._socket.close()


@contextlib.contextmanager
def _looking(connection: _UnixConnection, cancelled: Cancelled) -> Iterator[None]:
    """Hang up as soon as nobody waits any more, whatever the block is doing then."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_S):
            if cancelled():
                connection.hang_up()  # and again: the first may come before the socket connects

    thread = threading.Thread(target=look, name="cancellation", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
