"""`farlane scheduler explain`: the shipped weights, a file, and what is neither."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from farlane.cli.main import main
from farlane.scheduler.learned.ensemble import FEATURES, dump
from farlane.scheduler.learned.manifest import Manifest, Source, Span
from farlane.scheduler.learned.rule_equal import rule_equal, rule_equal_checkpoint


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARLANE_DIR", str(tmp_path / "farlane"))


def test_the_shipped_weights_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scheduler", "explain"]) == 0
    shown = capsys.readouterr().out
    assert "which task goes first:" in shown
    assert "licence Apache-2.0" in shown
    assert all(name in shown for names in FEATURES.values() for name in names)


def test_a_file_is_explained_for_people_and_for_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rule.npz"
    path.write_bytes(rule_equal_checkpoint())
    assert main(["scheduler", "explain", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    effects = {(each["kind"], each["name"]): each for each in found["features"]}
    assert effects["task", "expected"]["weight"] == -5.0
    assert effects["task", "expected"]["effect"] == pytest.approx(-5.0)
    assert effects["pair", "left_cpu_of_largest"]["effect"] == pytest.approx(-1.0)
    assert effects["node", "price"]["effect"] == 0.0
    assert found["manifest"]["members"] == 1


def test_what_it_was_trained_on_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spans = {"task": tuple(Span(0.0, 0.5, 2.0) for _ in FEATURES["task"])}
    manifest = Manifest(
        1,
        {},
        FEATURES,
        spans,
        (Source("made", ""), Source("log", "ab" * 32)),
        (7, 8),
        "c0ffee",
        {"bsld": 2.5},
        "MIT",
    )
    path = tmp_path / "trained.npz"
    path.write_bytes(dump([rule_equal()], manifest))
    assert main(["scheduler", "explain", str(path)]) == 0
    shown = capsys.readouterr().out
    for part in (
        "commit c0ffee",
        "seeds 7, 8",
        "trained on made\n",
        "trained on log (sha256 abababababab...)",
        "bsld 2.5",
    ):
        assert part in shown
    assert "-10.000" in shown


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("fifo", "is a rule and has no weights"),
        ("nowhere.npz", "there is no checkpoint"),
        ("leaned", "did you mean"),
    ],
)
def test_what_is_no_checkpoint_is_refused(name: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scheduler", "explain", name]) == 1
    assert says in capsys.readouterr().err


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "odd.npz"
    path.write_bytes(b"PK nonsense")
    assert main(["scheduler", "explain", str(path)]) == 1
    assert "not a checkpoint" in capsys.readouterr().err
