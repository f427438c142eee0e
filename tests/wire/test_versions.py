"""Which versions of a peer are accepted, and who is told to upgrade."""

from __future__ import annotations

import pytest

from farlane.errors import UnsupportedVersion
from farlane.wire.v1 import types_pb2
from farlane.wire.versions import PROTOCOL_MAJOR, PROTOCOL_MINOR, check_peer, this_version

LATEST = (1 << 32) - 1


@pytest.mark.parametrize(("major", "minor"), [(1, 0), (1, 1), (1, 2), (1, LATEST)])
def test_one_minor_back_and_every_newer_minor_is_accepted(major: int, minor: int) -> None:
    check_peer(types_pb2.Version(major=major, minor=minor, software="farlane 9"))


@pytest.mark.parametrize(
    ("major", "minor", "said"),
    [
        (0, 0, "did not say which protocol version it speaks"),
        (0, 9, "speaks protocol 0.9, which is too old: upgrade farlane on the peer"),
        (2, 0, "speaks protocol 2.0, which is newer: upgrade farlane on this side"),
        (LATEST, LATEST, "which is newer: upgrade farlane on this side"),
    ],
)
def test_others_are_refused_and_the_side_to_upgrade_is_named(major: int, minor: int, said: str) -> None:
    peer = types_pb2.Version(major=major, minor=minor, software="farlane 9" + "x" * 999)
    with pytest.raises(UnsupportedVersion, match=said) as caught:
        check_peer(peer)
    assert "speaks 1.1 and accepts 1.0 and every later 1.x" in caught.value.message
    assert len(caught.value.message) < 300
    assert caught.value.facts == {"major": major, "minor": minor, "ours": "1.1"}


@pytest.mark.parametrize(("minor", "accepted"), [(2, False), (3, True), (4, True), (5, True)])
def test_two_minors_back_is_too_old(minor: int, accepted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farlane.wire.versions.PROTOCOL_MINOR", 4)
    peer = types_pb2.Version(major=1, minor=minor)
    if accepted:
        check_peer(peer)
    else:
        with pytest.raises(UnsupportedVersion, match="too old: upgrade farlane on the peer"):
            check_peer(peer)


def test_this_side_speaks_a_version_it_accepts() -> None:
    version = this_version()
    assert (version.major, version.minor) == (PROTOCOL_MAJOR, PROTOCOL_MINOR) == (1, 1)
    assert version.software.startswith("farlane ")
    check_peer(version)
