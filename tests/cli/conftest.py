"""The commands as people type them: processes of their own, on networks below a temporary directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from farlane.cli.main import main

TIMEOUT_S = 60.0
TWO_NODES = ("--node", "name=oak,cpu=1,memory=512MB", "--node", "name=elm,cpu=1,memory=512MB,core_hour=0.01")


@dataclass(frozen=True)
class Shell:
    """Types commands with one data directory."""

    directory: Path
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FARLANE_")}
        return kept | {"FARLANE_DIR": str(self.directory)} | self.extra

    def __call__(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and check its exit code."""
        done = subprocess.run(
            [sys.executable, "-m", "farlane.cli.main", *arguments],
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.directory,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, command: str, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(command, "--json", *arguments, code=code).stdout)

    def start(self, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start a command and leave it running."""
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # A shell starts background work so, children inherit it, and then no Ctrl-C is ever seen.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        command = [sys.executable, "-m", "farlane.cli.main", *arguments]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=self.environment,
            cwd=self.directory,
        )


def down(shell: Shell) -> None:
    if (shell.directory / "network.json").exists():
        shell("down")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A data directory without a network; what is started in it is stopped."""
    found = Shell(tmp_path)
    yield found
    down(found)


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Type a command that must fail before it does anything, in this process; returns what it said on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FARLANE_DIR", str(tmp_path))

    def run(*arguments: str) -> str:
        assert main(list(arguments)) == 1
        said = capsys.readouterr()
        assert said.out == ""
        return said.err

    return run


@pytest.fixture
def shell_in() -> type[Shell]:
    """Make a shell with a directory and environment of its own; it has no network."""
    return Shell


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A network of two nodes, oak and elm, that tests share."""
    found = Shell(tmp_path_factory.mktemp("network"))
    found("up", "--port", "0", *TWO_NODES)
    yield found
    down(found)


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait for something to become true; fail after half a minute."""

    def wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end, "it did not happen within 30 s"
            time.sleep(0.02)

    return wait
