"""One of two nodes leaves while its model is asked over HTTP: nobody is refused, and nothing is killed."""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from importlib.resources import as_file, files
from typing import Any

import pytest

pytest.importorskip("xllamacpp", reason="llama.cpp is missing: `pip install farlane[serve]`")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
SIZE = ("--memory", "400MB", "--cpu", "0.5")


class Asker(threading.Thread):
    """Asks a served model again and again until it is told to stop."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        token = json.loads((network.directory / "client.json").read_text())["token"]
        port = json.loads((network.directory / "hub" / "ready.json").read_text())["gateway_port"]
        self._request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/completions",
            json.dumps({"model": "lab/tiny", "prompt": "It is a truth", "max_tokens": 4}).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        self._stopping = threading.Event()
        self.answers = 0
        self.failure = ""

    def run(self) -> None:
        while not self._stopping.is_set() and not self.failure:
            try:
                with urllib.request.urlopen(self._request, timeout=60) as reply:
                    json.load(reply)
            except OSError as error:
                self.failure = str(error)
            else:
                self.answers += 1

    def stop(self) -> None:
        self._stopping.set()
        self.join()


def test_a_node_leaves_under_load_and_no_request_fails(
    new_network: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    network = new_network(
        "--node", "name=oak,cpu=1,memory=512MB", "--node", "name=elm,cpu=1,memory=512MB,core_hour=0.05"
    )
    with as_file(files("farlane.demo") / "models" / "novelist") as folder:
        network.cli("models", "add", str(folder), "lab/tiny", "--tag", "champion")
    network.cli("serve", "-y", "lab/tiny@champion", *SIZE)
    (row,) = network.cli("deployments", "--json").json
    (first,) = [each["node"] for each in row["replicas"]]
    with load(network) as askers:
        network.cli("drain", first)
        eventually(lambda: first not in connected(network), 60)
        before = [asker.answers for asker in askers]
        eventually(
            lambda: all(asker.answers > was + 2 for asker, was in zip(askers, before, strict=True)), 30
        )
    assert [asker.failure for asker in askers] == ["", ""]
    (row,) = network.cli("deployments", "--json").json
    assert row["failed"] == 0
    assert [each["node"] for each in row["replicas"]] != [first]


def connected(network: Any) -> list[str]:
    """Return the names of the nodes that are there."""
    return [
        each["spec"]["name"] for each in network.cli("nodes", "--json").json if each["state"] != "offline"
    ]


@contextlib.contextmanager
def load(network: Any) -> Iterator[list[Asker]]:
    """Ask without a pause inside the block."""
    askers = [Asker(network) for _ in range(2)]
    for asker in askers:
        asker.start()
    try:
        yield askers
    finally:
        for asker in askers:
            asker.stop()
