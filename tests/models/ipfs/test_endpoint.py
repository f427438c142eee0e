"""Connections to a server are kept while it keeps them, and opened again when it does not."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.cid import RAW, block_cid
from farlane.models.ipfs.endpoint import Endpoint
from farlane.models.ipfs.gateway_source import GatewaySource
from farlane.models.transfer.block_server import BlockServer
from farlane.testing.block_serving import StallingProxy, everybody


@pytest.fixture
def gateway() -> Iterator[tuple[MemoryBlockStore, StallingProxy]]:
    """Something that counts connections, before a gateway."""
    store = MemoryBlockStore()
    server = BlockServer("127.0.0.1:0", store, everybody)
    proxy = StallingProxy(server.port)
    yield store, proxy
    proxy.close()
    server.close()


def test_one_connection_serves_many_blocks_and_what_is_missing(gateway) -> None:
    store, proxy = gateway
    blocks = [b"%d" % number * 1000 for number in range(20)]
    store.put_many((block_cid(RAW, data), data) for data in blocks)
    source = GatewaySource([f"http://{proxy.address}"])
    for data in blocks:
        assert source.get(block_cid(RAW, data)) == data
        assert source.has(block_cid(RAW, data))
        assert not source.has(block_cid(RAW, data + b"!"))
    assert proxy.connections == 1


@contextlib.contextmanager
def closing_server(answers: list[bytes]) -> Iterator[str]:
    """Answer one request on each connection, as if more were welcome, and close it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for body in answers:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    thread = threading.Thread(target=serve)
    thread.start()
    with listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_a_connection_that_the_server_closed_is_opened_again() -> None:
    with closing_server([b"first", b"second"]) as url:
        endpoint = Endpoint(url)
        assert endpoint.ask("GET", "/", max_bytes=100).body == b"first"
        assert endpoint.ask("GET", "/", max_bytes=100).body == b"second"
