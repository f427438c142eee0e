"""`farlane join`: its log for people and programs, its identity, and a hub that is not there."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from farlane.wire.tokens import Token

Shell = Any  # the class is in conftest.py

Eventually = Callable[[Callable[[], bool]], None]
END_S = 3.0


def stranger() -> dict[str, str]:
    return {"FARLANE_JOIN_TOKEN": Token("node", "local", "", b"k" * 32, "s" * 20).text()}


class Running:
    """A command whose stderr is collected while it runs; on a terminal where one is asked for."""

    def __init__(self, shell: Shell, *arguments: str, terminal: bool = False) -> None:
        self.lines: list[str] = []
        if terminal:
            ours, theirs = os.openpty()
            self.process = shell.start(*arguments, stderr=theirs)
            os.close(theirs)
            self._stream = os.fdopen(ours, "r")
        else:
            self.process = shell.start(*arguments)
            assert self.process.stderr is not None
            self._stream = self.process.stderr
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def count(self, text: str) -> int:
        return sum(text in line for line in self.lines)

    def interrupt(self) -> tuple[int, float]:
        """Press Ctrl-C; returns the exit code and how long the end took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30), time.monotonic() - began

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(10)
        self._stream.close()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        try:
            for line in self._stream:
                self.lines.append(line.rstrip())
        except OSError:
            return  # what a terminal says when its last process has gone


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Start commands that end with the test."""
    running: list[Running] = []

    def begin(shell: Shell, *arguments: str, terminal: bool = False) -> Running:
        running.append(Running(shell, *arguments, terminal=terminal))
        return running[-1]

    yield begin
    for one in running:
        one.close()


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of something that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"https://127.0.0.1:{server.getsockname()[1]}"


def test_a_hub_that_is_not_there_is_told_in_one_line_each_time(
    tmp_path: Path, start: Callable[..., Running], eventually: Eventually, shell_in: Callable[..., Shell]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"https://127.0.0.1:{server.getsockname()[1]}"
    join = start(shell_in(tmp_path, stranger()), "join", url, "--name", "lone", terminal=True)
    eventually(lambda: join.count("no hub yet: cannot reach") >= 2)
    line = next(line for line in join.lines if "no hub yet" in line)
    assert " WARNING node.link: no hub yet: cannot reach https://127.0.0.1:" in line
    assert "Check that the hub runs there" in line
    code, took_s = join.interrupt()
    assert (code, took_s < END_S) == (0, True)


def test_a_hub_that_does_not_answer_does_not_hold_up_the_end(
    tmp_path: Path,
    silent: str,
    start: Callable[..., Running],
    eventually: Eventually,
    shell_in: Callable[..., Shell],
) -> None:
    join = start(shell_in(tmp_path, stranger()), "join", silent, "--name", "lone")
    eventually(lambda: join.count('"logger": "farlane.node') >= 1)  # JSON where nobody watches
    code, took_s = join.interrupt()
    assert (code, took_s < END_S) == (0, True)


def test_json_tells_once_which_node_it_is(
    network: Shell,
    tmp_path: Path,
    start: Callable[..., Running],
    eventually: Eventually,
    shell_in: Callable[..., Shell],
) -> None:
    given = network.json("token", "--join")
    shell = shell_in(tmp_path, {"FARLANE_JOIN_TOKEN": given["token"]})
    sizes = ("--set", "cpu=0.5", "--set", "node.memory=128MB")
    join = start(shell, "join", given["url"], "--name", "guest", *sizes, "--json")
    eventually(lambda: join.count("joined network") == 1)
    (node,) = [node for node in network.json("nodes") if node["spec"]["name"] == "guest"]
    assert node["spec"]["capacity"]["cpu_milli"] == 500
    assert "still holds 0 tasks" in network("drain", "guest").stdout
    out, _ = join.process.communicate(timeout=30)
    assert json.loads(out) == {
        "node": node["spec"]["node"], "name": "guest", "url": given["url"],
        "directory": str(tmp_path / "joined/guest"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "cpu"], "--set 'cpu' sets nothing"),
        (["--set", "colour=red"], "unknown setting 'node.colour'"),
        (["--set", "name=x"], "use --name"),
        (["--set", "backend=boat"], "flag node.backend is 'boat'"),
    ],
)
def test_wrong_settings_are_refused(
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.setenv("FARLANE_JOIN_TOKEN", stranger()["FARLANE_JOIN_TOKEN"])
    assert message in refused("join", "https://127.0.0.1:1", *options)
    assert not (tmp_path / "joined").exists()


def test_a_configuration_file_names_the_node_and_its_place(
    tmp_path: Path, shell_in: Callable[..., Shell]
) -> None:
    place = tmp_path / "there"
    (tmp_path / "node.yaml").write_text(f"node: {{name: birch, directory: {place}, cpu: 4096}}\n")
    shell = shell_in(tmp_path, stranger())
    done = shell("join", "https://127.0.0.1:1", "--config", "node.yaml", "--json", code=1)
    assert json.loads(done.stdout)["directory"] == str(place)
    assert "node birch joins" in done.stderr
    assert "node.cpu is 4096 cores" in done.stderr


def test_a_command_that_is_misused_ends_with_two(tmp_path: Path, shell_in: Callable[..., Shell]) -> None:
    done = shell_in(tmp_path)("join", code=2)
    assert isinstance(done, subprocess.CompletedProcess)
    assert "Missing argument 'URL'" in done.stderr


def test_a_missing_token_is_asked_for(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FARLANE_JOIN_TOKEN", raising=False)
    assert "no token: give --token or set FARLANE_JOIN_TOKEN" in refused("join", "https://127.0.0.1:1")
