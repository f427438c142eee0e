"""Whole small runs: copying, gradients, search; killed and resumed as if nothing had been."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("jax", reason="the lab extra is not installed: pip install 'farlane[lab]'")

from tests.lab.training.small import queue

from farlane.lab.training import run as module
from farlane.lab.training.config import Config, Imitation, Judging, Lublin, Ppo, Search
from farlane.lab.training.curves import Watcher, plot, sparkline
from farlane.lab.training.folder import RunFolder, State
from farlane.lab.training.run import Reached, Run

CONFIG = Config(
    [Lublin()], width=8, rules=2,
    imitation=Imitation(epochs=3, episodes=2, decisions=16, batch=8),
    ppo=Ppo(iterations=3, episodes=2, batch=16, epochs=2, warmup=1),
    searches=[Search(generations=3, population=4, sequences=1, check_every=2)], judging=Judging(sequences=1),
)  # fmt: skip


class Killed(Exception):
    """Ends a run in the middle, as a signal would."""


def run_in(
    path: Path, *, kill_at: int = 10**6, pause_at: float = np.inf, end_at: float = np.inf
) -> tuple[Reached | None, str]:
    """Run until a step is killed (after it was appended to the curves, before its state is kept) or time is up."""
    folder = RunFolder(path) if (path / "config.yaml").exists() else RunFolder.create(path, b"", {})
    text = io.StringIO()
    count = 0
    save = folder.save

    def kept(stage: str, state: State) -> None:
        nonlocal count
        count += 1
        if count >= kill_at:
            raise Killed
        save(stage, state)

    folder.save = kept  # type: ignore[method-assign]
    ticks = iter(range(10**6))
    with Watcher(Console(file=text, width=200)) as watcher:
        run = Run(
            CONFIG, folder, [queue("a", count=14)], watcher, lambda: float(next(ticks)), pause_at, end_at
        )
        return run.go(), text.getvalue()


def curves(path: Path) -> list[dict[str, float | int | str]]:
    return [{name: row[name] for name in row if name != "seconds"} for row in RunFolder(path).curves()]


@pytest.fixture(autouse=True)
def unplotted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "plot", lambda _folder: [])


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    straight, text = run_in(tmp_path / "straight")
    assert straight is not None
    assert "search 3/3" in text
    broken = tmp_path / "broken"
    for kill_at in (3, 4, 3):
        with pytest.raises(Killed):
            run_in(broken, kill_at=kill_at)
    resumed, _ = run_in(broken)
    assert resumed is not None
    np.testing.assert_array_equal(resumed.vector, straight.vector)
    np.testing.assert_array_equal(resumed.losses, straight.losses)
    assert curves(broken) == curves(tmp_path / "straight")
    assert [row["stage"] for row in curves(broken)] == ["imitation"] * 3 + ["ppo"] * 3 + ["search"] * 3
    pictures = plot(RunFolder(broken))
    assert [path.name for path in pictures] == ["imitation.png", "ppo.png", "search.png"]
    assert pictures[1].read_bytes().startswith(b"\x89PNG")


def test_a_run_whose_time_is_up_pauses_after_a_step(tmp_path: Path) -> None:
    found, _ = run_in(tmp_path / "run", pause_at=4.0)
    assert found is None
    assert 1 <= len(curves(tmp_path / "run")) < 9


def test_a_run_with_little_time_shares_it_out_and_ends(tmp_path: Path) -> None:
    found, _ = run_in(tmp_path / "run", end_at=16.0)
    assert found is not None
    steps = [row["stage"] for row in curves(tmp_path / "run")]
    assert 1 <= len(steps) < 9
    assert "search" in steps  # the last stage had its part


def test_a_sparkline_shows_lows_and_highs() -> None:
    assert sparkline([0, 1, 2, 7]) == "▁▂▃█"
    assert sparkline([5, 5]) == "▁▁"
    assert len(sparkline(list(range(1000)), width=10)) == 10
