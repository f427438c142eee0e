"""`farlane models add` and `farlane serve` on a real network of this machine: asked over HTTP, updated, ended."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pytest

Shell = Any  # the class is in conftest.py
Eventually = Callable[[Callable[[], bool]], None]

pytest.importorskip("xllamacpp", reason="llama.cpp is missing: `pip install farlane[serve]`")
SIZE = ("--memory", "400MB", "--cpu", "1")


def added(network: Shell, *arguments: str) -> dict[str, Any]:
    done: dict[str, Any] = json.loads(network("models", "add", *arguments, "--json").stdout)
    return done


def asked(network: Shell, prompt: str, model: str = "lab/tiny") -> dict[str, Any]:
    token = json.loads((network.directory / "client.json").read_text())["token"]
    port = json.loads((network.directory / "hub" / "ready.json").read_text())["gateway_port"]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions",
        json.dumps({"model": model, "prompt": prompt, "max_tokens": 8, "temperature": 0}).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        answer: dict[str, Any] = json.load(reply)
    return answer


def test_a_model_is_published_served_updated_and_ended(network: Shell, eventually: Eventually) -> None:
    with as_file(files("farlane.demo") / "models" / "novelist") as folder:
        first = added(network, str(folder), "lab/tiny", "--tag", "champion")
        network("serve", "-y", "lab/tiny@champion", *SIZE)
        answer = asked(network, "It is a truth")
        assert answer["usage"]["completion_tokens"] == 8
        assert answer["system_fingerprint"] == first["cid"]
        second = added(network, str(folder), "lab/tiny", "--metric", "loss=3.2")
    network("models", "tag", "lab/tiny@v2", "champion")
    eventually(lambda: asked(network, "It is a truth")["system_fingerprint"] == second["cid"])
    (row,) = network.json("deployments")
    assert row["failed"] == 0
    network("undeploy", "lab/tiny")
    assert network.json("deployments") == []


def test_a_model_that_nobody_published_is_refused(network: Shell) -> None:
    assert "lab/nothing" in network("serve", "-y", "lab/nothing", *SIZE, code=1).stderr


def test_a_model_is_pushed_and_served_from_another_machine(
    network: Shell, shell_in: type[Any], tmp_path: Path
) -> None:
    known = json.loads((network.directory / "client.json").read_text())
    elsewhere = shell_in(tmp_path, {"FARLANE_URL": known["url"], "FARLANE_TOKEN": known["token"]})
    with as_file(files("farlane.demo") / "models" / "novelist") as folder:
        published = added(elsewhere, str(folder), "lab/pushed")
    elsewhere("models", "push", "lab/pushed", "--tag", "champion")
    elsewhere("serve", "-y", "lab/pushed@champion", *SIZE)
    assert asked(network, "It is a truth", "lab/pushed")["system_fingerprint"] == published["cid"]
    elsewhere("undeploy", "lab/pushed")
