"""Real networks: `farlane up` in processes of its own, driven through the command line as a user would."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest

from farlane.cli.main import main
from farlane.sdk.context import read_client_file
from farlane.sdk.facade import Client

COMMAND_S = 60.0
QUICK = ("--set", "hub.lease_s=3", "--set", "hub.heartbeat_s=0.5")
"""A node that is silent is given up after three seconds, so that tests need not wait for ten."""
OWN_VARIABLES = ("FARLANE_URL", "FARLANE_TOKEN", "FARLANE_JOIN_TOKEN", "FARLANE_DIR")


@dataclass
class Ended:
    """One command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed for programs."""
        return json.loads(self.out)

    def expect(self, code: int, arguments: Sequence[str]) -> Ended:
        """Fail with what it said unless it ended with this exit code."""
        assert self.code == code, f"{arguments}: exit {self.code}\n{self.out}\n{self.err}"
        return self


@dataclass
class Network:
    """A network in a directory of its own."""

    directory: Path
    up_options: tuple[str, ...] = QUICK
    join_token: str = field(default="", repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """What a shell of its user has set."""
        inherited = {key: value for key, value in os.environ.items() if key not in OWN_VARIABLES}
        return inherited | {"FARLANE_DIR": str(self.directory)}

    def cli(self, *arguments: str, code: int = 0, **env: str) -> Ended:
        """Run `farlane ...` inside this process, which saves its start; see `shell`."""
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name in OWN_VARIABLES:
                patch.delenv(name, raising=False)
            for name, value in {"FARLANE_DIR": str(self.directory), **env}.items():
                patch.setenv(name, value)
            found = main(list(arguments))
        ended = Ended(found, *(stream.buffer.getvalue().decode() for stream in (out, err)))  # type: ignore[attr-defined]
        return ended.expect(code, arguments)

    def shell(self, *arguments: str, code: int = 0, **env: str) -> Ended:
        """Run `farlane ...` as a process; an exit code other than `code` fails the test with what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "farlane.cli.main", *arguments], env=self.environment | env, timeout=COMMAND_S,
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr).expect(code, arguments)

    def json(self, command: str, *arguments: str, code: int = 0) -> Any:
        """Run `farlane COMMAND --json ...` and return what it printed."""
        return self.cli(command, "--json", *arguments, code=code).json

    def start(self, *options: str) -> Any:
        """Run `farlane up`."""
        fresh = () if (self.directory / "network.json").exists() else ("--port", "0", *self.up_options)
        running = self.shell("up", "--json", *fresh, *options).json
        self.join_token = running["join_token"]
        return running

    def stop(self) -> Any:
        """Run `farlane down`."""
        return self.shell("down", "--json").json

    def client(self) -> Client:
        """Connect from Python."""
        endpoint = read_client_file(self.directory)
        return Client(endpoint.url, endpoint.token, random=Random(1))

    def pids(self) -> dict[str, int]:
        """Return the process ids of the hub and the nodes that `up` has started and that run."""
        known = json.loads((self.directory / "network.json").read_bytes())
        found = {"hub": known["hub"], **known["nodes"]}
        return {
            name: process["pid"]
            for name, process in found.items()
            if process and psutil.pid_exists(process["pid"])
            and psutil.Process(process["pid"]).status() != psutil.STATUS_ZOMBIE
        }  # fmt: skip

    def kill(self, *names: str) -> None:
        """Kill processes of this network with signal 9, without the workers they have started."""
        for name, pid in self.pids().items():
            if name in names:
                os.kill(pid, signal.SIGKILL)
        until(lambda: not set(names) & set(self.pids()))

    def log(self, name: str) -> str:
        """Return what one of its processes has logged."""
        return (self.directory / "logs" / f"{name}.log").read_text()


def until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Poll until a condition holds."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"it did not come true within {timeout_s:g} s"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    """Give tests the polling wait."""
    return until


@pytest.fixture(scope="module")
def new_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Network]]:
    """Make networks; at the end of the module all are stopped and must have left no process behind."""
    made: list[Network] = []

    def make(*options: str, directory: Path | None = None) -> Network:
        network = Network(directory or tmp_path_factory.mktemp("network"), (*QUICK, *options))
        made.append(network)
        network.start()
        return network

    yield make
    for network in made:
        if (network.directory / "network.json").exists():
            network.stop()
    left = [process for network in made for process in processes_of(network.directory)]
    for process in left:
        process.kill()
    assert not left, f"processes outlived `farlane down`: {left}"


@pytest.fixture(scope="module")
def network(new_network: Callable[..., Network]) -> Network:
    """One network of two nodes for a whole module."""
    return new_network("--nodes", "2")


def processes_of(directory: Path) -> list[psutil.Process]:
    """Return processes that name a directory on their command line or work in it."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = str(directory) in " ".join(process.cmdline()) or process.cwd().startswith(str(directory))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if mine and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found
