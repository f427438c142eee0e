"""News of a swarm as sources of a download: so many peers at a time, and none that makes no sense."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import pytest

from farlane.errors import InvalidInput, NotFound
from farlane.kit.clock import ManualClock
from farlane.models.cid import RAW, Cid, block_cid
from farlane.models.transfer.bitmap import flags_of, pack
from farlane.models.transfer.carrier import Keep
from farlane.models.transfer.download import Download
from farlane.node.models import peer_sources
from farlane.node.models.peer_sources import PeerSources
from farlane.wire.v1.models_pb2 import SwarmNews, SwarmPeer, SwarmPeerHas

BLOCKS = 4
TICKET = SwarmNews(ticket="ticket", ticket_key=b"key")


class Nothing:
    """An origin that has nothing."""

    async def fetch(self, cid: Cid, keep: Keep) -> int:
        raise NotFound("not here")

    async def close(self) -> None:
        return None


@pytest.fixture
async def sources(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PeerSources]:
    """Sources with room for two peers, of a download that has not begun."""
    monkeypatch.setattr(peer_sources, "MOST_PEERS", 2)
    cids = [block_cid(RAW, bytes([number])) for number in range(BLOCKS)]
    download = Download(cids, [1] * BLOCKS, flags_of(BLOCKS), lambda index, data: None, clock=ManualClock())
    made = PeerSources(download, Nothing(), BLOCKS)
    yield made
    await made.close()


def peers(*names: str, address: str = "127.0.0.1:1", have: Iterable[int] = range(BLOCKS)) -> SwarmNews:
    bits = pack(flags_of(BLOCKS, have))
    return SwarmNews(joined=[SwarmPeer(name=name, address=address, have=bits) for name in names])


async def test_peers_beyond_the_most_wait_for_one_to_go(sources: PeerSources) -> None:
    sources.hear(TICKET)
    sources.hear(peers("a", "b", "c"))
    assert sources.asked == {"a", "b"}
    sources.hear(SwarmNews(left=["a"]))
    assert sources.asked == {"b", "c"}


async def test_nobody_is_asked_before_there_is_a_ticket_to_show(sources: PeerSources) -> None:
    sources.hear(peers("a"))
    assert sources.asked == set()
    sources.hear(TICKET)
    assert sources.asked == {"a"}


async def test_who_left_and_came_again_in_one_message_is_there(sources: PeerSources) -> None:
    sources.hear(TICKET)
    sources.hear(peers("a"))
    news = peers("a", address="127.0.0.1:2")
    news.left.append("a")
    sources.hear(news)
    assert sources.asked == {"a"}


@pytest.mark.parametrize("address", ["", "nowhere", "http://127.0.0.1:1", "127.0.0.1:99999"])
async def test_a_peer_without_an_address_is_left_out(sources: PeerSources, address: str) -> None:
    sources.hear(TICKET)
    sources.hear(peers("a", address=address))
    sources.hear(peers("b"))
    assert sources.asked == {"b"}


@pytest.mark.parametrize(
    "news",
    [
        SwarmNews(granted=[BLOCKS]),
        SwarmNews(joined=[SwarmPeer(name="a", address="127.0.0.1:1", have=b"\xff")]),
        SwarmNews(has=[SwarmPeerHas(name="a", blocks=[BLOCKS])]),
    ],
)
async def test_news_of_blocks_that_there_are_not_are_refused(sources: PeerSources, news: SwarmNews) -> None:
    sources.hear(TICKET)
    sources.hear(peers("a", have=[]))
    with pytest.raises(InvalidInput):
        sources.hear(news)


async def test_what_an_unknown_peer_has_changes_nothing(sources: PeerSources) -> None:
    sources.hear(TICKET)
    sources.hear(SwarmNews(has=[SwarmPeerHas(name="stranger", blocks=[0])], left=["another"]))
    assert sources.asked == set()
