"""The bench of a fleet: a tiny network runs under every rule that it shows, and the table has all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bench.scheduler.fleet import (
    COLUMNS,
    POLICIES,
    cell,
    learned,
    main,
    run_scenario,
    show_summary,
    show_table,
    sized,
)

from farlane.lab.generators.settings import NetworkSettings
from farlane.scheduler.sim.fleet_scores import overall
from farlane.scheduler.sim.state import FINISHED

TINY = NetworkSettings(nodes=4, hours=0.5, load=0.3, users=3, models=6, datacentre=0.0)


def test_every_policy_runs_and_has_a_row(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = run_scenario("tiny", TINY, 1, tuple(POLICIES), None)
    show_table("tiny", found)
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(" | ")[0].strip("| ") for row in rows[5:]] == list(POLICIES)
    assert all(row.count("|") == len(COLUMNS) + 3 for row in rows[3:])
    base = found["product"]
    assert overall(base[0], base[0]) == 1.0
    show_summary({"tiny": found, "again": found})
    summary = capsys.readouterr().out.splitlines()
    assert summary[1].split(" | ") == ["| policy", "tiny", "again", "all |"]
    assert {row.split(" | ")[0].strip("| ") for row in summary[3:]} == set(POLICIES)
    means = [float(row.split(" | ")[-1].strip(" |")) for row in summary[3:]]
    assert means == sorted(means)


def test_a_cell_is_a_mean_and_its_interval() -> None:
    assert cell(np.array([2.0, 2.0, 2.0]), "{:.1f}") == "2.0 [2.0, 2.0]"


def test_a_world_of_a_size_has_about_so_many_tasks() -> None:
    world = sized(6, 300)
    assert len(world.nodes.gpus) == 6
    assert 200 < len(world.tasks.arrival) < 1000


def test_the_shipped_weights_run_a_fleet() -> None:
    world = sized(4, 60)
    assert learned(None)(world).marks[FINISHED] == len(world.tasks.arrival)


def test_the_command_prints_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [
        "--scenario",
        "calm",
        "--seeds",
        "1",
        "--hours",
        "0.2",
        "--policies",
        "product",
        "SJF, soonest",
    ]
    monkeypatch.setattr("sys.argv", ["fleet", *arguments, "--nodes", "3"])
    monkeypatch.setattr("bench.scheduler.fleet.COMPILED", True)
    main()
    assert "### calm" in capsys.readouterr().out
