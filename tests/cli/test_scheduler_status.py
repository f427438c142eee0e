"""`farlane scheduler status`: who decides, in words, in tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from farlane.cli import scheduler_status
from farlane.sdk.deciding import DecidingStatus, DecisionSeconds, ShadowAgreement

LEARNED = DecidingStatus(
    "learned", "fifo", "policy", "", 5.0, "ready", {"policy": 3, "timeout": 1},
    {"process": DecisionSeconds(4, 0.002, 0.0025), "rule": DecisionSeconds(1, 2.0, None)},
    {"spread": ShadowAgreement(4, 0.5)}, 3, 0.25, 0.1, 2, 4, 1,
)  # fmt: skip


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run the command on what a hub would have told."""
    monkeypatch.setenv("FARLANE_DIR", str(tmp_path))

    def run(found: DecidingStatus, *arguments: str) -> str:
        monkeypatch.setattr(scheduler_status, "with_client", lambda _: found)
        done = CliRunner().invoke(scheduler_status.status, arguments)
        assert done.exit_code == 0
        return done.stdout

    return run


def test_all_of_it_is_told(shown: Callable[..., str]) -> None:
    text = shown(LEARNED)
    assert text.startswith("the policy learned decides; where it cannot, the rule fifo\nits process: ready\n")
    assert "timeout  1          25.0%" in text
    assert "process  4          2.00 ms     2.50 ms" in text
    assert "rule     1          2000.00 ms  more" in text
    assert "spread  4       50.0%" in text
    assert "of 3 answers: drift 25.0%, disagreement 10.0%; 2 tasks were out of date" in text
    assert "decision log: 4 kept, 1 dropped" in text
    assert json.loads(shown(LEARNED, "--json"))["shadows"]["spread"]["share"] == 0.5


def test_why_the_rule_decides_is_told_first(shown: Callable[..., str]) -> None:
    late = replace(LEARNED, why="timeout", text="no answer within 250 ms")
    assert shown(late).startswith(
        "the rule fifo decides in place of the policy learned (timeout: no answer within"
    )
    assert "policy learned (busy)\n" in shown(replace(LEARNED, why="busy"))


def test_where_one_rule_decides_that_is_all(shown: Callable[..., str]) -> None:
    rule = DecidingStatus("", "fifo", "rule", "", 0.0, "", {}, {}, {}, 0, 0.0, 0.0, 0, 0, 0)
    assert shown(rule) == "the rule fifo decides\n"
