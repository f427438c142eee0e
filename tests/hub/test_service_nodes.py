"""Nodes at their worst: they answer twice, too late, not at all, nonsense, or for others; each task counts once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.domain.failures import FailureKind
from farlane.domain.ids import NodeId
from farlane.domain.jobs import JobState, TaskState
from farlane.hub.settings import HubSettings
from farlane.sdk.jobs import JobHandle
from farlane.sdk.outcomes import TaskResult
from farlane.testing.builders import a_failure
from farlane.testing.running_hub import RunningHub, submit
from farlane.testing.scripted_node import Leased, ScriptedNode
from farlane.wire.v1 import node_pb2


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with RunningHub(tmp_path) as running:
        yield running


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[RunningHub]:
    """A hub that gives leases away after half a second of silence."""
    async with RunningHub(tmp_path, settings=HubSettings(lease_s=0.5, heartbeat_s=0.1)) as running:
        yield running


async def results_of(job: JobHandle) -> list[TaskResult]:
    async with asyncio.timeout(30):
        return [result async for result in job.results()]


async def check_books(hub: RunningHub, job: JobHandle) -> list[TaskResult]:
    """Every task ended once, and every sum agrees with what it is the sum of."""
    results, status = await results_of(job), await job.status()
    assert sorted(result.index for result in results) == list(range(status.total))
    assert status.done + status.failed + status.stopped == status.total
    assert sum(result.amount for result in results if result.failure is None) <= status.spent
    assert hub.hub.reactor.state.nodes
    assert all(not node.leases for node in hub.hub.reactor.state.nodes.values())
    return results


# --- answers that come twice, late, or again -------------------------------------------------------------------------


async def test_a_node_that_answers_twice_is_counted_once(hub: RunningHub) -> None:
    async with hub.node() as node, hub.client() as ada:
        job = await submit(ada, [b"x"])
        leases = await node.take()
        first = await node.end(leases, b"first")
        second = await node.end(leases, b"second")
        await node.accepted(first)
        await node.accepted(second)  # it may forget the second one, too
        results = await check_books(hub, job)
        assert [result.data for result in results] == [b"first"]
        assert hub.hub.reactor.state.stale_results == 1
        assert (await job.status()).spent == results[0].amount
        assert [each.tasks_done for each in await ada.nodes()] == [1]


async def test_a_task_twice_in_one_batch_is_counted_once(hub: RunningHub) -> None:
    async with hub.node() as node, hub.client() as ada:
        job = await submit(ada, [b"x"])
        (lease,) = await node.take()
        await node.accepted(await node.end_with([(lease, b"first"), (lease, b"second")]))
        assert [result.data for result in await check_books(hub, job)] == [b"first"]


async def test_an_answer_after_the_lease_was_given_away_is_refused(hasty: RunningHub) -> None:
    async with hasty.node("slow") as slow, hasty.client() as ada:
        job = await submit(ada, [b"x"])
        late = await slow.take()
        async with hasty.node("other") as other:  # the silent one loses the task to this one
            again = await take_beating(other)
            assert [lease.attempt for lease in again] == [2]
            await slow.accepted(await slow.end(late, b"too late"))
            assert (await job.status()).done == 0
            await other.accepted(await other.end(again, b"in time"))
        results = await check_books(hasty, job)
        assert [(result.data, result.node, result.attempts) for result in results] == [
            (b"in time", "id-other", 2)
        ]
        assert (await job.status()).spent == results[0].amount
        lost = {node.spec.name: node.attempts_lost for node in await ada.nodes()}
        assert lost == {"slow": 1, "other": 0}


async def take_beating(node: ScriptedNode) -> list[Leased]:
    """Take one lease while staying alive."""
    waiting = asyncio.ensure_future(node.take())
    sequence = 0
    while not waiting.done():
        sequence += 1
        await node.beat(sequence)
        await asyncio.wait([waiting], timeout=0.05)
    return await waiting


async def test_a_node_that_vanishes_is_given_time_and_then_its_task_runs_elsewhere(hasty: RunningHub) -> None:
    async with hasty.client() as ada, hasty.node("doomed") as doomed:
        job = await submit(ada, [b"x"])
        await doomed.take()
        await doomed.vanish()
        async with hasty.node("other") as other:
            leases = await take_beating(other)
            await other.accepted(await other.end(leases, b"done"))
        assert [result.node for result in await check_books(hasty, job)] == ["id-other"]


async def test_a_node_that_says_farewell_loses_its_tasks_at_once(hub: RunningHub) -> None:
    async with hub.client() as ada, hub.node("leaving") as leaving, hub.node("staying", cpu=100) as staying:
        job = await submit(ada, [b"x"])
        await leaving.take()
        farewell = node_pb2.Farewell(reason="maintenance " * 100)
        await leaving.say(node_pb2.NodeMessage(farewell=farewell))
        assert await leaving.finish() is None
        await staying.beat()
        why = await job.why()
        assert why.state is not JobState.FAILED
        async with hub.node("other") as other:
            await other.accepted(await other.end(await other.take(), b"done"))
        assert [result.attempts for result in await check_books(hub, job)] == [2]


# --- coming back ----------------------------------------------------------------------------------------------------


async def test_a_node_that_comes_back_with_its_work_goes_on(hub: RunningHub) -> None:
    async with hub.client() as ada:
        job = await submit(ada, [b"a", b"b"])
        async with hub.node("n1") as node:
            leases = await node.take(2)
        async with hub.node("n1", held=leases) as node:
            assert not node.leases
            await node.end_with([(lease, lease.payload) for lease in leases])
            results = await check_books(hub, job)
        assert {(result.data, result.attempts) for result in results} == {(b"a", 1), (b"b", 1)}


async def test_a_node_that_comes_back_without_its_work_is_given_it_again_or_another_is(
    hub: RunningHub,
) -> None:
    async with hub.client() as ada, hub.node("other", cpu=100) as small:
        job = await submit(ada, [b"a", b"b"])
        async with hub.node("n1") as node:
            leases = await node.take(2)
        async with hub.node("n1", held=leases[:1]) as node:
            await node.end(leases[:1], b"kept")
            again = await node.take()
            assert (again[0].task, again[0].attempt) == (leases[1].task, 2)
            await node.end(again, b"again")
            results = await check_books(hub, job)
        assert not small.leases
        assert {(result.data, result.attempts) for result in results} == {(b"kept", 1), (b"again", 2)}


async def test_work_that_was_given_away_meanwhile_is_revoked(hasty: RunningHub) -> None:
    async with hasty.client() as ada:
        job = await submit(ada, [b"x"])
        async with hasty.node("n1") as node:
            old = await node.take()
        async with hasty.node("other") as other:
            new = await take_beating(other)
            async with hasty.node("n1", held=old) as back:
                revoked = (await back.command("revoke")).revoke
                assert list(revoked.attempts.tasks) == [old[0].task]
                assert list(revoked.attempts.attempts) == [1]
                assert "not in force" in revoked.reason
            await other.end(new, b"done")
            assert len(await check_books(hasty, job)) == 1


async def test_a_second_stream_of_one_node_takes_the_place_of_the_first(hub: RunningHub) -> None:
    async with hub.client() as ada, hub.node("n1") as first:
        job = await submit(ada, [b"x"])
        leases = await first.take()
        async with hub.node("n1", held=leases) as second:
            assert await asyncio.wait_for(first.ended, 10) is None
            await first.end(leases, b"from a stream that is over")
            await second.accepted(await second.end(leases, b"right"))
            assert [result.data for result in await check_books(hub, job)] == [b"right"]


async def test_a_stopped_job_is_revoked_and_its_late_results_do_not_count(hub: RunningHub) -> None:
    async with hub.client() as ada, hub.node() as node:
        job = await submit(ada, [b"x", b"y"])
        leases = await node.take(2)
        status = await job.stop("enough")
        assert (status.state, status.stopped) == (JobState.STOPPED, 2)
        revoked = (await node.command("revoke")).revoke
        assert sorted(revoked.attempts.tasks) == sorted(lease.task for lease in leases)
        await node.accepted(await node.end(leases, b"late"))
        results = await check_books(hub, job)
        assert {result.state for result in results} == {TaskState.STOPPED}
        assert sum(result.amount for result in results) == status.spent > 0  # the node is paid for its time


async def test_failures_run_again_as_their_rule_says_and_then_end_the_task(hub: RunningHub) -> None:
    async with hub.client() as ada, hub.node() as node:
        job = await submit(ada, [b"x"], retries=1)
        for attempt in (1, 2):
            leases = await node.take()
            assert leases[0].attempt == attempt
            await node.accepted(await node.end(leases, failure=a_failure(message=f"broken {attempt}")))
        (result,) = await check_books(hub, job)
        assert result.failure is not None
        assert (result.failure.kind, result.failure.message) == (FailureKind.EXCEPTION, "broken 2")
        status = await job.retry()
        assert status.state is not JobState.FAILED
        (lease,) = await node.take()
        assert lease.attempt == 3
        await node.accepted(await node.end([lease], b"at last"))
        assert (await job.wait(10)).state is JobState.SUCCEEDED
        assert [each.data for each in await results_of(job)][-1] == b"at last"


async def test_a_drain_reaches_the_node_which_then_gets_nothing_new(hub: RunningHub) -> None:
    async with hub.client() as ada, hub.node("n1") as node:
        job = await submit(ada, [b"x"])
        leases = await node.take()
        assert await ada.drain(NodeId("n1"), hand_back=True) == 1
        assert (await node.command("drain")).drain.hand_back
        more = await submit(ada, [b"y"])
        await node.accepted(await node.end(leases, b"done"))
        await check_books(hub, job)
        assert not node.leases
        why = await more.why()
        assert "drain" in " ".join([why.dominant, *(reason.reason for reason in why.nodes)]).lower()
