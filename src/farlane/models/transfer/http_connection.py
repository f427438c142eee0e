"""One HTTP/1.1 connection to a gateway, for threads: blocks are received straight into one buffer, nothing copied."""

from __future__ import annotations

import contextlib
import re
import socket
from typing import Final

from farlane.errors import (
    ConnectionLost,
    Corrupted,
    FarlaneError,
    InvalidInput,
    NotFound,
    PermissionRefused,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from farlane.models.blocks.port import MAX_BLOCK_BYTES
from farlane.models.cid import Cid

CONNECT_S: Final = 5.0
SILENCE_S: Final = 60.0
"""How long a server may say nothing; the session gives up on it much earlier."""
MAX_HEAD_BYTES: Final = 16 << 10
MAX_MESSAGE_BYTES: Final = 4096
"""Of a refusal, the rest is not read."""
_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_END: Final = b"\r\n\r\n"
_REFUSALS: Final[dict[int, type[FarlaneError]]] = {
    401: Unauthenticated,
    403: PermissionRefused,
    404: NotFound,
    410: NotFound,
}


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT, an IPv6 address in brackets.

    Raises:
        InvalidInput: it is something else.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or not 0 < int(found[2]) < 65536:
        raise InvalidInput(
            f"{text[:80]!r} is no address of a block server; expected HOST:PORT such as 10.0.0.7:4001"
        )
    return found[1].strip("[]"), int(found[2])


class HttpConnection:
    """A connection that is opened when it is first needed, and again after it broke. Used by one thread at a time.

    Args:
        address: HOST:PORT.
        ticket: shown with each request; empty for none.
    """

    def __init__(self, address: str, ticket: str = "") -> None:
        self._host, self._port = parse_address(address)
        self._address, self.ticket = address, ticket
        self._socket: socket.socket | None = None
        self._buffer = bytearray(MAX_BLOCK_BYTES)
        self.closed = False
        """Whether `close` was called."""

    def fetch(self, cid: Cid) -> memoryview:
        """Return a block's bytes, unverified; they stay until the next fetch.

        Raises:
            NotFound, PermissionRefused, Unauthenticated: as the server says.
            Corrupted: it speaks something else than HTTP, or sends more than a block may have.
            Unavailable: it cannot be reached, or went away in between.
        """
        fresh = self._socket is None
        try:
            return self._fetch(cid)
        except ConnectionLost:
            self._drop()
            if fresh or self.closed:
                raise
        # A server may close a connection that was idle at the very moment it is used again.
        return self._fetch(cid)

    def close(self) -> None:
        """Close it, from any thread: a fetch under way ends with an error."""
        self.closed = True
        self._drop()

    def _fetch(self, cid: Cid) -> memoryview:
        try:
            connection = self._connected()
            connection.sendall(self._request(cid))
            return self._answer(connection)
        except OSError as error:
            self._drop()
            raise ConnectionLost(f"block server {self._address}: {error}", address=self._address) from error
        except Corrupted:
            self._drop()
            raise

    def _connected(self) -> socket.socket:
        self._check_open()
        if self._socket is None:
            try:
                self._socket = socket.create_connection((self._host, self._port), timeout=CONNECT_S)
            except OSError as error:
                raise Unavailable(f"block server {self._address} cannot be reached: {error}") from error
            self._socket.settimeout(SILENCE_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._check_open()  # again: it may have been closed while it was being connected
        return self._socket

    def _request(self, cid: Cid) -> bytes:
        head = f"GET /ipfs/{cid.text}?format=raw HTTP/1.1\r\nHost: {self._address}\r\n"
        if self.ticket:
            head += f"Authorization: Bearer {self.ticket}\r\n"
        return (head + "\r\n").encode()

    def _answer(self, connection: socket.socket) -> memoryview:
        view = memoryview(self._buffer)
        status, size, body = self._read_head(connection)
        got = len(body)
        if status != 200:
            raise self._refusal(connection, status, size, body)
        if size > MAX_BLOCK_BYTES or got > size:
            raise Corrupted(f"block server {self._address} sends {max(size, got)} bytes as one block; "
                            f"at most {MAX_BLOCK_BYTES} are one")  # fmt: skip
        view[:got] = body
        while got < size:
            count = connection.recv_into(view[got:size])
            if not count:
                raise ConnectionLost(
                    f"block server {self._address} went away in mid-block", address=self._address
                )
            got += count
        return view[:size]

    def _read_head(self, connection: socket.socket) -> tuple[int, int, bytes]:
        """Return status, length of the body and what of it came with the head."""
        received = bytearray()
        while (end := received.find(_END)) < 0:
            if len(received) > MAX_HEAD_BYTES:
                raise Corrupted(f"block server {self._address} sends headers without end")
            data = connection.recv(MAX_HEAD_BYTES)
            if not data:
                raise ConnectionLost(
                    f"block server {self._address} closed the connection", address=self._address
                )
            received += data
        lines = bytes(received[:end]).split(b"\r\n")
        words = lines[0].split(b" ", 2)
        sizes = [
            line.split(b":", 1)[1].strip() for line in lines[1:] if line[:15].lower() == b"content-length:"
        ]
        if len(words) < 2 or words[0] != b"HTTP/1.1" or not words[1].isdigit() or len(sizes) != 1:
            raise Corrupted(f"what answers at {self._address} is no block server: {bytes(lines[0][:80])!r}")
        if not sizes[0].isdigit() or len(sizes[0]) > 12:
            raise Corrupted(
                f"block server {self._address} announces a body of {bytes(sizes[0][:40])!r} bytes"
            )
        return int(words[1]), int(sizes[0]), bytes(received[end + len(_END) :])

    def _refusal(self, connection: socket.socket, status: int, size: int, body: bytes) -> FarlaneError:
        if size > MAX_MESSAGE_BYTES:
            self._drop()
        else:
            while len(body) < size and (data := connection.recv(size - len(body))):
                body += data
        kind = _REFUSALS.get(status, TooLarge if status == 413 else Unavailable)
        text = body[:MAX_MESSAGE_BYTES].decode(errors="replace").strip() or "no reason given"
        return kind(f"block server {self._address} answered {status}: {text[:500]}", address=self._address)

    def _check_open(self) -> None:
        if self.closed:
            self._drop()
            raise ConnectionLost(f"the connection to block server {self._address} was closed on this side")

    def _drop(self) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that receives
            connection.close()
