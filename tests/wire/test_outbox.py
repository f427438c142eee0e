"""The outbox: batches by themselves, a budget for those who can wait, and an orderly end."""

from __future__ import annotations

import asyncio

import pytest

from farlane.wire.outbox import Outbox


async def test_what_waits_comes_in_one_batch_in_order() -> None:
    outbox: Outbox[int] = Outbox()
    for item in range(5):
        assert outbox.put(item)
    assert len(outbox) == 5
    assert await outbox.drain() == [0, 1, 2, 3, 4]
    assert len(outbox) == 0


async def test_a_drain_waits_for_the_first_entry_only() -> None:
    outbox: Outbox[str] = Outbox()
    draining = asyncio.create_task(outbox.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    outbox.put("a")
    outbox.put("b")
    assert await draining == ["a", "b"]


async def test_while_a_slow_writer_writes_the_next_batch_gathers() -> None:
    outbox: Outbox[int] = Outbox()
    batches: list[list[int]] = []

    async def write() -> None:
        while batch := await outbox.drain():
            batches.append(batch)
            await asyncio.sleep(0.001)

    writing = asyncio.create_task(write())
    for item in range(2000):
        outbox.put(item)
        if item % 100 == 0:
            await asyncio.sleep(0)
    outbox.close()
    await writing
    assert [item for batch in batches for item in batch] == list(range(2000))
    assert len(batches) < 25


@pytest.mark.parametrize("budget", [{"max_entries": 2}, {"max_bytes": 10, "size_of": len}])
async def test_room_waits_for_the_budget(budget: dict[str, object]) -> None:
    outbox: Outbox[bytes] = Outbox(**budget)  # type: ignore[arg-type]
    assert await outbox.room()
    outbox.put(b"12345")
    assert not outbox.over_budget
    outbox.put(b"12345")
    assert outbox.over_budget
    waiting = [asyncio.create_task(outbox.room()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    assert await outbox.drain() == [b"12345", b"12345"]
    assert outbox.waiting_bytes == 0
    assert await asyncio.gather(*waiting) == [True] * 3


async def test_those_who_cannot_wait_may_put_beyond_the_budget() -> None:
    outbox: Outbox[int] = Outbox(max_entries=1)
    assert outbox.put(1)
    assert outbox.put(2)
    assert outbox.over_budget
    assert await outbox.drain() == [1, 2]
    assert not outbox.over_budget


async def test_a_closed_outbox_gives_what_it_has_and_then_the_end() -> None:
    outbox: Outbox[int] = Outbox(max_entries=1)
    outbox.put(1)
    waiting = asyncio.create_task(outbox.room())
    await asyncio.sleep(0)
    outbox.close()
    assert outbox.closed
    assert not outbox.put(2)
    assert await waiting is False
    assert await outbox.room() is False
    assert await outbox.drain() == [1]
    assert await outbox.drain() == []
    assert await outbox.drain() == []


async def test_closing_wakes_a_drain_that_waits() -> None:
    outbox: Outbox[int] = Outbox()
    draining = asyncio.create_task(outbox.drain())
    await asyncio.sleep(0)
    outbox.close()
    assert await draining == []
