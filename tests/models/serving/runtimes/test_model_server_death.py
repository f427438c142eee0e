"""Servers of models that fall silent, die or never come up, and what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from farlane.errors import ConnectionLost, FarlaneError, Unavailable
from farlane.models.serving.runtimes.model_server import ModelServer

SILENT = Path(__file__).with_name("silent_server.py")
HERE = Path(__file__).resolve().parents[4] / "src"


def until(done: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def silent(notes: Path) -> Iterator[ModelServer]:
    def command(path: Path, key: str) -> tuple[list[str], Mapping[str, str]]:
        return [sys.executable, str(SILENT), str(path), str(notes)], {}

    server = ModelServer("the server", command, start_timeout_s=60)
    yield server
    server.close()


def pids(notes: Path) -> list[int]:
    return [int(word) for word in notes.read_text().split("\n")[0].split()]


def test_a_server_that_dies_in_mid_stream_is_a_lost_connection(silent: ModelServer, notes: Path) -> None:
    stream = silent.client.stream("/word", {}, lambda: False)
    assert next(stream)["choices"][0]["text"] == "word"
    os.kill(pids(notes)[0], signal.SIGKILL)
    with pytest.raises(ConnectionLost, match="the server went away before its answer was whole"):
        next(stream)
    error = silent.wait()
    assert isinstance(error, ConnectionLost)
    assert error.facts["exit_code"] == 128 + signal.SIGKILL
    assert "ended by signal 9 while it served" in error.message
    with pytest.raises(ConnectionLost):
        silent.client.call("GET", "/v1/models")


def test_what_a_killed_server_had_started_ends_with_it(silent: ModelServer, notes: Path) -> None:
    server, child = pids(notes)
    os.kill(server, signal.SIGKILL)
    assert isinstance(silent.wait(), ConnectionLost)
    until(lambda: not alive(child))


@pytest.mark.parametrize("path", ["/word", "/nothing"])
def test_cancelling_a_silent_answer_ends_it_here_and_there(
    silent: ModelServer, notes: Path, path: str
) -> None:
    over, seen = threading.Event(), []
    timer = threading.Timer(0.2, over.set)
    timer.start()
    seen = list(silent.client.stream(path, {}, over.is_set))
    timer.join()
    assert len(seen) == (path == "/word")
    until(lambda: notes.read_text().endswith("left\n"))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_cannot_now_is_unavailable(silent: ModelServer, status: int) -> None:
    with pytest.raises(Unavailable, match="the server failed: as asked") as caught:
        list(silent.client.stream(f"/{status}", {}, lambda: False))
    assert not isinstance(caught.value, ConnectionLost)


def test_closing_ends_the_server_and_all_it_started(silent: ModelServer, notes: Path) -> None:
    held = pids(notes)
    ended: list[FarlaneError | None] = []
    waiting = threading.Thread(target=lambda: ended.append(silent.wait()))
    waiting.start()
    silent.close()
    waiting.join()
    assert ended == [None]
    until(lambda: not any(alive(pid) for pid in held))


def test_a_server_ends_with_the_process_that_started_it(notes: Path) -> None:
    program = (
        "import sys; from farlane.models.serving.runtimes.model_server import ModelServer\n"
        f"line = [sys.executable, {str(SILENT)!r}]\n"
        f"server = ModelServer('it', lambda path, key: ([*line, str(path), {str(notes)!r}], {{}}))\n"
        "print(server.client.path, flush=True); import signal; signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(HERE)}
    ) as starter:
        assert starter.stdout is not None
        socket = Path(starter.stdout.readline().decode().strip())
        assert socket.is_socket()
        starter.kill()
    until(lambda: not any(alive(pid) for pid in pids(notes)))
    until(lambda: not socket.parent.exists())


def test_a_server_that_never_comes_up_says_how_it_ended() -> None:
    with pytest.raises(ConnectionLost, match="it ended with exit code 3 before it was ready") as caught:
        ModelServer("it", lambda path, key: ([sys.executable, "-c", "raise SystemExit(3)"], {}))
    assert caught.value.facts["exit_code"] == 3
    program = "import signal; signal.pause()"
    with pytest.raises(Unavailable, match="was not ready within"):
        ModelServer("it", lambda path, key: ([sys.executable, "-c", program], {}), start_timeout_s=0.2)


def test_a_replica_ends_with_the_process_that_holds_its_model() -> None:
    program = (
        "from farlane.models.serving.replica import end_with\n"
        "from farlane.errors import ConnectionLost\n"
        "class Dead:\n"
        "    def wait(self): return ConnectionLost('its model is gone')\n"
        "end_with(Dead()); import signal; signal.pause()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(HERE)}, capture_output=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, b"its model is gone" in ended.stderr) == (1, True)
