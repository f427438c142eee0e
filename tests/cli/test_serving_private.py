"""A private model on a real network of this machine: shared with a node, served by it alone, in clear nowhere else."""

from __future__ import annotations

import json
import os
import signal
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
def model() -> Iterator[Path]:
    with as_file(files("farlane.demo") / "models" / "novelist") as folder:
        yield folder


@pytest.fixture
def alone(shell: Shell) -> Shell:
    """A network that a test may break."""
    shell(
        "up", "--port", "0", "--node", "name=oak,cpu=1,memory=512MB", "--node", "name=elm,cpu=1,memory=512MB"
    )
    return shell


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


def folders_in_clear(directory: Path, model: Path) -> set[str]:
    """Return the folders below which some file has what the model's largest file has in its middle."""
    return {"/".join(path.parts[:-2]) for path in in_clear(directory, model)}


def node_pid(network: Shell, name: str) -> int:
    return int(json.loads((network.directory / "network.json").read_text())["nodes"][name]["pid"])


def test_a_private_model_is_served_by_the_node_that_reads_it(
    alone: Shell, model: Path, eventually: Eventually
) -> None:
    alone("models", "add", str(model), "lab/secret", "--private")
    said = alone("serve", "-y", "lab/secret", *SIZE, code=1).stderr
    assert "farlane models share lab/secret --with-node NODE" in said
    alone("models", "share", "lab/secret", "--with-node", "elm")
    alone("serve", "-y", "lab/secret", *SIZE)
    assert asked(alone, "lab/secret")["usage"]["completion_tokens"] == 4
    (row,) = alone.json("deployments", "lab/secret")
    assert [each["node"] for each in row["replicas"]] == ["elm"]
    opened = next(alone.directory.rglob("opened"))
    assert opened.parent.name == "elm"
    assert folders_in_clear(alone.directory, model) == {str(opened.relative_to(alone.directory))}

    left = list(opened.iterdir())
    os.kill(node_pid(alone, "elm"), signal.SIGKILL)
    assert folders_in_clear(alone.directory, model)
    alone("undeploy", "lab/secret")
    alone("up")
    eventually(lambda: not any(folder.exists() for folder in left))
    eventually(lambda: folders_in_clear(alone.directory, model) == set())


def test_a_node_that_is_taken_out_reads_no_later_version(network: Shell, model: Path) -> None:
    known = [node["spec"] for node in network.json("nodes")]  # other tests may have brought some
    readers = [spec["node"] for spec in known if spec["recipient"]]
    network("models", "add", str(model), "lab/taken", "--private", "--with-network")
    shown = json.loads(network("models", "show", "lab/taken", "--json").stdout)
    assert len(shown["manifest"]["recipients"]) == 1 + len(readers)
    taken = [option for node in readers for option in ("--from-node", node)]
    network("models", "revoke", "lab/taken", *taken)
    assert "no node can read it" in network("serve", "-y", "lab/taken", *SIZE, code=1).stderr
    said = network("models", "share", "lab/taken", "--with-node", "ash", code=1).stderr
    assert "there is no node 'ash'" in said
