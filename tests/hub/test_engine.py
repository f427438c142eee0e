"""The engine: outputs wait for the records before them, in order; a store that fails lets nothing leave."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from farlane.domain.ids import JobId, task_id
from farlane.domain.jobs import Durability
from farlane.domain.records import Record
from farlane.errors import Conflict, DiskFull, InvalidInput, Unavailable
from farlane.hub import engine as engine_module
from farlane.hub.engine import MAX_WAIT_S, ROUND_SHARE, Engine
from farlane.hub.reactor.commands import FinishJob, GrantLeases, Output
from farlane.hub.reactor.reactor import Reactor
from farlane.hub.store.memory import MemoryStore
from farlane.kit.clock import ManualClock
from farlane.scheduler.policy import policy_named
from farlane.scheduler.view import Decision, View
from farlane.testing.builders import a_job, a_node, payloads

SECRET = b"secret"


class CountingStore(MemoryStore):
    """Remembers what was appended together."""

    def __init__(self) -> None:
        super().__init__(manual=True)
        self.appends: list[list[Record]] = []

    def append(self, records, on_durable):
        self.appends.append(list(records))
        super().append(records, on_durable)


@dataclass
class Stage:
    """An engine with everything it touches."""

    store: CountingStore = field(default_factory=CountingStore)
    clock: ManualClock = field(default_factory=ManualClock)
    done: list[object] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        policy = policy_named("fifo")
        self.engine = Engine(
            Reactor(1, 10.0), self.store, policy, self.clock, self.perform, self.failures.append
        )

    def perform(self, output: Output) -> None:
        self.done.append(output)

    def note(self, what: str, *, relaxed: bool = False) -> None:
        self.engine.after(lambda: self.done.append(what), relaxed=relaxed)

    def open(self, key: str, count: int = 0, durability: Durability = Durability.DURABLE) -> JobId:
        spec = a_job(durability=durability)
        job, _ = self.engine.run(lambda reactor, now: reactor.open_job(now, key, spec))
        if count:
            self.engine.run(lambda reactor, now: reactor.add_tasks(now, job.id, 0, payloads(count)))
        return job.id

    def join(self) -> None:
        self.engine.run(lambda reactor, now: reactor.join_node(now, a_node(), SECRET, 1, {}))

    def grants(self) -> list[JobId]:
        return [output.job for output in self.done if isinstance(output, GrantLeases)]


@pytest.fixture
async def stage() -> Stage:
    return Stage()


async def turns(count: int = 5) -> None:
    """Let the loop run everything that is ready, and what that makes ready."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not reached():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0)


