"""For all tests: a real chain (anvil, from contracts/node_modules or the PATH), and the simulator uncompiled."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Small runs of the simulator are quicker uncompiled, and coverage sees them; one test compares both.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
CONTRACTS = Path(__file__).resolve().parents[1] / "contracts"


def anvil_binary() -> str | None:
    found = sorted(CONTRACTS.glob("node_modules/@foundry-rs/anvil-*/bin/anvil"))
    return str(found[0]) if found else shutil.which("anvil")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def anvil_url() -> Iterator[str]:
    binary = anvil_binary()
    if binary is None:
        if os.environ.get("CI") == "true":
            pytest.fail("anvil is missing: `npm ci` in contracts/ brings it")
        pytest.skip("anvil is missing; to get it run `npm ci` in contracts/ (needs Node.js 20)")
    port = free_port()
    # Without pruning it keeps the state behind every block on the disk: gigabytes in a run of all tests.
    options = ["--silent", "--port", str(port), "--hardfork", "prague", "--prune-history", "128"]
    process = subprocess.Popen([binary, *options])
    try:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(autouse=True)
def calm_anvil(request: pytest.FixtureRequest) -> Iterator[None]:
    """Undo what a test did to the price of gas and to mining on the chain that all tests share, also if it failed."""
    if "anvil_url" not in request.fixturenames:
        yield
        return
    url: str = request.getfixturevalue("anvil_url")
    before = base_fee(url)
    yield
    ask(url, "evm_setAutomine", True)
    if base_fee(url) > before:
        ask(url, "anvil_setNextBlockBaseFeePerGas", hex(before))
        ask(url, "evm_mine")


def base_fee(url: str) -> int:
    return int(ask(url, "eth_getBlockByNumber", "latest", False)["baseFeePerGas"], 16)


def ask(url: str, method: str, *arguments: object) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": arguments}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as response:
        answer = json.load(response)
    assert "error" not in answer, f"{method}: {answer['error']}"
    return answer["result"]
