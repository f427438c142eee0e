"""Gateways that lie, send too much, redirect or fail: the next one is asked, and a liar never again."""

from __future__ import annotations

import pytest

from farlane.errors import Corrupted, InvalidInput, NotFound, Unavailable
from farlane.kit.clock import ManualClock
from farlane.models.cid import RAW, block_cid
from farlane.models.ipfs.gateway_source import MAX_FAILURES, PAUSE_S, GatewaySource

DATA = b"the right bytes"
CID = block_cid(RAW, DATA)


@pytest.mark.parametrize("lie", [b"the wrong bytes", DATA + b"!", b"", bytes((2 << 20) + 1)])
def test_a_liar_is_asked_once_and_the_block_comes_from_another(scripted, lie: bytes) -> None:
    liar, honest = scripted(200, lie), scripted(200, DATA)
    source = GatewaySource([liar.url, honest.url])
    assert source.get(CID) == DATA
    assert source.get(CID) == DATA
    assert len(liar.asked) == 1
    assert source.liars == (liar.url,)
    assert honest.asked == [f"/ipfs/{CID}?format=raw"] * 2


def test_only_liars(scripted) -> None:
    source = GatewaySource([scripted(200, b"wrong").url])
    with pytest.raises(Corrupted, match="name another"):
        source.get(CID)
    with pytest.raises(Corrupted, match="before"):
        source.get(CID)


def test_a_redirect_is_not_followed(scripted) -> None:
    honest = scripted(200, DATA)
    with pytest.raises(Unavailable, match="302"):
        GatewaySource([scripted(302, f"{honest.url}/ipfs/{CID}".encode()).url]).get(CID)
    assert honest.asked == []


def test_who_has_it_not_stays_a_good_gateway(scripted) -> None:
    empty = scripted(404, b"no")
    source = GatewaySource([empty.url])
    for _ in range(MAX_FAILURES + 1):
        with pytest.raises(NotFound):
            source.get(CID)
    assert len(empty.asked) == MAX_FAILURES + 1


def test_who_fails_is_left_alone_for_a_while(scripted) -> None:
    clock = ManualClock()
    broken, other = scripted(500, b"broken"), scripted(404, b"no")
    source = GatewaySource([broken.url, other.url], clock=clock)
    for _ in range(MAX_FAILURES + 2):
        with pytest.raises((NotFound, Unavailable)):
            source.get(CID)
    assert len(broken.asked) == MAX_FAILURES
    clock.advance(PAUSE_S + 1)
    with pytest.raises(Unavailable):
        source.get(CID)
    assert len(broken.asked) == MAX_FAILURES + 1


@pytest.mark.parametrize(
    "url", ["", "ftp://a", "http://", "http://u:p@a", "http://a?b", "http://a b", "http://a:99999999"]
)
def test_what_is_no_gateway(url: str) -> None:
    with pytest.raises(InvalidInput):
        GatewaySource([url])


def test_none_and_too_many() -> None:
    for urls in ([], [f"http://127.0.0.{n}" for n in range(40)]):
        with pytest.raises(InvalidInput, match="gateways"):
            GatewaySource(urls)
