"""Watches: results leave in order of their cursor, within credit and room, from memory or from the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.domain.ids import JobId
from farlane.domain.records import JobOpened, TasksEnded
from farlane.hub import watches
from farlane.hub.store.memory import MemoryStore
from farlane.hub.watches import Watch
from farlane.testing.builders import a_job
from farlane.testing.histories import tasks_ended

JOB = JobId(1)


class Outbox:
    """As much room as a test gives."""

    def __init__(self) -> None:
        self.sent: list[TasksEnded] = []
        self.limit = 1 << 30
        self.gone = False
        self.emptied = asyncio.Event()

    @property
    def over_budget(self) -> bool:
        return len(self.sent) >= self.limit

    async def room(self) -> bool:
        while self.over_budget and not self.gone:
            self.emptied.clear()
            await self.emptied.wait()
        return not self.gone

    def allow(self, more: int) -> None:
        self.limit += more
        self.emptied.set()


class Hub:
    """A job's store, its visible cursor, and one watch that is pumped."""

    def __init__(self, after: int = 0, credit: int = 1000) -> None:
        self.store = MemoryStore(manual=True)
        self.store.append([JobOpened(JOB, "k", a_job(), 1.0)], lambda error: None)
        self.visible: int | None = 0
        self.ended = 0
        self.outbox = Outbox()
        self.watch = Watch(JOB, after, credit, self.outbox.sent.append, self.outbox)
        self.finished = False
        self.pumping: asyncio.Task[None] | None = None

    def start(self) -> Hub:
        self.pumping = asyncio.create_task(self.watch.pump(self.store, lambda: self.visible))
        return self

    def end(self, count: int, *, durable: bool = True, deliver: bool = True) -> TasksEnded:
        """End the next tasks of the job."""
        record = tasks_ended(1, self.ended, range(self.ended, self.ended + count))
        self.ended += count
        self.store.append([record], lambda error: None)
        if durable:
            self.store.release()
        if self.visible is not None:
            self.visible = self.ended
        if deliver:
            self.watch.deliver(record)
        return record

    def finish(self) -> None:
        self.visible = None
        self.watch.finish(lambda: setattr(self, "finished", True))

    @property
    def indices(self) -> list[int]:
        """Tasks sent so far, checked against the cursor of their record."""
        found: list[int] = []
        for record in self.outbox.sent:
            assert record.results.inline == [b"result 1.%d" % index for index in record.indices]
            assert record.seq == record.indices[0]
            found += record.indices
        return found


async def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not reached():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
async def hubs() -> AsyncIterator[Callable[..., Hub]]:
    made: list[Hub] = []

    def make(after: int = 0, credit: int = 1000) -> Hub:
        made.append(Hub(after, credit).start())
        return made[-1]

    yield make
    for hub in made:
        if hub.pumping is not None:
            hub.pumping.cancel()
    await asyncio.gather(*(hub.pumping for hub in made if hub.pumping), return_exceptions=True)


async def test_a_watcher_that_keeps_up_gets_records_as_they_come(hubs: Callable[..., Hub]) -> None:
    hub = hubs()
    await turns()
    records = [hub.end(2, durable=False), hub.end(3, durable=False)]
    assert [id(sent) for sent in hub.outbox.sent] == [id(record) for record in records]


async def test_one_that_begins_late_reads_the_past_from_the_store(hubs: Callable[..., Hub]) -> None:
    hub = hubs(after=2)
    hub.end(4, deliver=False)
    hub.end(3, deliver=False)
    await until(lambda: len(hub.indices) == 5)
    assert hub.indices == [2, 3, 4, 5, 6]
    hub.end(1)
    await until(lambda: len(hub.indices) == 6)
    assert hub.indices[-1] == 7


async def test_never_more_leaves_than_the_credit(hubs: Callable[..., Hub]) -> None:
    hub = hubs(credit=3)
    await turns()
    hub.end(2)
    hub.end(4)
    await turns()
    assert hub.indices == [0, 1, 2]
    hub.watch.add_credit(2)
    await until(lambda: len(hub.indices) == 5)
    hub.end(1)
    await turns()
    assert hub.indices == [0, 1, 2, 3, 4]
    hub.watch.add_credit(100)
    await until(lambda: len(hub.indices) == 7)
    assert hub.indices == list(range(7))


async def test_never_more_leaves_than_the_outbox_has_room_for(hubs: Callable[..., Hub]) -> None:
    hub = hubs()
    await turns()
    hub.outbox.limit = 1
    for _ in range(4):
        hub.end(2)
    await turns()
    assert hub.indices == [0, 1]
    hub.outbox.allow(2)
    await until(lambda: len(hub.indices) == 6)
    await turns()
    assert len(hub.outbox.sent) == 3
    hub.outbox.allow(5)
    await until(lambda: hub.indices == list(range(8)))


