"""Models served by nodes that cannot see the hub's repository: fetched from the hub and from one another."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pytest

from farlane.testing.in_clear import in_clear

Shell = Any  # the class is in conftest.py
Eventually = Callable[[Callable[[], bool]], None]

pytest.importorskip("xllamacpp", reason="llama.cpp is missing: `pip install farlane[serve]`")
SIZE = ("--memory", "400MB", "--cpu", "1")


@pytest.fixture
def far(shell_in: type[Shell], tmp_path: Path) -> Iterator[Shell]:
    """A network whose two nodes have no repository of models, and give one another blocks."""
    shell = shell_in(tmp_path, {"FARLANE_NODE_MODELS": str(tmp_path / "nowhere")})
    shape = "cpu=1,memory=512MB,blocks_listen=127.0.0.1:0"
    shell("up", "--port", "0", "--node", f"name=oak,{shape}", "--node", f"name=elm,{shape}")
    yield shell
    shell("down")


@pytest.fixture
def model() -> Iterator[Path]:
    with as_file(files("farlane.demo") / "models" / "novelist") as folder:
        yield folder


def asked(network: Shell, model: str) -> dict[str, Any]:
    token = json.loads((network.directory / "client.json").read_text())["token"]
    port = json.loads((network.directory / "hub" / "ready.json").read_text())["gateway_port"]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions",
        json.dumps({"model": model, "prompt": "It is", "max_tokens": 4, "temperature": 0}).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        answer: dict[str, Any] = json.load(reply)
    return answer


def whole(network: Shell) -> dict[str, set[str]]:
    """Return the versions that each node has whole, by its name."""
    nodes = network.directory / "nodes"
    return {
        name: {path.name for path in (nodes / name / "models" / "whole").iterdir()} for name in ("oak", "elm")
    }


def folders_in_clear(directory: Path, model: Path) -> set[str]:
    """Return the nodes' folders below which some file has what the model's largest file has in its middle."""
    return {"/".join(path.parts[:3]) for path in in_clear(directory, model)}


def test_nodes_that_see_no_repository_serve_private_and_public_models(
    far: Shell, model: Path, eventually: Eventually
) -> None:
    secret = json.loads(far("models", "add", str(model), "lab/secret", "--private", "--json").stdout)["cid"]
    far("models", "share", "lab/secret", "--with-node", "elm")
    far("serve", "-y", "lab/secret", *SIZE)
    assert asked(far, "lab/secret")["usage"]["completion_tokens"] == 4
    held = whole(far)
    assert held["oak"] == set()
    (shared,) = held["elm"]
    assert shared != secret
    assert folders_in_clear(far.directory, model) == {"nodes/elm/opened"}
    far("undeploy", "lab/secret")

    public = json.loads(far("models", "add", str(model), "lab/tiny", "--json").stdout)["cid"]
    far("serve", "-y", "lab/tiny", "--replicas", "2", *SIZE)
    assert asked(far, "lab/tiny")["system_fingerprint"] == public
    eventually(lambda: all(public in versions for versions in whole(far).values()))
