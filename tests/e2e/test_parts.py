"""A task that runs long is booked, signed and paid by the part while it runs, also across the death of its hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def told(network: Any, *arguments: str) -> Any:
    return network.cli(*arguments, "--json").json


def promised(network: Any) -> int:
    return sum(row["promised_tasks"] for row in told(network, "ledger", "channels", "--all"))


def test_a_long_task_is_paid_while_it_runs(
    new_network: Callable[..., Any], eventually: Callable[..., None], tmp_path: Path
) -> None:
    network = new_network("--nodes", "1", "--set", "hub.interim_s=1")
    going_on = tmp_path / "stop"
    script = f"until [ -e {going_on} ]; do sleep 0.1; done"
    network.cli("run", "-y", "-d", "--max-duration", "100s", "--", "sh", "-c", script)
    eventually(lambda: promised(network) >= 2, 30)
    job = told(network, "ps", "j1")["status"]
    assert (job["state"], job["done"]) == ("running", 0)
    assert told(network, "ledger", "balance")["promised"] > 0
    assert job["spent"] > 0
    (row,) = told(network, "usage")
    assert row["tasks"] == 0

    network.kill("hub")
    network.start()
    before = promised(network)
    eventually(lambda: promised(network) >= before + 1, 30)
    going_on.touch()
    network.cli("wait", "j1", "--timeout", "30s")
    eventually(
        lambda: all(r["tasks"] == r["promised_tasks"] for r in told(network, "ledger", "channels")), 30
    )

    network.cli("receipt", "get", "j1.0", "--all", "-o", str(tmp_path / "kept"))
    found = [json.loads(path.read_text())["leaf"] for path in sorted((tmp_path / "kept").iterdir())]
    parts = sorted(leaf["part"] for leaf in found)
    assert parts == list(range(len(found)))
    job = told(network, "ps", "j1")["status"]
    assert sum(int(leaf["amount_nano"]) for leaf in found) == job["spent"]
    network.cli("receipt", "verify", *map(str, (tmp_path / "kept").iterdir()))

    told(network, "ledger", "settle")
    rpc, file = told(network, "ledger", "balance")["rpc"], network.directory / "hub" / "ledger.json"
    audit = told(network, "ledger", "audit", "--rpc", rpc, "--network", str(file))
    assert audit["clean"], audit["deviations"]