@pytest.mark.parametrize("limit", ["LIVE_ROWS", "LIVE_BYTES"])
async def test_one_that_falls_far_behind_is_served_from_the_store(
    hubs: Callable[..., Hub], monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(watches, limit, 30)
    hub = hubs(credit=0)
    hub.watch.add_credit(1)
    await turns()
    for _ in range(40):
        hub.end(2)
    await turns()
    assert not hub.watch._live
    hub.watch.add_credit(1000)
    await until(lambda: len(hub.indices) == 80)
    assert hub.indices == list(range(80))
    hub.end(1)
    await until(lambda: hub.indices == list(range(81)))


async def test_what_is_shown_before_its_fsync_is_waited_for(
    hubs: Callable[..., Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "RETRY_S", 0.0)
    hub = hubs()
    hub.end(2, durable=False, deliver=False)
    await turns(100)
    assert hub.indices == []
    hub.store.release()
    await until(lambda: hub.indices == [0, 1])


async def test_large_results_leave_in_pieces_that_fit_a_message(
    hubs: Callable[..., Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farlane.hub.result_rows.MESSAGE_BYTES", 200)
    hub = hubs()
    await turns()
    hub.end(7)
    assert hub.indices == list(range(7))
    assert [len(sent.indices) for sent in hub.outbox.sent] == [1, 2, 2, 2]  # the first has an output file


async def test_an_outbox_that_fills_up_in_the_middle_of_a_record_gets_the_rest_later(
    hubs: Callable[..., Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farlane.hub.result_rows.MESSAGE_BYTES", 200)
    hub = hubs()
    await turns()
    hub.outbox.limit = 2
    hub.end(7)
    await turns()
    assert hub.indices == [0, 1, 2]
    hub.outbox.allow(9)
    await until(lambda: hub.indices == list(range(7)))


class TestFinishing:
    async def test_it_ends_when_everything_was_sent(self, hubs: Callable[..., Hub]) -> None:
        hub = hubs(credit=1)
        await turns()
        hub.end(2)
        hub.finish()
        await turns()
        assert not hub.finished
        hub.watch.add_credit(1)
        await until(lambda: hub.finished)
        assert hub.indices == [0, 1]

    async def test_it_ends_without_credit_left_when_nothing_is_left_to_send(
        self, hubs: Callable[..., Hub]
    ) -> None:
        hub = hubs(credit=2)
        hub.end(2, deliver=False)
        await until(lambda: len(hub.indices) == 2)
        hub.finish()
        await until(lambda: hub.finished)

    async def test_a_watch_of_an_ended_job_reads_all_of_it(self, hubs: Callable[..., Hub]) -> None:
        hub = hubs(after=1, credit=0)
        hub.end(4, deliver=False)
        hub.finish()
        await turns()
        assert not hub.finished
        hub.watch.add_credit(2)
        await until(lambda: len(hub.indices) == 2)
        hub.watch.add_credit(9)
        await until(lambda: hub.finished)
        assert hub.indices == [1, 2, 3]

    async def test_a_cursor_beyond_the_end_gets_nothing(self, hubs: Callable[..., Hub]) -> None:
        hub = hubs(after=50)
        await turns()
        hub.end(3)
        hub.finish()
        await until(lambda: hub.finished)
        assert hub.indices == []

    async def test_when_nobody_is_left_to_send_to_nothing_is_sent(self, hubs: Callable[..., Hub]) -> None:
        hub = hubs()
        hub.outbox.gone = True
        hub.end(3, deliver=False)
        await turns()
        assert hub.indices == []


@settings(max_examples=40, deadline=None)
@given(
    after=st.integers(0, 10),
    steps=st.lists(
        st.tuples(st.sampled_from(["end", "end late", "credit", "room", "turn"]), st.integers(1, 5)),
        max_size=30,
    ),
)
def test_whatever_the_pace_every_result_comes_once_and_in_order(
    after: int, steps: list[tuple[str, int]]
) -> None:
    async def scenario() -> None:
        hub = Hub(after, credit=0)
        hub.outbox.limit = 2
        hub.start()
        credit = 0
        for what, count in steps:
            if what == "end":
                hub.end(count)
            elif what == "end late":
                hub.end(count, durable=False)
            elif what == "credit":
                credit += count
                hub.watch.add_credit(count)
            elif what == "room":
                hub.outbox.allow(count)
            else:
                await turns()
            assert len(hub.indices) <= credit
        hub.store.release()
        hub.outbox.allow(1000)
        hub.watch.add_credit(1000)
        hub.finish()
        await until(lambda: hub.finished)
        assert hub.indices == list(range(after, hub.ended))
        assert hub.pumping is not None
        await hub.pumping

    asyncio.run(scenario())
