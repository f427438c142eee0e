"""Bytes that rot on the hub's disk: the task fails with the network to blame, and a clear message."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from farlane import App
from farlane.app.layout import Layout
from farlane.app.network import NodePlan, down, up
from farlane.errors import TaskError
from farlane.kit.cid import cid_of
from farlane.sdk.context import read_client_file
from farlane.sdk.facade import Client
from farlane.sdk.pickling import pickle_call


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "network"
    up(root, [NodePlan("one", {"cpu": "1", "memory": "1GiB"})], port=0)
    try:
        yield root
    finally:
        down(root)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def test_a_corrupted_payload_is_never_run(network: Path) -> None:
    endpoint = read_client_file(network)
    with Client(endpoint.url, endpoint.token) as client:

        def size(data: bytes) -> int:
            return len(data)

        measure = App("rot", client).function(memory="200MB", disk="50MB", timeout=20)(size)
        assert measure.remote(b"good") == 4
        data = os.urandom(300_000)
        payload = pickle_call((data,), {})
        ref = client.put_bytes(payload)
        assert ref.cid == cid_of(payload)
        (stored,) = [path for path in Layout(network).blobs.rglob(f"*{ref.cid}*") if path.is_file()]
        flip_a_bit(stored)
        with pytest.raises(TaskError, match=ref.cid) as caught:
            measure.spawn(data).result(timeout=60)
        assert caught.value.facts["failure"] == "blob"
        assert caught.value.facts["blame"] == "network"
        assert measure.remote(b"still") == 5