class TestOrder:
    async def test_an_effect_waits_for_the_records_before_it(self, stage: Stage) -> None:
        stage.open("a")
        stage.note("told")
        await turns()
        assert (stage.done, stage.store.pending) == ([], 1)
        stage.store.release()
        await turns()
        assert stage.done == ["told"]

    async def test_without_records_before_it_an_effect_comes_at_the_end_of_the_turn(
        self, stage: Stage
    ) -> None:
        stage.note("told")
        assert stage.done == []
        await turns(1)
        assert (stage.done, stage.store.appends) == (["told"], [])

    async def test_a_relaxed_effect_does_not_wait_and_overtakes(self, stage: Stage) -> None:
        stage.open("a")
        stage.note("durable")
        stage.note("relaxed", relaxed=True)
        await turns()
        assert stage.done == ["relaxed"]
        stage.store.release()
        await turns()
        assert stage.done == ["relaxed", "durable"]

    async def test_effects_leave_in_the_order_of_their_events_over_many_turns(self, stage: Stage) -> None:
        for turn in range(4):
            stage.open(f"k{turn}")
            stage.note(f"a{turn}")
            stage.note(f"b{turn}")
            await turns()
        stage.note("last")  # no record of its own: it waits for those before it
        await turns()
        assert (stage.done, stage.store.pending) == ([], 4)
        for released in range(1, 5):
            stage.store.release(1)
            await turns()
            expected = [f"{name}{turn}" for turn in range(released) for name in "ab"]
            assert stage.done == expected + (["last"] if released == 4 else [])

    async def test_all_events_of_one_turn_are_one_append(self, stage: Stage) -> None:
        stage.join()
        for key in "abc":
            stage.open(key, 2)
        await turns()
        assert len(stage.store.appends) == 1
        kinds = [type(record).__name__ for record in stage.store.appends[0]]
        assert kinds == ["NodeRegistered", *["JobOpened", "TasksAdded"] * 3, "TasksLeased", "TasksLeased"]
        stage.open("d")
        await turns()
        assert len(stage.store.appends) == 2

    async def test_leases_of_relaxed_jobs_leave_before_they_are_durable(self, stage: Stage) -> None:
        stage.join()
        durable = stage.open("a", 1)
        relaxed = stage.open("b", 1, Durability.RELAXED)
        await turns()
        assert stage.grants() == [relaxed]
        stage.store.release()
        await turns()
        assert stage.grants() == [relaxed, durable]

    async def test_an_effect_that_raises_does_not_hold_up_the_others(
        self, stage: Stage, caplog: pytest.LogCaptureFixture
    ) -> None:
        stage.open("a")
        for relaxed in (False, True):
            stage.engine.after(lambda: 1 / 0, relaxed=relaxed)
            stage.note("next", relaxed=relaxed)
        with caplog.at_level(logging.CRITICAL):
            await turns()
            assert stage.done == ["next"]
            stage.store.release()
            await turns()
        assert stage.done == ["next", "next"]
        stage.open("b")
        assert stage.engine.failure is None

    async def test_what_an_event_did_before_it_raised_is_kept(self, stage: Stage) -> None:
        def event(reactor: Reactor, now: float) -> None:
            reactor.open_job(now, "a", a_job())
            raise InvalidInput("no")

        with pytest.raises(InvalidInput):
            stage.engine.run(event)
        await turns()
        assert [type(record).__name__ for record in stage.store.appends[0]] == ["JobOpened"]

    async def test_outputs_of_the_reactor_are_performed(self, stage: Stage) -> None:
        stage.join()
        job = stage.open("a", 1)
        await turns()
        stage.engine.run(lambda reactor, now: reactor.stop_job(now, job, "enough"))
        await turns()
        assert stage.done == []
        stage.store.release()
        await turns()
        assert stage.grants() == [job]
        assert stage.done[-1] == FinishJob(job)


class TestDurable:
    async def test_it_returns_once_everything_so_far_is_on_disk(self, stage: Stage) -> None:
        stage.open("a")
        waiting = asyncio.create_task(stage.engine.durable())
        await turns()
        stage.open("b")
        await turns()
        assert not waiting.done()
        stage.store.release(1)
        await turns()
        assert waiting.done()
        await waiting
        assert stage.store.pending == 1

    async def test_it_raises_when_the_store_fails_meanwhile(self, stage: Stage) -> None:
        stage.open("a")
        waiting = asyncio.create_task(stage.engine.durable())
        await turns()
        stage.store.fail(DiskFull("no room"))
        stage.store.release()
        with pytest.raises(DiskFull, match="no room"):
            await waiting
        with pytest.raises(DiskFull, match="no room"):
            await stage.engine.durable()

    async def test_who_gives_up_waiting_is_not_waited_for(self, stage: Stage) -> None:
        stage.open("a")
        waiting = asyncio.create_task(stage.engine.durable())
        await turns()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        stage.note("told")
        await turns()
        stage.store.release()
        await turns()
        assert stage.done == ["told"]


