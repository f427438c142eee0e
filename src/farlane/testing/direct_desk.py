"""A person's terminal for direct calls: keys, a network on a chain, and commands typed as processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farlane.ledger.keystore import KeyRing
from farlane.ledger.passwords import Password
from farlane.testing.direct_world import FAUCET

PASSWORD = b"a sentence for tests"


class Desk:
    """A terminal with the keys boss (which has the chain's coins), lab (a node's) and me (a publisher's).

    Args:
        root: a directory of its own.
        url: the chain.
    """

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        ring = KeyRing(root / "keys")
        password = Password(PASSWORD, random=True)
        self.addresses = {name: ring.create(name, password).address for name in ("lab", "me")}
        ring.add("boss", FAUCET, password)
        (root / "password").write_bytes(PASSWORD)
        (root / "password").chmod(0o600)
        self.ready: dict[str, object] = {}
        """What the node said when it could be called."""
        self.network = ["--network", str(root / "net.json")]
        self.environ = {
            **os.environ,
            "FARLANE_KEYS": str(root / "keys"),
            "FARLANE_KEY_PASSWORD_FILE": str(root / "password"),
            "FARLANE_DIR": str(root / "data"),
        }

    def deploy(self) -> None:
        """Put the network on the chain; everybody gets coin, and the publisher ten credits."""
        file = str(self.root / "net.json")
        self.signed("boss", "network", "deploy", "-o", file)
        for address in self.addresses.values():
            self.signed("boss", "network", "gas", file, address, "1")
        self.signed("boss", "network", "mint", file, self.addresses["me"], "10")

    def run(self, *arguments: str, code: int = 0) -> str:
        """Type a command and wait for it; returns what it printed on stdout."""
        return self.ran(*arguments, code=code).stdout

    def ran(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """As `run`, with stderr too."""
        done = subprocess.run(
            self._command(*arguments), env=self.environ, capture_output=True, text=True, timeout=90, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done

    def signed(self, key: str, *arguments: str, code: int = 0) -> str:
        """Type a command that signs with a key."""
        return self.run(*arguments[:2], *self._signing(key), *arguments[2:], code=code)

    def call(self, *arguments: str, yes: bool = True, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Type `farlane direct run` as the publisher."""
        return self.ran(*self._call(yes), *arguments, code=code)

    @contextmanager
    def calling(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Type `farlane direct run` and go on while it runs."""
        process = subprocess.Popen(
            self._command(*self._call(True), *arguments), env=self.environ, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        with process:
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def serving(self, *more: str) -> Iterator[subprocess.Popen[str]]:
        """Type `farlane node serve` and wait until it can be called; it is killed at the end."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        process = subprocess.Popen(
            self._command(
                "node", "serve", *self.network, *self._signing("lab"), "--listen", f"127.0.0.1:{port}",
                "--endpoint", f"https://127.0.0.1:{port}", "--allow", self.addresses["me"], "--json", *more,
            ),
            env=self.environ, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        with process:
            try:
                assert process.stdout is not None
                self.ready = json.loads(process.stdout.readline())
                assert self.ready["key"] == self.addresses["lab"]
                yield process
            finally:
                process.kill()

    def _call(self, yes: bool) -> list[str]:
        small = ["--memory", "256MB", "--max-duration", "30s", *(["--yes"] if yes else [])]
        return ["direct", "run", *self.network, *self._signing("me"), *small]

    def _signing(self, key: str) -> list[str]:
        return ["--rpc", self.url, "--key", key]

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "farlane.cli.main", *arguments]
