"""Submitting once and reading every result once, whatever breaks between: replies, clients, credit, the hub itself."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.domain.jobs import JobState, TaskState
from farlane.errors import Conflict, IdempotencyMismatch, InvalidInput
from farlane.hub.settings import HubSettings
from farlane.testing.running_hub import RunningHub, small_job, submit
from farlane.testing.scripted_client import ScriptedClient
from farlane.testing.scripted_node import Leased
from farlane.wire.outbox import MAX_OUTBOX_BYTES
from farlane.wire.v1 import client_pb2


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with RunningHub(tmp_path) as running:
        yield running


def echo(lease: Leased) -> bytes:
    return lease.payload


def numbers(count: int) -> list[bytes]:
    return [b"%d" % index for index in range(count)]


# --- submitting -----------------------------------------------------------------------------------------------------


async def test_a_submit_repeated_after_a_lost_reply_is_one_job(hub: RunningHub) -> None:
    async with ScriptedClient(hub.url, hub.token()) as first:
        job = (await first.open(small_job(), "k")).job
        await first.add(job, 0, numbers(3))
        # The reply to this one never comes.
        await first.say(client_pb2.ClientMessage(seal=client_pb2.SealJob(job=job)))
    async with ScriptedClient(hub.url, hub.token()) as again:
        opened = await again.open(small_job(), "k")
        assert (opened.job, opened.tasks, opened.existed) == (job, 3, True)
        assert await again.add(job, 0, numbers(3)) == 3
        assert await again.add(job, 0, numbers(3), seal=True) == 3
        with pytest.raises(Conflict, match="sealed"):
            await again.add(job, 3, [b"more"])
    async with hub.client() as ada:
        assert [(found.total, found.sealed) for found in await ada.jobs()] == [(3, True)]


async def test_a_batch_that_overlaps_is_taken_once_and_one_behind_a_gap_not_at_all(hub: RunningHub) -> None:
    async with ScriptedClient(hub.url, hub.token()) as client, hub.node() as node:
        await node.work(echo)
        job = (await client.open(small_job(), "k")).job
        assert await client.add(job, 0, [b"a", b"b"]) == 2
        assert await client.add(job, 1, [b"b", b"c"]) == 3
        with pytest.raises(InvalidInput, match="gap"):
            await client.add(job, 4, [b"e"])
        assert await client.add(job, 3, [], seal=True) == 3
        await client.watch(job)
        got: dict[int, bytes] = {}
        while not isinstance(batch := await client.results(), client_pb2.JobStatus):
            got |= zip(batch.indices, batch.results.inline, strict=True)
        assert got == {0: b"a", 1: b"b", 2: b"c"}
        assert batch.state == "succeeded"


async def test_many_clients_race_for_one_key_and_there_is_one_job(hub: RunningHub) -> None:
    async def go() -> int:
        async with ScriptedClient(hub.url, hub.token()) as client:
            job = (await client.open(small_job(), "k")).job
            await client.add(job, 0, numbers(5), seal=True)
            return job

    assert len(set(await asyncio.gather(*(go() for _ in range(8))))) == 1
    async with hub.client() as ada:
        assert [job.total for job in await ada.jobs()] == [5]


async def test_one_key_for_two_different_jobs_is_refused(hub: RunningHub) -> None:
    async with ScriptedClient(hub.url, hub.token()) as client:
        job = (await client.open(small_job(), "k")).job
        with pytest.raises(IdempotencyMismatch, match="new key"):
            await client.open(small_job(priority=1), "k")
        assert (await client.open(small_job(), "k")).job == job


@pytest.mark.parametrize("restart", [False, True])
async def test_a_submit_repeated_after_the_job_has_ended_finds_it(hub: RunningHub, restart: bool) -> None:
    async with hub.node() as node, hub.client() as ada:
        await node.work(echo)
        job = await submit(ada, numbers(3), key="k")
        assert (await job.wait(20)).state is JobState.SUCCEEDED
    if restart:
        await hub.restart()
    assert job.job not in hub.hub.reactor.state.jobs
    async with hub.client() as ada:
        again = await submit(ada, numbers(3), key="k")
        assert again.job == job.job
        assert sorted([result.data async for result in again.results()]) == numbers(3)
        with pytest.raises(IdempotencyMismatch):
            await submit(ada, numbers(3), key="k", priority=2)


# --- reading on -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("while_away", ["goes on", "ends", "ends and the hub restarts"])
async def test_a_client_that_crashed_reads_on_from_its_cursor(hub: RunningHub, while_away: str) -> None:
    """No result is lost and none comes twice, from memory or from the store."""
    async with hub.node() as node:
        async with ScriptedClient(hub.url, hub.token()) as first:
            job = (await first.open(small_job(), "k")).job
            await first.add(job, 0, numbers(300), seal=True)
            await first.watch(job, credit=100)
            leases = await node.take(16)
            await node.end_with([(lease, lease.payload) for lease in leases])
            seen: list[bytes] = []
            while len(seen) < 10:
                batch = await first.results()
                assert isinstance(batch, client_pb2.Results)
                assert batch.seq == len(seen)
                seen += batch.results.inline
        await node.work(echo)
        if while_away != "goes on":
            async with hub.client() as other:
                await other.job(job).wait(20)
            assert job not in hub.hub.reactor.state.jobs  # only the store has it
    if while_away == "ends and the hub restarts":
        await hub.restart()
    async with hub.node() as node, ScriptedClient(hub.url, hub.token()) as again:
        await node.work(echo)
        await again.watch(job, after=len(seen), credit=1000)
        while not isinstance(batch := await again.results(), client_pb2.JobStatus):
            assert batch.seq == len(seen)
            seen += batch.results.inline
        assert Counter(seen) == Counter(numbers(300))
        assert batch.done == 300


async def test_results_that_the_client_has_seen_do_not_come_again_after_the_end(hub: RunningHub) -> None:
    async with hub.node() as node, hub.client() as ada:
        await node.work(echo)
        job = await submit(ada, numbers(3))
        await job.wait(20)
        assert [result.data async for result in job.results(after=3)] == []
        assert len([result async for result in job.results(after=2)]) == 1


async def test_credit_is_never_passed(hub: RunningHub) -> None:
    async with hub.node() as node, ScriptedClient(hub.url, hub.token()) as client:
        await node.work(echo)
        job = (await client.open(small_job(), "k")).job
        await client.watch(job, credit=10)
        await client.add(job, 0, numbers(100), seal=True)
        async with hub.client() as other:
            await other.job(job).wait(20)
        got = 0
        for allowed in (10, 17, 100):
            while got < allowed:
                batch = await client.results()
                assert isinstance(batch, client_pb2.Results)
                got += len(batch.indices)
            # An answered request fences what was sent before: `ask` would have passed over more results.
            request = await client.say(client_pb2.ClientMessage())
            reply = await client.reply()
            assert got == allowed
            if got < 100:
                assert (reply.request, reply.WhichOneof("kind")) == (request, "error")
                await client.credit(job, 7 if got == 10 else 83)
        # All is sent and all credit used up: the end is told without any.
        assert reply.WhichOneof("kind") == "ended"


async def test_two_clients_read_one_job_at_their_own_pace(hub: RunningHub) -> None:
    async with hub.node() as node, hub.client() as quick, ScriptedClient(hub.url, hub.token()) as slow:
        job = await submit(quick, numbers(50))
        await slow.watch(job.job, credit=1)
        await node.work(echo)
        assert len([result async for result in job.results()]) == 50
        seen = []
        while not isinstance(batch := await slow.results(), client_pb2.JobStatus):
            seen += batch.results.inline
            await slow.credit(job.job, 1)
        assert Counter(seen) == Counter(numbers(50))


async def test_a_watch_can_be_ended_and_begun_again(hub: RunningHub) -> None:
    async with hub.node() as node, ScriptedClient(hub.url, hub.token()) as client:
        job = (await client.open(small_job(), "k")).job
        await client.add(job, 0, numbers(4))
        leases = await node.take(4)
        await client.watch(job)
        await node.accepted(await node.end(leases[:1], b"a"))
        assert isinstance(await client.results(), client_pb2.Results)
        await client.say(client_pb2.ClientMessage(unwatch=client_pb2.Unwatch(job=job)))
        await node.accepted(await node.end(leases[1:2], b"b"))
        request = await client.watch(job, after=1)
        reply = await client.reply()
        assert reply.request == request
        assert (reply.results.seq, list(reply.results.results.inline)) == (1, [b"b"])


# --- sizes ----------------------------------------------------------------------------------------------------------


async def test_large_results_are_cut_into_messages_that_fit(hub: RunningHub) -> None:
    """One batch of a node, and one read of the store, is more than one message may hold."""
    body = bytes(60_000)
    async with hub.node(cpu=50_000) as node, hub.client() as ada:
        job = await submit(ada, numbers(200))
        leases = await node.take(200)
        for start in range(0, 200, 50):
            await node.end(leases[start : start + 50], body)
        live = [result async for result in job.results()]
        again = [result async for result in job.results()]
        assert sorted(result.index for result in live) == sorted(result.index for result in again)
        assert len(live) == 200
        assert all(result.data == body for result in live)


async def test_a_client_that_reads_nothing_costs_the_hub_little_memory(tmp_path: Path) -> None:
    body = bytes(60_000)
    async with RunningHub(tmp_path) as hub, hub.node(cpu=100_000) as node:
        await node.work(lambda lease: body)
        async with ScriptedClient(hub.url, hub.token()) as deaf, hub.client() as ada:
            job = await submit(ada, numbers(1000))
            await deaf.watch(job.job, credit=1 << 20)
            assert (await job.wait(60)).done == 1000  # 60 MB of results
            assert hub.hub.sessions.clients
            waiting = [outbox_of(close).waiting_bytes for close in hub.hub.sessions.clients]
            assert max(waiting) < 2 * MAX_OUTBOX_BYTES
            # As soon as it reads, it gets everything.
            got = 0
            while not isinstance(batch := await deaf.results(), client_pb2.JobStatus):
                assert batch.seq == got
                got += len(batch.indices)
            assert got == 1000


def outbox_of(close: object) -> object:
    return close.__self__  # type: ignore[attr-defined]


async def test_a_large_job_is_stopped_while_it_is_watched(hub: RunningHub) -> None:
    """Its tasks end at once, in more rows than a message or a client takes."""
    async with hub.client() as ada:
        job = await submit(ada, (b"" for _ in range(50_000)))
        reading = asyncio.create_task(collect(job.results()))
        await asyncio.sleep(0)
        assert (await job.stop("no longer needed")).stopped == 50_000
        results = await reading
        assert len({result.index for result in results}) == 50_000
        assert {result.state for result in results} == {TaskState.STOPPED}
        assert results[0].failure is not None
        assert "no longer needed" in results[0].failure.message
        listed = await ada.tasks(job.job, limit=1500)
        assert sum(len(batch.indices) for batch in listed) == 1500
        behind = await ada.tasks(job.job, after=49_990, limit=1500)
        assert [len(batch.indices) for batch in behind] == [10]
        assert "no longer needed" in (await job.why()).failures[0].message


async def collect(results: AsyncIterator[object]) -> list[object]:
    return [result async for result in results]


# --- over a restart -------------------------------------------------------------------------------------------------


async def test_ten_thousand_queued_tasks_outlive_a_restart(hub: RunningHub) -> None:
    """Each result arrives once at a client that stayed, its cursor going on, and the money adds up."""
    async with hub.client() as ada:
        job = await submit(ada, numbers(10_000))
        reading = asyncio.create_task(collect(job.results()))
        async with hub.node("n1") as node:
            for _ in range(5):
                await node.end_with([(lease, lease.payload) for lease in await node.take(16)], lease_ms=20)
            held = await node.take(16)
        await hub.restart()
        begun = time.monotonic()
        async with hub.node("n1", held=held) as node, hub.node("n2") as other:
            await node.end_with([(lease, lease.payload) for lease in held], lease_ms=20)
            await node.work(echo)
            await other.work(echo)
            results = await reading
        took = time.monotonic() - begun
        assert Counter(result.data for result in results) == Counter(numbers(10_000))
        assert [result.cursor for result in results] == list(range(1, 10_001))
        assert all(result.data == b"%d" % result.index for result in results)
        status = await job.status()
        assert (status.total, status.done, status.failed, status.queued) == (10_000, 10_000, 0, 0)
        assert sum(result.amount for result in results) == status.spent
        # What the node had been given ahead and did not bring back ran again, and nobody paid for the first try.
        assert sum(result.attempts - 1 for result in results) == status.retries
        assert sum(node.earned for node in await ada.nodes()) <= status.spent
        assert took < 40


async def test_payloads_beyond_the_memory_budget_are_read_back_right(tmp_path: Path) -> None:
    settings = HubSettings(payload_cache_bytes=10_000)
    async with RunningHub(tmp_path, settings=settings) as hub, hub.node() as node, hub.client() as ada:
        await node.work(echo)
        payloads = [b"%05d" % index + bytes(500) for index in range(3000)]
        results = await collect((await submit(ada, payloads)).results())
        assert sorted(result.data for result in results) == payloads
        assert all(result.data == payloads[result.index] for result in results)


async def test_old_results_are_there_after_a_restart(hub: RunningHub) -> None:
    async with hub.node() as node, hub.client() as ada:
        await node.work(echo)
        job = await submit(ada, numbers(20))
        before = [(result.cursor, result.index, result.data) async for result in job.results()]
        status = await job.status()
    await hub.restart()
    async with hub.client() as ada:
        job = ada.job(job.job)
        assert [(result.cursor, result.index, result.data) async for result in job.results()] == before
        assert await job.status() == status
