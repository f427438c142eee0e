"""When nodes came and went: kept beside the store, bounded, and never in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from farlane.domain.ids import NodeId
from farlane.hub.presence import EVERYBODY, FILE, Presence, PresenceLog, older, read_presence
from farlane.testing.running_hub import RunningHub

ELM = NodeId("elm")


def test_comings_and_goings_are_read_back_in_order(tmp_path: Path) -> None:
    log = PresenceLog(tmp_path / FILE)
    log.note(1.5, ELM, online=True)
    log.note(2.5, ELM, online=False)
    assert list(read_presence(tmp_path / FILE)) == [Presence(1.5, ELM, True), Presence(2.5, ELM, False)]


def test_two_files_of_bounded_size_keep_the_newest(tmp_path: Path) -> None:
    log = PresenceLog(tmp_path / FILE, max_bytes=500)
    for at in range(100):
        log.note(float(at), ELM, online=bool(at % 2))
    kept = list(read_presence(tmp_path / FILE))
    assert [each.at for each in kept] == list(range(100 - len(kept), 100))
    assert 10 < len(kept) < 25
    assert older(tmp_path / FILE).stat().st_size <= 500


def test_lines_that_are_none_are_left_out(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(
        b'{"at": 1, "node": "elm", "online": true}\n\xff\n[]\n{"at": "x"}\n{"at": 2, "no'
    )
    assert list(read_presence(tmp_path / FILE)) == [Presence(1.0, ELM, True)]


def test_what_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = PresenceLog(tmp_path / "nowhere" / FILE)
    log.note(1.0, ELM, online=True)
    log.note(2.0, ELM, online=True)
    assert caplog.text.count("cannot keep when nodes come and go") == 1


async def test_a_hub_keeps_them(tmp_path: Path) -> None:
    async with RunningHub(tmp_path) as hub, hub.node("elm") as node:
        await node.finish()
    found = [(each.node, each.online) for each in read_presence(tmp_path / FILE)]
    assert found == [(EVERYBODY, False), ("id-elm", True), ("id-elm", False)]
