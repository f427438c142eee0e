"""The bench of a hub's days: a tiny one runs through the reactor under two policies, and the table has both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.scheduler.hub_day import main, overall, run


def test_the_command_prints_a_table_and_keeps_all_scores(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = tmp_path / "scores.json"
    arguments = "--scenario busy --seeds 2 --nodes 3 --hours 0.2 --policies spread --workers 1 --json"
    monkeypatch.setattr("sys.argv", ["hub_day", *arguments.split(), str(kept)])
    main()
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "| policy | busy | all |"
    assert {row.split(" | ")[0].strip("| ") for row in rows[2:]} == {"fifo", "spread"}
    assert "1.000 [1.000, 1.000]" in next(row for row in rows if row.startswith("| fifo"))
    scores = json.loads(kept.read_text())
    assert [(row["scenario"], row["seed"], row["policy"]) for row in scores] == [
        ("busy", seed, policy) for seed in range(2) for policy in ("fifo", "spread")
    ]


def test_a_day_is_as_good_as_itself() -> None:
    scores = run((("calm", 1, "learned"), 3, 0.2))
    assert overall(scores, scores) == 0.0
