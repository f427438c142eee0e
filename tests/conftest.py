"""A real chain for tests: anvil, from contracts/node_modules or the PATH."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    process = subprocess.Popen([binary, "--silent", "--port", str(port), "--hardfork", "prague"])
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
