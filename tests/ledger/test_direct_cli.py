"""`farlane node serve` and `farlane direct`: two processes, a chain between them, and no hub."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from farlane.ledger.accounts import PrivateKey
from farlane.ledger.keystore import KeyRing
from farlane.ledger.passwords import Password

pytestmark = pytest.mark.real

FAUCET = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
PASSWORD = b"a sentence for tests"


class Desk:
    """A person's terminal: keys, a chain, a directory of their own."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        ring = KeyRing(root / "keys")
        password = Password(PASSWORD, random=True)
        self.addresses = {name: ring.create(name, password).address for name in ("lab", "me")}
        ring.add("boss", PrivateKey.from_bytes(FAUCET), password)
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
            timeout=90,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout

    def signed(self, key: str, *arguments: str, code: int = 0) -> str:
        return self.run(*arguments[:2], "--rpc", self.url, "--key", key, *arguments[2:], code=code)


@pytest.fixture
def desk(tmp_path: Path, anvil_url: str) -> Desk:
    found = Desk(tmp_path, anvil_url)
    found.signed("boss", "network", "deploy", "-o", str(tmp_path / "net.json"))
    file = str(tmp_path / "net.json")
    for address in found.addresses.values():
        found.signed("boss", "network", "gas", file, address, "1")
    found.signed("boss", "network", "mint", file, found.addresses["me"], "10")
    return found


@contextmanager
def serving(desk: Desk) -> Iterator[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        desk.command(
            "node", "serve", "--network", str(desk.root / "net.json"), "--rpc", desk.url, "--key", "lab",
            "--listen", f"127.0.0.1:{port}", "--endpoint", f"https://127.0.0.1:{port}",
            "--allow", desk.addresses["me"], "--json",
        ),
        env=desk.environ, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert json.loads(process.stdout.readline())["key"] == desk.addresses["lab"]
        yield process
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def call(desk: Desk, receipt: str, *arguments: str) -> str:
    network = ["--network", str(desk.root / "net.json"), "--receipt", str(desk.root / receipt)]
    small = ["--memory", "256MB", "--max-duration", "30s", "--yes"]
    return desk.signed("me", "direct", "run", *network, *small, *arguments)


def test_a_command_runs_on_a_node_found_on_chain_and_is_paid(desk: Desk, tmp_path: Path) -> None:
    network, verify = ["--network", str(tmp_path / "net.json")], ["receipt", "verify"]
    (tmp_path / "in.txt").write_text("from another machine")
    files = ["-i", str(tmp_path / "in.txt"), "-o", "out.txt", "--into", str(tmp_path / "back")]
    with serving(desk) as node:
        listed = json.loads(desk.run("direct", "nodes", *network, "--rpc", desk.url, "--json"))
        assert [one["key"] for one in listed["nodes"]] == [desk.addresses["lab"]]
        printed = call(desk, "first.json", *files, "--", "tr a-z A-Z < in.txt | tee out.txt")
        assert printed == "FROM ANOTHER MACHINE"
        assert (tmp_path / "back/out.txt").read_text() == printed
        node.kill()
        node.wait(10)
    first = str(tmp_path / "first.json")
    assert "can still be claimed" in desk.run(*verify, first, "--rpc", desk.url, code=1)
    with serving(desk) as node:  # on another port, with the books that the killed one left
        assert call(desk, "second.json", "--", "echo again") == "again\n"
        desk.signed("me", "direct", "close", *network, desk.addresses["lab"])
        node.send_signal(signal.SIGTERM)
        assert node.wait(60) == 0
    for receipt in (first, str(tmp_path / "second.json")):
        assert "NOT VALID" not in desk.run(*verify, receipt, "--rpc", desk.url)