class TestStoreFailure:
    async def fail(self, stage: Stage, error: Exception) -> None:
        stage.store.fail(error)  # type: ignore[arg-type]
        stage.store.release()
        await turns()

    async def test_it_drops_everything_that_was_not_acknowledged(self, stage: Stage) -> None:
        stage.open("a")
        stage.note("before")
        await turns()
        stage.store.release()
        await turns()
        for key in "bc":
            stage.open(key)
            stage.note(key)
            await turns()
        await self.fail(stage, DiskFull("no room", path="x"))
        assert stage.done == ["before"]
        assert len(stage.failures) == 1  # told once, though two appends failed
        assert [record.key for record in stage.store.replay()] == ["a"]

    async def test_it_refuses_later_events_with_the_stores_error(self, stage: Stage) -> None:
        stage.open("a")
        await turns()
        error = DiskFull("no room", path="x")
        await self.fail(stage, error)
        for attempt in range(2):
            with pytest.raises(DiskFull, match="no room") as caught:
                stage.open(f"b{attempt}")
            assert caught.value is not error
            assert (caught.value.__cause__, caught.value.facts) == (error, {"path": "x"})
        assert list(stage.engine.reactor.state.keys) == [("lab/ada", "a")]

    async def test_an_error_from_outside_the_tree_becomes_unavailable(self, stage: Stage) -> None:
        stage.open("a")
        await turns()
        await self.fail(stage, OSError("gone"))
        with pytest.raises(Unavailable, match="the hub's store cannot write; see the hub's log"):
            stage.engine.check()

    async def test_events_of_the_turn_in_which_it_fails_are_dropped_too(self, stage: Stage) -> None:
        stage.open("a")
        await turns()
        stage.store.fail(DiskFull("no room"))
        stage.store.release()
        stage.open("b")  # the failure is on its way to the loop
        stage.note("b")
        stage.note("relaxed", relaxed=True)
        await turns()
        assert stage.done == []
        appended = len(stage.store.appends)
        stage.note("later", relaxed=True)
        await turns()
        assert "later" not in stage.done
        assert len(stage.store.appends) == appended

    async def test_time_stands_still_after_it(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine_module, "TICK_S", 0.0)
        stage.open("a")
        await turns()
        await self.fail(stage, DiskFull("no room"))
        await stage.engine.tick_once()
        assert len(stage.store.appends) == 1

    async def test_a_store_that_refuses_an_append_outright_counts_as_failed(self, stage: Stage) -> None:
        stage.store.close()
        stage.open("a")
        stage.note("never")
        await turns()
        assert stage.done == []
        assert len(stage.failures) == 1
        with pytest.raises(Conflict):
            stage.open("b")


class TestRounds:
    async def test_a_policy_that_fails_holds_up_nothing_else(
        self, stage: Stage, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken:
            name = "broken"

            def decide(self, view: View) -> Decision:
                raise ZeroDivisionError

        stage.engine.policy = Broken()
        stage.join()
        stage.open("a", 1)
        stage.note("opened")
        await turns()
        stage.store.release()
        await turns()
        assert stage.done == ["opened"]
        assert "policy broken failed" in caplog.text
        stage.engine.policy = policy_named("fifo")
        stage.clock.advance(1.0)
        async with asyncio.timeout(10):
            while not stage.grants():
                stage.engine.run(lambda reactor, now: reactor.tick(now))
                stage.store.release()
                await asyncio.sleep(0.001)
        assert len(stage.grants()) == 1

    async def test_events_of_one_turn_share_one_round(self, stage: Stage) -> None:
        stage.join()
        for key in "abc":
            stage.open(key, 1)
        await turns()
        assert stage.engine.rounds == 1
        assert len(stage.engine.reactor.state.nodes["id-n1"].leases) == 3

    async def test_without_ready_tasks_there_is_none(self, stage: Stage) -> None:
        stage.join()
        stage.open("a")
        await turns()
        assert stage.engine.rounds == 0

    @pytest.mark.parametrize(("took", "wait"), [(0.001, ROUND_SHARE * 0.001), (0.5, MAX_WAIT_S)])
    async def test_a_round_makes_the_next_wait_in_proportion(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch, took: float, wait: float
    ) -> None:
        loop = asyncio.get_running_loop()
        at = [loop.time()]
        monkeypatch.setattr(loop, "time", lambda: at[0])

        class Slow:
            name = "slow"

            def decide(self, view: View) -> Decision:
                at[0] += took
                return policy_named("fifo").decide(view)

        stage.engine.policy = Slow()
        stage.join()
        stage.open("a", 1)
        await turns()
        assert stage.engine.rounds == 1
        for key in "bc":
            stage.open(key, 1)
            await turns()
        assert stage.engine.rounds == 1
        assert len(stage.store.appends) == 3  # their records did not wait for the round
        at[0] += wait * 0.9
        stage.open("d", 1)
        await turns()
        assert stage.engine.rounds == 1
        at[0] += wait * 0.2
        await until(lambda: stage.engine.rounds == 2)
        leases = stage.engine.reactor.state.nodes["id-n1"].leases
        assert list(leases) == [task_id(JobId(job), 0) for job in (1, 2, 3, 4)]

    async def test_a_tick_lets_time_pass_for_the_reactor(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine_module, "TICK_S", 0.0)
        stage.join()
        stage.open("a", 1)
        await turns()
        stage.clock.advance(10.5)
        assert stage.engine.now() == stage.clock.now()
        await stage.engine.tick_once()
        node = stage.engine.reactor.state.nodes["id-n1"]
        assert (node.lost, node.strikes) == (1, 1)
