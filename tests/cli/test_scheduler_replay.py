"""`farlane scheduler replay` on stores that a small world has filled."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from farlane.cli.main import main
from farlane.testing.builders import a_job, a_node
from farlane.testing.past_worlds import keep_world
from farlane.testing.small_world import SmallWorld


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store of this machine's hub: 20 jobs of three tasks on one node."""
    monkeypatch.setenv("FARLANE_DIR", str(tmp_path))
    world = SmallWorld()
    world.join(a_node("elm", cpu=1000))
    for number in range(20):
        world.submit(a_job(profile="", estimate_ms=2000), 3, key=str(number))
        for _ in range(3):
            world.schedule()
            world.now += 2
            world.end_all()
    path = tmp_path / "hub" / "store.db"
    path.parent.mkdir()
    keep_world(world, path)
    return path


def test_the_past_is_compared_with_what_it_would_have_been(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scheduler", "replay", "--json", "--policy", "fifo", "--policy", "spread"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["jobs"], found["tasks"]) == (20, 60)
    assert [row["policy"] for row in found["policies"]] == ["recorded", "fifo", "spread"]
    assert (
        main(["scheduler", "replay", "--json", "--policy", "fifo", "--policy", "spread", "--simulated"]) == 0
    )
    assert json.loads(capsys.readouterr().out) == found
    assert main(["scheduler", "replay", "--store", str(store), "--last", "5"]) == 0
    said = capsys.readouterr()
    assert "shortest-first" in said.out
    assert "5 jobs, 15 tasks, 1 nodes" in said.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "there is no store"),
        (("--policy", "fifi"), "'fifi' is not a placement policy"),
        (("--policy", "none.npz"), "there is no checkpoint none.npz"),
    ],
)
def test_what_cannot_be_replayed_is_said(
    refused: Callable[..., str], arguments: tuple[str, ...], says: str
) -> None:
    assert says in refused("scheduler", "replay", *arguments)
