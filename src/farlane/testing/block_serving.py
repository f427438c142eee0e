"""A store with one file in it, and block servers on loopback, honest and not."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from farlane.models.blocks.describing import describe_file
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.transfer.block_server import BlockServer
from farlane.models.unixfs.describing import Composite, Plain
from farlane.models.unixfs.file_dag import DescribedFile

MIB = 1 << 20

Serve = Callable[..., BlockServer]
"""(source, admit: Admit = everybody) -> a server that the test's end closes."""


class Kept(NamedTuple):
    """A store, the one file in it, and the file's bytes."""

    store: MemoryBlockStore
    file: DescribedFile
    data: bytes


def keep_file(path: Path, blocks: int = 9) -> Kept:
    """Return a store with a file of about so many blocks, cut along four parts of it."""
    data = Random(7).randbytes(blocks * MIB + 12345)
    path.write_bytes(data)
    parts = [4096, 3 * MIB, 2 * MIB + 77, len(data) - 4096 - 5 * MIB - 77]
    described = describe_file(path, [Composite(parts), Plain()])
    store = MemoryBlockStore()
    store.add_file(path, described)
    return Kept(store, described, data)


def everybody(ticket: str, cid: object) -> bool:
    """Admit everybody."""
    return True


class StallingProxy:
    """Stands before a server and stops passing on what it sends once `after_bytes` have gone through.

    Args:
        port: of the server, on loopback.
        after_bytes: let through, over all connections.
        rate: bytes a second let through on each connection; 0 for all there are.
        flip: whether one bit of what goes through is flipped, late in the first block.
    """

    def __init__(
        self, port: int, *, after_bytes: int = 1 << 62, rate: float = 0.0, flip: bool = False
    ) -> None:
        self._target, self._left, self._rate, self._flip = port, after_bytes, rate, flip
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.address = f"127.0.0.1:{self.port}"
        self.connections = 0
        self._closed = False
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End all connections."""
        self._closed = True
        for open_socket in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
            open_socket.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                return
            self.connections += 1
            self._sockets.append(server)
            if self._closed:
                client.close()
                server.close()
                return
            threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, answer: bool) -> None:
        passed = 0
        try:
            while data := source.recv(64 << 10):
                if answer:
                    data = self._let_through(data, passed)
                    passed += len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def _let_through(self, data: bytes, passed: int) -> bytes:
        if self._rate:
            time.sleep(len(data) / self._rate)
        with self._lock:
            taken, self._left = min(len(data), self._left), max(0, self._left - len(data))
        if self._flip and passed > 100_000:
            data = bytes([data[0] ^ 1]) + data[1:]
        return data[:taken]
