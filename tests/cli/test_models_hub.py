"""`farlane models push`, `pull` and `--hub` on a real network, from its own machine and from another one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

Shell = Any  # the class is in conftest.py
Eventually = Callable[[Callable[[], bool]], None]
MIB = 1 << 20
LARGE = 96 * MIB


@pytest.fixture
def elsewhere(network: Shell, shell_in: type[Any], tmp_path: Path) -> Shell:
    """Somebody on another machine, with a token of another organisation."""
    token = json.loads(network("token", "--organisation", "acme", "--json").stdout)
    url = json.loads((network.directory / "client.json").read_text())["url"]
    (tmp_path / "home").mkdir()
    return shell_in(tmp_path / "home", {"FARLANE_URL": url, "FARLANE_TOKEN": token["token"]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of some blocks."""
    made = tmp_path / "model"
    made.mkdir()
    (made / "weights.bin").write_bytes(Random(5).randbytes(6 * MIB))
    (made / "config.json").write_text("{}")
    return made


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return iter(range(100))


@pytest.fixture
def name(numbers: Iterator[int]) -> str:
    """A name of a model that no other test has."""
    return f"acme/mini{next(numbers)}"


def read(shell: Shell, *arguments: str) -> Any:
    return json.loads(shell("models", *arguments, "--json").stdout)


def test_a_version_is_pushed_named_and_pulled_by_others(
    network: Shell, elsewhere: Shell, folder: Path, name: str, tmp_path: Path
) -> None:
    added = read(elsewhere, "add", str(folder), name)
    said = elsewhere("models", "push", name, "--tag", "champion", "--expect", "none").stdout
    assert f"{name}@v1 {added['cid']}" in said
    assert "6.3 MB sent\n" in said
    assert "nothing sent" in elsewhere("models", "push", name, "--tag", "champion", "--expect", "none").stdout
    elsewhere("models", "add", str(folder), name, "--metric", "loss=1")
    assert (
        "somebody else"
        in elsewhere("models", "push", name, "--tag", "champion", "--expect", "none", code=1).stderr
    )
    row, *others = read(network, "ls", name, "--hub")
    assert others == []  # the second one was refused before it was named
    assert (row["cid"], row["aliases"], row["organisation"]) == (added["cid"], ["champion"], "acme")
    assert name in network("models", "ls", "--hub").stdout
    assert "weights.bin" in network("models", "show", f"{name}@champion", "--hub").stdout
    assert (
        "nothing came" in network("models", "pull", name).stdout
    )  # the hub's repository is that of its machine
    third = tmp_path / "third"
    pulled = read(network, "pull", f"{name}@champion", "--repository", str(third))
    assert (pulled["cid"], pulled["received_bytes"] > 6 * MIB) == (added["cid"], True)
    network("models", "verify", "--repository", str(third))
    assert "nothing came" in network("models", "pull", name, "--repository", str(third)).stdout


def test_aliases_at_the_hub_move_back_and_are_logged(elsewhere: Shell, folder: Path, name: str) -> None:
    elsewhere("models", "add", str(folder), name)
    elsewhere("models", "add", str(folder), name, "--metric", "loss=1")
    for version in ("v1", "v2"):
        elsewhere("models", "push", f"{name}@{version}")
    assert "is v1 now" in elsewhere("models", "tag", f"{name}@v1", "champion", "--hub").stdout
    assert "is v2 now" in elsewhere("models", "tag", name, "champion", "--hub", "--expect", "v1").stdout
    assert (
        "stands on" in elsewhere("models", "tag", name, "champion", "--hub", "--expect", "v1", code=1).stderr
    )
    assert "is v1 now" in elsewhere("models", "rollback", name, "champion", "--hub").stdout
    assert [row["rollback"] for row in read(elsewhere, "log", name, "--hub")] == [False, False, True]
    assert "move that alias first" in elsewhere("models", "rm", f"{name}@v1", "--hub", code=1).stderr
    assert "is gone" in elsewhere("models", "tag", name, "champion", "--hub", "--delete").stdout
    assert f"{name}@v1 is removed" in elsewhere("models", "rm", f"{name}@v1", "--hub").stdout


