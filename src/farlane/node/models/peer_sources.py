"""The peers of one download: news of the swarm become its sources, at most so many of them at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import numpy as np

from farlane.errors import InvalidInput
from farlane.models.transfer.bitmap import Flags, flags_of, unpack
from farlane.models.transfer.carrier import Carrier
from farlane.models.transfer.download import Download
from farlane.models.transfer.http_carrier import STREAMS, HttpCarrier
from farlane.wire.v1 import models_pb2

log = logging.getLogger(__name__)
ORIGIN: Final = "the hub"
MOST_PEERS: Final = 16
"""Peers fetched from at the same time; each has its connections and buffers. The others wait for one to go."""
FEW_PEERS: Final = 4
"""Those that come after so many get fewer connections: together they are quick enough."""


class PeerSources:
    """Feeds a download with sources.

    Args:
        download: takes them.
        origin: brings what the hub grants.
        blocks: how many the version has.
    """

    def __init__(self, download: Download, origin: Carrier, blocks: int) -> None:
        self._download, self._origin, self._blocks = download, origin, blocks
        self._addresses: dict[str, str] = {}
        self._have: dict[str, Flags] = {}
        self._carriers: dict[str, HttpCarrier] = {}
        self._closing: list[asyncio.Task[None]] = []
        self._ticket = ""

    @property
    def asked(self) -> set[str]:
        """Peers that are fetched from at present."""
        return set(self._carriers)

    def welcomed(self) -> None:
        """Hear that a stream to the swarm stands: grants of an earlier one are void."""
        self._download.add_source(ORIGIN, self._origin, flags_of(self._blocks), origin=True)

    def hear(self, news: models_pb2.SwarmNews) -> None:
        """Take news of the swarm.

        Raises:
            InvalidInput: they speak of blocks that there are not.
        """
        if news.ticket:
            self._ticket = news.ticket
            for carrier in self._carriers.values():
                carrier.renew(news.ticket)
        for name in news.left:
            self._forget(name)
        for peer in news.joined:
            self._join(peer.name, peer.address, unpack(peer.have, self._blocks))
        for row in news.has:
            self._has(row.name, self._checked(row.blocks))
        if news.granted:
            self._download.source_has(ORIGIN, self._checked(news.granted))
        self._promote()

    async def close(self) -> None:
        """End all connections."""
        for name in list(self._carriers):
            self._close(name)
        await asyncio.gather(*self._closing)

    def _join(self, name: str, address: str, have: Flags) -> None:
        if self._addresses.get(name, address) != address:
            self._forget(name)
        self._addresses[name], self._have[name] = address, have
        if name in self._carriers:  # known from before the hub was away
            self._download.source_has(name, np.flatnonzero(have).tolist())

    def _has(self, name: str, indices: Sequence[int]) -> None:
        if name not in self._have:
            return
        self._have[name] |= flags_of(self._blocks, indices)
        if name in self._carriers:
            self._download.source_has(name, indices)

    def _forget(self, name: str) -> None:
        self._addresses.pop(name, None)
        self._have.pop(name, None)
        if name in self._carriers:
            self._download.source_left(name)
            self._close(name)

    def _promote(self) -> None:
        """Take in peers that wait, in the place of those that were banned or left."""
        if not self._ticket:
            return
        banned = self._download.progress.banned
        for name in [name for name in self._carriers if name in banned]:
            self._close(name)
        for name, address in list(self._addresses.items()):
            if len(self._carriers) >= MOST_PEERS:
                return
            if name in self._carriers or name in banned:
                continue
            try:
                streams = STREAMS if len(self._carriers) < FEW_PEERS else 1 + STREAMS // 4
                self._carriers[name] = HttpCarrier(address, self._ticket, streams)
            except InvalidInput as error:
                log.info("peer %s is left out: %s", name, error.message)
                del self._addresses[name], self._have[name]
                continue
            self._download.add_source(name, self._carriers[name], self._have[name])

    def _close(self, name: str) -> None:
        self._closing = [task for task in self._closing if not task.done()]
        self._closing.append(asyncio.ensure_future(self._carriers.pop(name).close()))

    def _checked(self, indices: Sequence[int]) -> list[int]:
        if indices and max(indices) >= self._blocks:
            raise InvalidInput(f"the hub speaks of block {max(indices)} of a version that has {self._blocks}")
        return list(indices)
