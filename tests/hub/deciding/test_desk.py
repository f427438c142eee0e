"""The desk with a real process: whatever the policy does wrong, tasks finish and the hub says who decides."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable

import pytest

from farlane.domain.ids import JobId, NodeId, task_id
from farlane.domain.jobs import TaskState
from farlane.domain.records import Column
from farlane.hub.deciding import client as client_module
from farlane.hub.deciding import desk as desk_module
from farlane.hub.deciding.circuit import STARTS
from farlane.hub.deciding.client import WorkerPlan
from farlane.hub.deciding.desk import Desk, DeskPlan
from farlane.hub.deciding.guard import Why
from farlane.hub.engine import Engine
from farlane.hub.reactor.commands import FinishJob, GrantLeases, Output
from farlane.hub.reactor.completion import EndedBatch
from farlane.hub.reactor.reactor import Reactor
from farlane.hub.store.memory import MemoryStore
from farlane.kit.backoff import Backoff
from farlane.kit.clock import SystemClock
from farlane.scheduler.policy import Policy, policy_named
from farlane.testing.builders import a_job, a_node, payloads
from farlane.testing.odd_policies import DRIFTS, Raises, Sound, odd

RULE = policy_named("shortest-first")
WAIT_S = 60.0


class Stage:
    """An engine with a desk; its node ends every task at once."""

    def __init__(
        self, policy: str, *, own: Policy | None = None, budget_s: float = 30.0, memory: int = 2 << 30,
        shadows: tuple[str, ...] = (), restarts: Backoff = STARTS,
    ) -> None:  # fmt: skip
        plan = WorkerPlan(policy, shadows, budget_s, memory, restarts)
        self.desk = Desk(DeskPlan(RULE, own, 64, plan))
        self.desk.open()
        self.finished: list[JobId] = []
        self.batch = 0
        self.epoch = 1
        self.working = True
        self.engine = Engine(
            Reactor(1, 10.0), MemoryStore(), self.desk, SystemClock(), self._perform, lambda error: None
        )
        self.join("n1")

    def join(self, name: str) -> None:
        self.engine.run(lambda reactor, now: reactor.join_node(now, a_node(name), b"secret", 1, {}))

    def submit(self, key: str, count: int = 1) -> JobId:
        job, _ = self.engine.run(lambda reactor, now: reactor.open_job(now, key, a_job()))
        self.engine.run(lambda reactor, now: reactor.add_tasks(now, job.id, 0, payloads(count)))
        self.engine.run(lambda reactor, now: reactor.seal_job(now, job.id))
        return job.id

    async def ready(self) -> None:
        client = self.desk.client
        assert client is not None
        await until(lambda: (self.desk.tick(), client.ready)[1])

    async def finish(self, key: str, count: int = 1) -> None:
        job = self.submit(key, count)
        await until(lambda: job in self.finished)

    def _perform(self, output: Output) -> None:
        if isinstance(output, FinishJob):
            self.finished.append(output.job)
        elif isinstance(output, GrantLeases) and self.working:
            asyncio.get_running_loop().call_soon(self._end, output)

    def _end(self, grant: GrantLeases) -> None:
        self.batch += 1
        count = len(grant.indices)
        ended = EndedBatch(
            self.batch, self.epoch, [task_id(grant.job, index) for index in grant.indices], grant.attempts,
            bytes([TaskState.DONE]) * count, Column([b""] * count), {}, {}, [1] * count, [0] * count, [0] * count,
        )  # fmt: skip
        self.engine.run(lambda reactor, now: reactor.end_attempts(now, grant.node, ended))


async def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not reached():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.002)


Make = Callable[..., Stage]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[Stage] = []

    def one(*arguments: object, **named: object) -> Stage:
        made.append(Stage(*arguments, **named))  # type: ignore[arg-type]
        return made[-1]

    yield one
    for stage in made:
        stage.desk.close()


class TestSound:
    async def test_the_policy_decides_and_the_hub_ends_it(self, make: Make) -> None:
        stage = make(odd("Sound"), shadows=("fifo", "best-fit"))
        await stage.finish("early", 3)  # its process is still starting: the rule decides
        assert stage.desk.tally.why is Why.STARTING
        await stage.ready()
        for key in "abc":
            await stage.finish(key, 7)
        tally = stage.desk.tally
        assert (tally.why, tally.text) == (Why.POLICY, "")
        assert tally.decided[Why.POLICY] >= 3
        assert tally.seconds["process"].total_s > 0
        await until(lambda: tally.shadows["best-fit"].rounds >= 3)
        assert tally.shadows["fifo"].share == 1.0
        assert stage.desk.client is not None
        pid = stage.desk.client.pid
        assert pid is not None
        stage.desk.close()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    async def test_what_came_while_it_decided_is_decided_next(self, make: Make) -> None:
        stage = make(odd("Sound"))
        await stage.ready()
        first = stage.submit("a")
        await asyncio.sleep(0)  # the question is under way
        second = stage.submit("b")
        await until(lambda: {first, second} <= set(stage.finished))
        assert stage.desk.tally.fallbacks == 0

    async def test_while_there_is_nothing_new_to_see_it_is_not_asked_again(self, make: Make) -> None:
        stage = make(odd("Sound"))
        await stage.ready()
        stage.working = False
        stage.submit("a", 5)  # one more than fits
        await until(lambda: stage.desk.tally.rounds == 1)

        def beat() -> None:
            stage.engine.run(lambda reactor, now: reactor.hear_node(now, NodeId("id-n1")))

        await until(lambda: (beat(), stage.desk.tally.rounds == 2)[1])
        for _ in range(20):
            beat()
            await asyncio.sleep(0.002)
        assert stage.desk.tally.rounds <= 3
        stage.join("n2")
        await until(lambda: len(stage.engine.reactor.state.nodes["id-n2"].leases) == 1)  # type: ignore[index]

    async def test_a_view_that_cannot_be_sent_is_the_rules(
        self, make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        stage = make(odd("Sound"))
        await stage.ready()

        def full(view: object, answered: object) -> int:
            raise OSError("no room")

        monkeypatch.setattr(stage.desk.client, "send", full)
        with caplog.at_level("CRITICAL"):
            await stage.finish("a")
        assert (stage.desk.tally.why, stage.desk.tally.text) == (
            Why.FAILED,
            "the view cannot be sent: OSError: no room",
        )

    async def test_a_hub_that_starts_over_forgets_what_the_earlier_one_asked(self, make: Make) -> None:
        stage = make(odd("Sound"))
        await stage.ready()
        stage.submit("a")
        await asyncio.sleep(0)  # the question is under way
        reactor, finished = Reactor(2, 10.0), stage.finished
        stage.engine = Engine(
            reactor, MemoryStore(), stage.desk, SystemClock(), stage._perform, lambda error: None
        )
        stage.join("n1")
        stage.epoch = 2
        await stage.finish("b")
        assert len(finished) == 1
        await stage.ready()
        await stage.finish("c")
        assert stage.desk.tally.why is Why.POLICY

    async def test_a_node_that_went_meanwhile_gets_nothing(self, make: Make) -> None:
        stage = make(odd("Sound"))
        await stage.ready()
        stage.working = False
        stage.submit("a", 2)
        await asyncio.sleep(0)
        node = NodeId("id-n1")
        stage.engine.run(
            lambda reactor, now: reactor.leave_node(now, node, reactor.state.nodes[node].session)
        )
        await until(lambda: stage.desk.tally.rounds > 0)
        assert (stage.desk.tally.why, stage.desk.tally.stale) == (Why.POLICY, 2)
        assert not stage.engine.reactor.state.nodes[node].leases

    async def test_small_views_are_decided_in_the_hub_once_the_process_has_proven_sound(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(desk_module, "INLINE_SHARE", 0)
        stage = make(odd("Sound"), own=Sound(), shadows=("spread",))
        await stage.ready()
        for key in "abc":
            await stage.finish(key)
            await until(lambda: stage.desk.client is not None and stage.desk.client.quiet)
        tally = stage.desk.tally
        assert sum(tally.seconds["process"].buckets) == 1
        assert sum(tally.seconds["inline"].buckets) == 2
        assert tally.shadows["spread"].rounds == 3

    async def test_a_busy_hub_has_its_decisions_made_in_the_process(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(desk_module, "INLINE_SHARE", 10**9)
        stage = make(odd("Sound"), own=Sound())
        await stage.ready()
        for key in "abc":
            await stage.finish(key)
        assert sum(stage.desk.tally.seconds["process"].buckets) == 2
        assert sum(stage.desk.tally.seconds["inline"].buckets) == 1

    @pytest.mark.parametrize(("own", "why"), [(Raises(), Why.FAILED), (DRIFTS, Why.DRIFT)])
    async def test_in_the_hub_the_guard_is_the_same(self, make: Make, own: Policy, why: Why) -> None:
        stage = make(odd("Sound"), own=own)
        await stage.ready()
        await stage.finish("a")
        await stage.finish("b")
        assert stage.desk.tally.why is why


class TestOdd:
    @pytest.mark.parametrize(
        ("policy", "why", "text"),
        [
            ("Raises", Why.FAILED, "ZeroDivisionError: nothing to divide by"),
            ("NEGATIVE", Why.INVALID, "expected a count of at least 1"),
            ("TOO_MANY", Why.INVALID, "more than are ready"),
            ("NO_NUMBER", Why.FAILED, "cannot convert float NaN"),
            ("NOT_A_SCORE", Why.INVALID, "not numbers"),
            ("DISAGREES", Why.DISAGREEMENT, "60% would choose otherwise"),
        ],
    )
    async def test_what_is_unsound_or_unsure_is_not_done(
        self, make: Make, policy: str, why: Why, text: str
    ) -> None:
        stage = make(odd(policy))
        await stage.ready()
        await stage.finish("a", 7)
        assert stage.desk.tally.why in (why, Why.RESTING)
        assert stage.desk.tally.decided[why] >= 1
        assert stage.desk.explaining is RULE

    async def test_one_that_fails_again_and_again_rests(self, make: Make) -> None:
        stage = make(odd("Raises"))
        await stage.ready()
        for key in "abcde":
            await stage.finish(key)
        tally = stage.desk.tally
        assert tally.decided[Why.FAILED] == 3
        assert tally.why is Why.RESTING
        assert "failed 3 times in a row" in tally.text

    async def test_one_that_hangs_is_passed_over_and_then_ended(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client_module, "LEAST_HANG_S", 1.0)
        stage = make(odd("Hangs"), budget_s=0.03)
        await stage.ready()
        await stage.finish("a")
        assert (stage.desk.tally.why, stage.desk.tally.text) == (Why.TIMEOUT, "no answer within 30 ms")
        await stage.finish("b")
        assert stage.desk.tally.why in (Why.BUSY, Why.CRASHED)
        client = stage.desk.client
        assert client is not None
        await until(lambda: client.pid is None)
        assert "the deciding process ended" in client.trouble
        await stage.finish("c")
        assert stage.desk.tally.fallbacks == 3

    async def test_a_slow_one_is_too_late_and_heard_again_later(self, make: Make) -> None:
        stage = make(odd("Slow"), budget_s=0.1)
        await stage.ready()
        await stage.finish("a")
        assert stage.desk.tally.why is Why.TIMEOUT
        await stage.ready()  # it came to its end, and nobody listened
        assert (stage.desk.tally.rounds, stage.desk.circuit.failures) == (1, 1)

    async def test_one_that_crashes_is_started_again_not_at_once(self, make: Make) -> None:
        stage = make(odd("Crashes"), restarts=Backoff(60.0, 60.0))
        await stage.ready()
        await stage.finish("a")
        assert stage.desk.tally.why is Why.CRASHED
        client = stage.desk.client
        assert client is not None
        await stage.finish("b")
        assert client.pid is None  # it waits its turn
        assert "the deciding process ended" in stage.desk.tally.text
        assert client.starts == 1

    async def test_one_that_is_killed_while_it_rests_comes_back(self, make: Make) -> None:
        stage = make(odd("Sound"))
        await stage.ready()
        client = stage.desk.client
        assert client is not None
        assert client.pid is not None
        os.kill(client.pid, signal.SIGKILL)
        await until(lambda: client.pid is None)
        await stage.finish("a")
        while not client.ready:  # the hub's clock brings it back, also while there is nothing to do
            await stage.engine.tick_once()
        await stage.finish("b")
        assert stage.desk.tally.why is Why.POLICY

    async def test_killed_again_and_again_under_load_it_loses_nothing(self, make: Make) -> None:
        stage = make(odd("Sound"), restarts=Backoff(0.01, 0.02), shadows=("fifo",))
        client = stage.desk.client
        assert client is not None
        jobs = []
        for at in range(60):
            jobs.append(stage.submit(f"k{at}", 3))
            await asyncio.sleep(0.005)
            if at % 15 == 0:
                await stage.ready()
                stage.submit(f"asked{at}", 2)
                await asyncio.sleep(0)
                os.kill(client.pid, signal.SIGKILL)  # type: ignore[arg-type]  # it is ready
                await until(lambda: client.pid is None)
            client.keep_alive()
        await until(lambda: set(jobs) <= set(stage.finished))
        assert client.starts >= 4
        assert not stage.engine.reactor.state.waiting

    async def test_one_that_eats_memory_takes_its_process_with_it(self, make: Make) -> None:
        stage = make(odd("Eats"), memory=600 << 20)
        await stage.ready()
        await stage.finish("a")
        assert stage.desk.tally.why is Why.FAILED
        assert stage.desk.tally.text == "the policy used up its memory"
        client = stage.desk.client
        assert client is not None
        await until(lambda: client.pid is None)

    async def test_one_that_is_not_there_is_named(self, make: Make) -> None:
        stage = make("farlane.testing.odd_policies:Nobody")
        client = stage.desk.client
        assert client is not None
        await until(lambda: client.pid is None)
        await stage.finish("a")
        assert stage.desk.tally.why is Why.CRASHED
        assert "cannot be loaded: AttributeError" in stage.desk.tally.text
