"""Bodies of strangers: too large, packed bombs, cut off, or never arriving."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

import pytest

from farlane.errors import DeadlineExceeded, Exhausted, InvalidInput, TooLarge
from farlane.hub.gateway.bodies import Unpacker, held
from farlane.hub.gateway.limits import ByteBudget

TEXT = b"farlane " * 1000


async def pieces(data: bytes, size: int = 100) -> AsyncIterator[bytes]:
    """Yield data as a slow network would."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def read(
    data: bytes, encoding: str = "", limit: int = 10_000, budget: ByteBudget | None = None
) -> bytes:
    """Return a body, once it is read."""
    with held(budget or ByteBudget(1 << 30)) as body:
        found = await body.read(pieces(data), Unpacker(encoding, limit), 5)
        assert (body.size, body.arrived) == (len(found), len(data))
    return found


async def test_bodies_come_plain_and_packed() -> None:
    assert await read(TEXT) == TEXT
    assert await read(gzip.compress(TEXT), "gzip") == TEXT
    assert await read(zlib.compress(TEXT), "deflate") == TEXT
    assert await read(b"") == b""


async def test_a_bomb_is_put_out_at_the_limit() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 60_000
    with pytest.raises(TooLarge, match="100000 bytes"):
        await read(bomb, "gzip", limit=100_000)


async def test_what_is_no_body_of_its_encoding() -> None:
    packed = gzip.compress(TEXT)
    for data in (packed[:-1], packed + b"x", packed + packed, TEXT, b""):
        with pytest.raises(InvalidInput):
            await read(data, "gzip")
    with pytest.raises(InvalidInput, match="'br'"):
        await read(TEXT, "br")


async def test_all_bodies_share_a_budget() -> None:
    budget = ByteBudget(5000)
    with pytest.raises(Exhausted):
        await read(TEXT, budget=budget)
    assert budget.held == 0


async def test_a_body_that_does_not_arrive_is_not_waited_for() -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    with held(ByteBudget(10)) as body, pytest.raises(DeadlineExceeded):
        await body.read(never(), Unpacker("", 10), 0.01)
