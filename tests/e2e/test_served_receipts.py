"""A served model that is paid by the part: its receipts say what it answered, also after its hub has died."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("xllamacpp", reason="llama.cpp is missing: `pip install farlane[serve]`")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def told(network: Any, *arguments: str) -> Any:
    return network.cli(*arguments, "--json").json


def ask(network: Any) -> None:
    """Ask the model for four tokens."""
    token = json.loads((network.directory / "client.json").read_text())["token"]
    port = json.loads((network.directory / "hub" / "ready.json").read_text())["gateway_port"]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions",
        json.dumps(
            {"model": "lab/tiny", "prompt": "It is a truth", "max_tokens": 4, "temperature": 0}
        ).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        assert json.load(reply)["usage"]["completion_tokens"] == 4


def promised(network: Any) -> int:
    return sum(row["promised_tasks"] for row in told(network, "ledger", "channels", "--all"))


def receipts(network: Any, directory: Path) -> list[Any]:
    """Fetch all receipts of the replica anew, and verify them."""
    kept = directory / f"kept-{len(list(directory.iterdir()))}"
    network.cli("receipt", "get", "j1.0", "--all", "-o", str(kept))
    paths = sorted(map(str, kept.iterdir()))
    network.cli("receipt", "verify", *paths)
    return [told(network, "receipt", "show", path) for path in paths]


def ends_of_what_served(network: Any, directory: Path) -> list[Any]:
    """Return the receipts of whole attempts that have answered anything."""
    return [one for one in receipts(network, directory) if one["part"] == "the end" and "served" in one]


def test_receipts_of_a_replica_say_what_it_served(
    new_network: Callable[..., Any], eventually: Callable[..., None], tmp_path: Path
) -> None:
    network = new_network("--nodes", "1", "--set", "hub.interim_s=1")
    with as_file(files("farlane.demo") / "models" / "novelist") as folder:
        network.cli("models", "add", str(folder), "lab/tiny", "--tag", "champion")
    network.kill("hub")  # it looks for a repository when it starts
    network.start()
    network.cli("serve", "-y", "lab/tiny@champion", "--memory", "400MB", "--cpu", "0.5")
    ask(network)
    ask(network)
    before = promised(network)
    eventually(lambda: promised(network) >= before + 2, 30)

    network.kill("hub")
    network.start()
    ask(network)
    network.cli("undeploy", "lab/tiny")
    eventually(lambda: told(network, "deployments") == [], 30)
    eventually(
        lambda: all(r["tasks"] == r["promised_tasks"] for r in told(network, "ledger", "channels")), 30
    )
    # The last leaf is booked a moment after the deployment is gone. A first attempt may have failed where a machine is
    # busy: its end served nothing.
    eventually(lambda: ends_of_what_served(network, tmp_path) != [], 30)
    (last,) = ends_of_what_served(network, tmp_path)
    assert last["served"] == "3 requests, 0 of them failed or cancelled"
    assert "12 of completions" in last["tokens"]
    rpc, file = told(network, "ledger", "balance")["rpc"], network.directory / "hub" / "ledger.json"
    told(network, "ledger", "settle")
    audit = told(network, "ledger", "audit", "--rpc", rpc, "--network", str(file))
    assert audit["clean"], audit["deviations"]
