"""`farlane down` while a model is served: nothing is killed, and `farlane up` serves it again."""

from __future__ import annotations

import json
import urllib.request
from importlib.resources import as_file, files
from typing import Any

import pytest

Shell = Any  # the class is in conftest.py

pytest.importorskip("xllamacpp", reason="llama.cpp is missing: `pip install farlane[serve]`")


def answer(shell: Shell) -> int:
    """Ask the model; return how many tokens it answered with."""
    token = json.loads((shell.directory / "client.json").read_text())["token"]
    port = json.loads((shell.directory / "hub" / "ready.json").read_text())["gateway_port"]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions",
        json.dumps({"model": "lab/tiny", "prompt": "It is a truth", "max_tokens": 4}).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        tokens: int = json.load(reply)["usage"]["completion_tokens"]
    return tokens


def test_a_network_that_serves_goes_down_in_peace_and_serves_again(shell: Shell) -> None:
    with as_file(files("farlane.demo") / "models" / "novelist") as folder:
        shell("models", "add", str(folder), "lab/tiny", "--tag", "champion")
    shell("up", "--port", "0", "--node", "name=oak,cpu=1,memory=512MB")
    shell("serve", "-y", "lab/tiny@champion", "--memory", "400MB", "--cpu", "1")
    assert answer(shell) == 4
    assert shell.json("down")["killed"] == []
    shell("up")
    assert answer(shell) == 4
    shell("down")  # everything counted is written at the end
    shell("up")
    (used,) = shell.json("usage", "--models", "--by", "deployment,organisation")
    assert used["deployment"] == "local/lab/tiny"
    assert (used["requests"], used["failed"], used["completion_tokens"]) == (2, 0, 8)
