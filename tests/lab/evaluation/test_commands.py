"""`farlane scheduler evaluate` and `compare`, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from farlane.cli.main import main
from farlane.lab.evaluation import assessment, splits


@pytest.fixture(autouse=True)
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARLANE_DIR", str(tmp_path))


def test_two_rules_are_compared(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "scheduler",
        "compare",
        "best-fit",
        "random",
        "--traces",
        str(traces / "openb"),
        "--orders",
        "2",
    ]
    assert main([*arguments, "--workers", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["setting"] for each in found] == ["openb default", "openb other"]
    assert main([*arguments, "--workers", "1", "--rule", "fgd"]) == 0
    assert "VERDICT" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["evaluate", "none.npz"], "cannot read the checkpoint"),
        (["evaluate", "--traces", "nowhere"], "no directory nowhere"),
        (["compare", "f1", "f9"], "no directory"),
        (["compare", "f1", "none.npz", "--traces", "{traces}"], "cannot read the checkpoint"),
    ],
)
def test_what_is_missing_is_said(
    arguments: list[str], says: str, traces: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scheduler", *(each.format(traces=traces) for each in arguments)]) == 1
    assert says in capsys.readouterr().err


def test_shipped_weights_are_evaluated(
    traces: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = assessment.assess
    small = assessment.Extent(2, 2, 0, tables=False, length=12, toys=0, rounds=1)
    monkeypatch.setattr(
        assessment, "assess", lambda one, two, there, _extent, **more: whole(one, two, there, small, **more)
    )
    assert main(["scheduler", "evaluate", "--traces", str(traces), "--workers", "1", "--fresh"]) == 0
    said = capsys.readouterr().out
    assert "Lublin-1, backfill" in said
    assert "best rule in hindsight" in said
    assert splits.SEQUENCES >= 40
