"""`farlane join --network`: a node finds a real hub on chain, is let in by its key, and does a job there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from farlane.ledger.accounts import PrivateKey
from farlane.ledger.keystore import KeyRing
from farlane.ledger.passwords import Password

pytestmark = pytest.mark.real

FAUCET = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
OPERATOR = PrivateKey.from_bytes(FAUCET).address
PASSWORD = b"a sentence for tests"


class Desk:
    """A person's terminal, with keys and a hub in a directory."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.chain, self.file = root, ["--rpc", url], str(root / "net.json")
        password = Password(PASSWORD, random=True)
        ring = KeyRing(root / "keys")
        ring.add("boss", PrivateKey.from_bytes(FAUCET), password)
        self.nodes_key = ring.create("mine", password).address
        (root / "password").write_bytes(PASSWORD)
        (root / "password").chmod(0o600)
        self.environ = {
            **os.environ,
            "FARLANE_KEYS": str(root / "keys"),
            "FARLANE_KEY_PASSWORD_FILE": str(root / "password"),
            "FARLANE_DIR": str(root / "data"),
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "farlane.cli.main", *arguments]

    def run(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            self.command(*arguments),
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout


@pytest.fixture
def desk(tmp_path: Path, anvil_url: str) -> Iterator[Desk]:
    desk = Desk(tmp_path, anvil_url)
    desk.run("network", "deploy", *desk.chain, "--key", "boss", "-o", desk.file)
    settings = ["--set", f"hub.rpc={anvil_url}", "--set", f"hub.network_file={desk.file}"]
    # Without a sandbox nodes work for their own organisation alone: here the operator's, which runs the hub too.
    settings += ["--organisation", OPERATOR]
    up = json.loads(desk.run("up", "--nodes", "0", "--port", "0", *settings, "--json"))
    try:
        endpoint = ["--endpoint", up["url"]]
        desk.run("network", "register-hub", desk.file, *desk.chain, "--key", "boss", *endpoint)
        yield desk
    finally:
        desk.run("down")


def test_a_node_joins_by_its_key_and_works(desk: Desk) -> None:
    join = ["join", "--network", desk.file, *desk.chain, "--key", "mine", "--name", "far"]
    assert desk.run(*join, code=1) == ""  # its key stands in no registry yet
    keys = ["--key", "boss", "--node-key", "mine"]
    desk.run("network", "register-node", desk.file, *desk.chain, *keys)
    log = (desk.root / "node.log").open("w")
    process = subprocess.Popen(desk.command(*join), env=desk.environ, stderr=log)
    try:
        assert "from afar" in desk.run("run", "-y", "echo from afar")
        (node,) = json.loads(desk.run("nodes", "--json"))
        assert node["spec"]["name"] == "far"
        assert node["spec"]["organisation"] == OPERATOR
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(10)
        log.close()
