"""Requests under way at one replica: what has come of their replies, and how much more it may send of each.

A replica may have so many bytes of each request under way before it is given credit for them. Credit comes at once for
a reply that grows alone; it waits while replies that are whole have not been passed on (a slow client), and while the
replies of all requests together fill the memory that one replica may take: then the oldest alone goes on growing.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from farlane.domain.inference import InferenceReply
from farlane.errors import FarlaneError, InvalidInput
from farlane.wire.inference import MAX_REPLY_BYTES, PIECE_BYTES, decode_reply
from farlane.wire.v1 import serving_pb2

WINDOW_BYTES = 4 << 20
"""Bytes of replies a node may send for one request without credit."""
HELD_BYTES = 64 << 20
"""Bytes of one replica's replies that are held before all but the oldest wait."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A whole reply. size: its bytes; owed: those of them without credit yet."""

    reply: InferenceReply
    size: int
    owed: int


@dataclass(slots=True, eq=False)
class Exchange:
    """One request under way. owed: bytes of `partial` without credit yet; unpaid: of whole replies that wait too."""

    number: int
    arrived: asyncio.Queue[Arrived | None] = field(default_factory=asyncio.Queue)
    """Whole replies, then None."""
    partial: bytearray = field(default_factory=bytearray)
    owed: int = 0
    unpaid: int = 0
    waiting: int = 0
    """Bytes of whole replies that wait."""
    ended: bool = False
    error: FarlaneError | None = None

    def end(self, error: FarlaneError | None) -> None:
        """Let nothing more come."""
        if not self.ended:
            self.ended, self.error = True, error
            self.arrived.put_nowait(None)


class Exchanges:
    """All requests under way at one replica, the oldest first.

    Args:
        credit: gives the replica credit: request, bytes.
        on_reply: hears of each reply that is whole: request, reply.
    """

    def __init__(
        self,
        credit: Callable[[int, int], None],
        on_reply: Callable[[int, InferenceReply], None] = lambda number, reply: None,
    ) -> None:
        self._credit, self._on_reply = credit, on_reply
        self._numbers = itertools.count(1)
        self._all: dict[int, Exchange] = {}
        self.held = 0
        """Bytes of replies, whole or not, that are held here."""

    def __len__(self) -> int:
        return len(self._all)

    def get(self, number: int) -> Exchange | None:
        """Return one that is under way."""
        return self._all.get(number)

    def open(self) -> Exchange:
        """Begin one."""
        exchange = Exchange(next(self._numbers))
        self._all[exchange.number] = exchange
        return exchange

    def close(self, exchange: Exchange) -> None:
        """Forget one, and what has come of it."""
        del self._all[exchange.number]
        self.held -= len(exchange.partial) + exchange.waiting
        self._pay_all()

    def end_all(self, error: FarlaneError) -> None:
        """Let nothing more come for any."""
        for exchange in self._all.values():
            exchange.end(error)

    def take(self, exchange: Exchange, part: serving_pb2.ReplyPart) -> None:
        """Hear a part of a reply.

        Raises:
            InvalidInput: it is more than was allowed, or no reply.
        """
        size = len(part.data)
        if size > PIECE_BYTES or len(exchange.partial) + size > MAX_REPLY_BYTES:
            raise InvalidInput(
                f"a replica's reply is larger than {MAX_REPLY_BYTES} bytes: ask for less at a time"
            )
        exchange.unpaid += size
        if exchange.unpaid > WINDOW_BYTES + PIECE_BYTES:
            raise InvalidInput(
                "a replica sends more than it was given credit for; upgrade farlane on its node"
            )
        exchange.owed += size
        exchange.partial += part.data
        self.held += size
        if part.last:
            self._complete(exchange)
        elif self._may_grow(exchange):
            self._pay(exchange)

    def passed_on(self, exchange: Exchange, arrived: Arrived) -> None:
        """Hear that a reply was taken: what it held is free."""
        exchange.waiting -= arrived.size
        self.held -= arrived.size
        exchange.unpaid -= arrived.owed
        if arrived.owed:
            self._credit(exchange.number, arrived.owed)
        self._pay_all()

    def _complete(self, exchange: Exchange) -> None:
        data = bytes(exchange.partial)
        arrived = Arrived(decode_reply(data), len(data), exchange.owed)
        exchange.partial.clear()
        exchange.owed = 0
        exchange.waiting += arrived.size
        self._on_reply(exchange.number, arrived.reply)
        exchange.arrived.put_nowait(arrived)

    def _may_grow(self, exchange: Exchange) -> bool:
        if exchange.waiting:
            return False
        if self.held <= HELD_BYTES:
            return True
        oldest = next((each for each in self._all.values() if each.partial and not each.waiting), None)
        return exchange is oldest

    def _pay(self, exchange: Exchange) -> None:
        if exchange.owed:
            self._credit(exchange.number, exchange.owed)
            exchange.unpaid -= exchange.owed
            exchange.owed = 0

    def _pay_all(self) -> None:
        for exchange in self._all.values():
            if exchange.owed and exchange.partial and not exchange.ended and self._may_grow(exchange):
                self._pay(exchange)
