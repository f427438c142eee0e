"""`farlane nodes`: what left long ago is not listed unless asked for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from farlane.cli import nodes
from farlane.sdk.values import NodeStatus
from farlane.testing.builders import a_node

HOUR_S = 3600.0


def status(name: str, state: str, seen_h: float | None, joined_h: float = 1000) -> NodeStatus:
    now = time.time()
    seen = 0.0 if seen_h is None else now - seen_h * HOUR_S
    return NodeStatus(a_node(name), state, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, seen, now - joined_h * HOUR_S)


KNOWN = [
    status("here", "online", 0),
    status("away", "offline", 23),
    status("gone", "offline", 25),
    status("forgotten", "offline", None),
    status("fresh", "offline", None, joined_h=1),
    status("owing", "lost", 100),
]


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run the command on what a hub would have told."""
    monkeypatch.setattr(nodes, "with_client", lambda _: KNOWN)
    return lambda *arguments: CliRunner().invoke(nodes.nodes, arguments)


def test_nodes_that_left_long_ago_are_left_out(listed: Callable[..., Any]) -> None:
    found = listed()
    names = [line.split()[0] for line in found.stdout.splitlines()[1:]]
    assert names == ["here", "away", "fresh", "owing"]
    assert found.stderr == "2 nodes offline for long are left out; --all shows all\n"
    assert len(json.loads(listed("--json").stdout)) == 4


def test_all_of_them_are_listed_when_asked_for(listed: Callable[..., Any]) -> None:
    found = listed("--all")
    assert len(found.stdout.splitlines()) == 1 + len(KNOWN)
    assert found.stderr == ""
    assert len(json.loads(listed("--all", "--json").stdout)) == len(KNOWN)
