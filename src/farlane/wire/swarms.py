"""What members of a swarm hear, to and from the wire: in messages below the cap, however much there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from farlane.wire.v1 import models_pb2

MAX_INDICES: Final = 200_000
"""Numbers of blocks in one message: at most 4 bytes each."""
BITMAP_BYTES: Final = 2 << 20
"""Of the members named in one message."""


def left_news(names: list[str]) -> Iterator[models_pb2.SwarmNews]:
    """Yield who left."""
    for at in range(0, len(names), 10_000):
        yield models_pb2.SwarmNews(left=names[at : at + 10_000])


def joined_news(peers: list[models_pb2.SwarmPeer]) -> Iterator[models_pb2.SwarmNews]:
    """Yield who came."""
    batch: list[models_pb2.SwarmPeer] = []
    size = 0
    for peer in peers:
        if batch and size + peer.ByteSize() > BITMAP_BYTES:
            yield models_pb2.SwarmNews(joined=batch)
            batch, size = [], 0
        batch.append(peer)
        size += peer.ByteSize()
    if batch:
        yield models_pb2.SwarmNews(joined=batch)


def block_news(has: dict[str, list[int]], granted: list[int]) -> Iterator[models_pb2.SwarmNews]:
    """Yield who has got what, and what may be asked of the origin."""
    news, count = models_pb2.SwarmNews(), 0
    for name, indices in has.items():
        for at in range(0, len(indices), MAX_INDICES):
            piece = indices[at : at + MAX_INDICES]
            if count + len(piece) > MAX_INDICES:
                yield news
                news, count = models_pb2.SwarmNews(), 0
            news.has.append(models_pb2.SwarmPeerHas(name=name, blocks=piece))
            count += len(piece)
    for at in range(0, len(granted), MAX_INDICES):
        if count:
            yield news
        news, count = models_pb2.SwarmNews(granted=granted[at : at + MAX_INDICES]), MAX_INDICES
    if count:
        yield news
