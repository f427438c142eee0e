"""`farlane scheduler traces`, in this process and without any network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from farlane.cli.main import main


def test_the_list_says_what_is_here_and_on_which_terms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FARLANE_DIR", str(tmp_path))
    assert main(["scheduler", "traces", "list", "--json"]) == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert listed["philly"]["here"] is False
    assert listed["philly"]["file"] == str(tmp_path / "traces" / "other" / "philly_jobs.csv.gz")
    assert listed["sdsc-sp2"]["accept_terms"] is True
    assert main(["scheduler", "traces", "list"]) == 0
    assert "Regents" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "name the traces to fetch"),
        (("philly", "--all"), "name the traces to fetch"),
        (("phily",), "no trace 'phily' is known; did you mean 'philly'"),
        (("lublin-1",), "comes with terms"),
    ],
)
def test_what_cannot_be_fetched_is_said(
    refused: Callable[..., str], arguments: tuple[str, ...], says: str
) -> None:
    assert says in refused("scheduler", "traces", "fetch", *arguments)


def test_an_unknown_command_names_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARLANE_DIR", str(tmp_path))
    assert main(["scheduler", "trace"]) == 2
