"""`farlane scheduler promote` on histories that a small world has recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from farlane.cli.main import main
from farlane.hub.deciding.promoted import promotion
from farlane.lab import promotion as judging
from farlane.lab.evaluation.statistics import Interval
from farlane.lab.promotion import Evidence
from farlane.scheduler.learned.shipped import shipped_bytes
from farlane.testing.builders import a_job, a_node
from farlane.testing.past_worlds import keep_world
from farlane.testing.small_world import SmallWorld

CLEAR = Interval(0.9, 0.85, 0.95)
NONE = Interval(0.0, -1.0, 1.0)


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint beside a hub's store of 45 jobs."""
    monkeypatch.setenv("FARLANE_DIR", str(tmp_path))
    world = SmallWorld()
    world.join(a_node("elm", cpu=1000))
    for number in range(45):
        world.submit(a_job(profile="", estimate_ms=2000), key=str(number))
        world.schedule()
        world.now += 2
        world.end_all()
    (tmp_path / "hub").mkdir()
    keep_world(world, tmp_path / "hub" / "store.db")
    path = tmp_path / "mine.npz"
    path.write_bytes(shipped_bytes())
    return path


def evidence(*reasons: str) -> Evidence:
    return Evidence("mine", "fifo", CLEAR, NONE, NONE, 0, 0, 9, 45, 45, reasons)


def test_one_that_gains_nothing_is_not_promoted(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scheduler", "promote", str(checkpoint)]) == 1
    said = capsys.readouterr()
    assert "45 jobs, 45 tasks in 9 windows" in said.out
    assert "is not promoted: completion times are no shorter" in said.err
    assert promotion(checkpoint.parent / "hub") is None


def test_one_that_passes_is_promoted_and_rolled_back(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub, asked = checkpoint.parent / "hub", []

    def judge(*arguments: object) -> Evidence:
        asked.append(arguments[2][0])  # type: ignore[index]
        return evidence()

    monkeypatch.setattr(judging, "judge", judge)
    assert main(["scheduler", "promote", str(checkpoint), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["promoted"] is False
    assert promotion(hub) is None
    assert main(["scheduler", "promote", str(checkpoint)]) == 0
    found = promotion(hub)
    assert found is not None
    assert found.instead_of == "fifo"
    assert json.loads((hub / "promoted" / found.checkpoint).with_suffix(".json").read_text())["jobs"] == 45
    assert main(["scheduler", "promote", str(checkpoint), "--dry-run"]) == 0
    assert asked[:2] == ["fifo", "fifo"]
    assert asked[2].endswith(found.checkpoint)
    assert main(["scheduler", "promote", "--rollback"]) == 0
    assert "the policy of the settings decides again" in capsys.readouterr().err
    assert promotion(hub) is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "name the checkpoint to promote"),
        (("none.npz",), "there is no checkpoint none.npz"),
        (("--rollback",), "nothing is promoted"),
    ],
)
def test_what_cannot_be_done_is_said(
    refused: Callable[..., str], arguments: tuple[str, ...], says: str
) -> None:
    assert says in refused("scheduler", "promote", *arguments)


def test_an_empty_history_is_said(tmp_path: Path, refused: Callable[..., str]) -> None:
    path = tmp_path / "mine.npz"
    path.write_bytes(shipped_bytes())
    assert "there is no store" in refused("scheduler", "promote", str(path))
    (tmp_path / "hub").mkdir()
    keep_world(SmallWorld(), tmp_path / "hub" / "store.db")
    assert "no jobs and nodes to replay yet" in refused("scheduler", "promote", str(path))
