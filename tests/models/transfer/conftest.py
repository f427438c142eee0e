"""A store with one file, and servers on loopback that give its blocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from farlane.models.blocks.port import BlockSource
from farlane.models.transfer.block_server import BlockServer
from farlane.models.transfer.gateway import Admit
from farlane.testing.block_serving import Kept, Serve, everybody, keep_file


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return keep_file(tmp_path / "model.bin")


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[BlockServer] = []

    def start(source: BlockSource, admit: Admit = everybody) -> BlockServer:
        servers.append(BlockServer("127.0.0.1:0", source, admit))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