def test_others_may_not_change_a_name(network: Shell, elsewhere: Shell, folder: Path, name: str) -> None:
    network("models", "add", str(folder), name)  # the hub's repository is that of its machine
    assert "nothing sent" in network("models", "push", name, "--tag", "champion").stdout
    elsewhere("models", "add", str(folder), name, "--metric", "loss=1")
    assert "belongs to the owner" in elsewhere("models", "push", name, code=1).stderr
    for command in (("tag", name, "canary"), ("rm", name), ("rollback", name, "champion")):
        assert "belongs to the owner" in elsewhere("models", *command, "--hub", code=1).stderr
    other = f"{name}-acme"
    assert f"{other}@v1" in elsewhere("models", "push", name, "--as", other).stdout


def written(partial: Path) -> int:
    """Bytes on the disk of files under way."""
    return sum(one.stat().st_blocks * 512 for one in partial.iterdir()) if partial.is_dir() else 0


def kill_at(process: Any, partial: Path, eventually: Eventually) -> int:
    """Kill a transfer once a quarter of it is on the disk, and return how much there is."""
    try:
        eventually(lambda: written(partial) > LARGE // 4)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    here = written(partial)
    assert here < LARGE  # it was killed in the middle
    return here


@pytest.fixture
def large(tmp_path: Path, name: str) -> str:
    """A model that takes a moment to send, of which nothing is anywhere."""
    (tmp_path / "large.bin").write_bytes(Random(name).randbytes(LARGE))
    return str(tmp_path / "large.bin")


def test_a_pull_that_was_killed_fetches_the_rest_alone(
    network: Shell, elsewhere: Shell, large: str, name: str, eventually: Eventually
) -> None:
    network("models", "add", large, name)
    partial = elsewhere.directory / "models" / "blocks" / "partial"
    here = kill_at(elsewhere.start("models", "pull", name), partial, eventually)
    pulled = read(elsewhere, "pull", name)
    assert pulled["received_bytes"] < LARGE - here + 9 * MIB
    elsewhere("models", "verify", name)


def test_a_push_that_was_killed_sends_the_rest_alone(
    network: Shell, elsewhere: Shell, large: str, name: str, eventually: Eventually
) -> None:
    elsewhere("models", "add", large, name)
    partial = network.directory / "models" / "blocks" / "partial"
    here = kill_at(elsewhere.start("models", "push", name), partial, eventually)
    assert read(elsewhere, "push", name)["sent_bytes"] < LARGE - here + 9 * MIB
    network("models", "verify", name)


def test_a_push_outlives_a_hub_that_was_killed(
    shell: Shell, shell_in: type[Any], large: str, name: str, tmp_path: Path, eventually: Eventually
) -> None:
    shell("up", "--port", "0", "--node", "name=oak,cpu=1,memory=512MB")
    (tmp_path / "publisher").mkdir()
    known = json.loads((shell.directory / "client.json").read_text())
    publisher = shell_in(
        tmp_path / "publisher", {"FARLANE_URL": known["url"], "FARLANE_TOKEN": known["token"]}
    )
    publisher("models", "add", large, name)
    pushing = publisher.start("models", "push", name, "--json")
    partial = shell.directory / "models" / "blocks" / "partial"
    eventually(lambda: written(partial) > LARGE // 2)
    os.kill(json.loads((shell.directory / "hub" / "ready.json").read_text())["pid"], signal.SIGKILL)
    here = written(partial)
    assert here < LARGE
    shell("up")
    said, errors = pushing.communicate(timeout=60)
    assert pushing.returncode == 0, errors
    assert (
        json.loads(said)["sent_bytes"] < LARGE + LARGE // 3
    )  # what was on its way was lost, and nothing else
    shell("models", "verify", name)
