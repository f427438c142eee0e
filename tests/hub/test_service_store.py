"""A store that fails, fills up, is copied while running or put back: nothing unacknowledged is shown or counted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from farlane.domain.failures import Blame, FailureKind
from farlane.domain.ids import JobId, index_of
from farlane.domain.jobs import Durability, JobState
from farlane.domain.records import Column
from farlane.errors import Corrupted, DiskFull
from farlane.hub.settings import HubSettings
from farlane.hub.store.memory import MemoryStore
from farlane.hub.store.sqlite.store import SqliteStore
from farlane.sdk.client import AsyncClient
from farlane.testing.builders import a_failure
from farlane.testing.running_hub import BALLAST_BYTES, RunningHub, small_job, submit
from farlane.testing.scripted_client import ScriptedClient
from farlane.testing.scripted_node import Leased
from farlane.wire.v1 import client_pb2

MIB = 1 << 20
WAIT_S = 20.0
FULL = DiskFull("the test's disk is full; expected some room: free some")


async def until(condition: Callable[[], bool]) -> None:
    """Poll until a condition holds that has no event of its own."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.002)


class ScriptedStore(MemoryStore):
    """A store whose commits a test decides on, and that stays broken for as long as it says."""

    def __init__(self) -> None:
        super().__init__(manual=True)
        self.stuck = False

    def resume(self) -> None:
        if self.stuck:
            raise FULL
        super().resume()


class Scene:
    """A hub on a scripted store. While `flowing`, everything becomes durable at once."""

    def __init__(self, hub: RunningHub, store: ScriptedStore) -> None:
        self.hub, self.store = hub, store
        self.flowing = True
        self._task = asyncio.create_task(self._flow())

    async def _flow(self) -> None:
        while True:
            if self.flowing:
                self.store.release()
            await asyncio.sleep(0.002)

    async def pending(self) -> None:
        """Wait until something waits for the disk."""
        await until(lambda: self.store.pending > 0)

    def fail(self) -> None:
        """Let what waits, and all that comes, fail."""
        self.store.stuck = True
        self.store.fail(FULL)
        self.flowing = True

    async def settle(self) -> None:
        """Let the store work again and wait for the hub to start over."""
        broken = self.hub.hub
        self.store.stuck = False
        await until(lambda: self.hub.hub is not broken)

    def close(self) -> None:
        self._task.cancel()
        self.store.stuck = False


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    store = ScriptedStore()
    async with RunningHub(tmp_path, open_store=lambda: store) as hub:
        scene = Scene(hub, store)
        try:
            yield scene
        finally:
            scene.close()


def echo(lease: Leased) -> bytes:
    return lease.payload


async def test_nothing_is_acknowledged_before_it_is_durable(scene: Scene) -> None:
    hub = scene.hub
    async with hub.node() as node, ScriptedClient(hub.url, hub.token()) as client, hub.client() as ada:
        scene.flowing = False
        opening = asyncio.create_task(client.open(small_job(), "k"))
        await scene.pending()
        reading = asyncio.create_task(ada.job(JobId(1)).status())
        await node.beat()  # the hub is alive
        assert not opening.done()
        assert not reading.done()
        scene.flowing = True
        assert (await opening).job == 1
        assert (await reading).total == 0
        await client.add(1, 0, [b"x"], seal=True)
        (lease,) = await node.take()
        await client.watch(1)
        scene.flowing = False
        batch = await node.end([lease], b"done")
        await scene.pending()
        asking = asyncio.create_task(ada.job(JobId(1)).status())
        request = await client.say(client_pb2.ClientMessage())  # its answer would come after the result
        assert (await client.reply()).request == request
        assert not asking.done()
        assert node.commands.empty()
        scene.flowing = True
        await node.accepted(batch)
        assert list((await client.results()).results.inline) == [b"done"]
        assert (await asking).done == 1


async def test_a_relaxed_job_does_not_wait_for_the_disk(scene: Scene) -> None:
    hub = scene.hub
    async with hub.node() as node, ScriptedClient(hub.url, hub.token()) as client:
        scene.flowing = False
        await node.work(echo)
        job = (await client.open(small_job(durability=Durability.RELAXED), "k")).job
        await client.watch(job)
        await client.add(job, 0, [b"x"], seal=True)
        assert list((await client.results()).results.inline) == [b"x"]
        scene.flowing = True
        assert (await client.results()).done == 1


async def test_a_failed_commit_ends_every_stream_with_its_reason(scene: Scene) -> None:
    hub = scene.hub
    async with hub.node() as node, ScriptedClient(hub.url, hub.token()) as client:
        job = (await client.open(small_job(), "k")).job
        await client.add(job, 0, [b"x"])
        (lease,) = await node.take()
        scene.flowing = False
        await node.end([lease], b"lost")
        await scene.pending()
        await client.watch(job)
        scene.fail()
        assert isinstance(await client.refusal(), DiskFull)
        assert isinstance(await asyncio.wait_for(node.ended, WAIT_S), DiskFull)
        # Newcomers hear the same.
        with pytest.raises(DiskFull, match="free some"):
            async with ScriptedClient(hub.url, hub.token()):
                pytest.fail("it was let in")
        with pytest.raises(DiskFull):
            async with hub.node("other"):
                pytest.fail("it was let in")
        async with hub.channel() as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert reply.status == health_pb2.HealthCheckResponse.NOT_SERVING
            plain = channel.unary_unary("/farlane.v1.ClientService/GetJob")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                # What the hub has in memory (one task done) was never made durable.
                await plain(client_pb2.GetJobRequest(job=job).SerializeToString(), timeout=10)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            await scene.settle()
            reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        async with hub.client() as ada, hub.node(held=[lease]) as again:
            status = await ada.job(JobId(job)).status()
            assert (status.done, status.total, status.spent) == (0, 1, 0)
            await again.accepted(await again.end([lease], b"sent again"))
            await client_done(ada, job)


async def client_done(ada: AsyncClient, job: int) -> None:
    async with asyncio.timeout(WAIT_S):
        async for result in ada.job(JobId(job)).results():
            assert result.data == b"sent again"
            return


async def test_a_submit_in_flight_when_the_store_fails_is_one_job_after_it(scene: Scene) -> None:
    hub = scene.hub
    async with hub.client() as ada:
        scene.flowing = False
        submitting = asyncio.create_task(submit(ada, [b"%d" % index for index in range(100)]))
        await scene.pending()
        scene.fail()
        await asyncio.sleep(0)
        await scene.settle()
        job = await submitting
        async with hub.node() as node:
            await node.work(echo)
            assert len([result async for result in job.results()]) == 100
        assert [(each.total, each.done) for each in await ada.jobs(all=True)] == [(100, 100)]


async def test_calls_that_wait_for_the_disk_end_when_it_fails(scene: Scene) -> None:
    hub = scene.hub
    async with hub.client() as ada:
        job = await submit(ada, [b"x"])
        scene.flowing = False
        stopping = asyncio.create_task(job.stop())
        await scene.pending()
        scene.fail()
        with pytest.raises(DiskFull):
            await stopping
        await scene.settle()
        assert (await job.status()).state is not JobState.STOPPED
        assert (await job.stop()).state is JobState.STOPPED


async def test_followers_of_a_log_go_on_with_the_hub_that_takes_over(scene: Scene) -> None:
    hub = scene.hub
    async with hub.node() as node, hub.client() as ada:
        job = await submit(ada, [b"x"])
        (lease,) = await node.take()
        await node.print_log(lease.task, b"before\n")
        await node.beat()
        following = asyncio.create_task(log_of(ada, job.job))
        scene.flowing = False
        await node.end([lease], b"lost")
        await scene.pending()
        scene.fail()
        assert isinstance(await asyncio.wait_for(node.ended, WAIT_S), DiskFull)
        await scene.settle()
        async with hub.node(held=[lease]) as again:
            await again.print_log(lease.task, b"after\n")
            await again.accepted(await again.end([lease], b"done"))
            assert await asyncio.wait_for(following, WAIT_S) == b"before\nafter\n"


async def log_of(client: AsyncClient, job: JobId) -> bytes:
    return b"".join([each.data async for each in client.job(job).logs()])


async def test_a_job_retried_while_its_end_becomes_durable_goes_on(scene: Scene) -> None:
    hub = scene.hub
    async with hub.node() as node, hub.client() as ada:
        job = await submit(ada, [b"x"])
        reading = asyncio.create_task(outcomes(ada, job.job))
        leases = await node.take()
        scene.flowing = False
        await node.end(leases, failure=a_failure())
        await scene.pending()
        retrying = asyncio.create_task(job.retry())
        await node.beat()
        await until(lambda: hub.hub.reactor.state.jobs[job.job].state is not JobState.FAILED)
        scene.flowing = True
        await retrying
        again = await node.take()
        await node.accepted(await node.end(again, b"done"))
        assert (await job.wait(WAIT_S)).state is JobState.SUCCEEDED
        assert await asyncio.wait_for(reading, WAIT_S) == [(1, b""), (2, b"done")]


async def outcomes(client: AsyncClient, job: JobId) -> list[tuple[int, bytes]]:
    return [(result.attempts, result.data) async for result in client.job(job).results()]


class DamagedStore(MemoryStore):
    """A store that cannot read the payloads of job 1."""

    def payloads(self, job: JobId, first: int, count: int) -> Column:
        if job == 1:
            raise Corrupted("a row does not match its checksum: restore a backup")
        return super().payloads(job, first, count)


async def test_payloads_that_cannot_be_read_fail_their_tasks_and_nothing_else(tmp_path: Path) -> None:
    settings = HubSettings(payload_cache_bytes=0)
    async with contextlib.AsyncExitStack() as stack:
        hub = await stack.enter_async_context(
            RunningHub(tmp_path, open_store=DamagedStore, settings=settings)
        )
        node = await stack.enter_async_context(hub.node())
        ada = await stack.enter_async_context(hub.client())
        await node.work(echo)
        bad = await submit(ada, [b"x", b"y"])
        results = [result async for result in bad.results()]
        assert {result.failure and result.failure.kind for result in results} == {FailureKind.BLOB}
        for result in results:
            assert result.failure is not None
            assert result.failure.rule.blame is Blame.NETWORK
            assert "checksum" in result.failure.message
        assert (await bad.status()).spent == 0
        good = await submit(ada, [b"fine"])
        assert await collect(ada, good.job) == [b"fine"]


# --- a disk that is really full --------------------------------------------------------------------------------------


async def test_a_full_disk_stops_the_hub_and_room_brings_it_back(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    def open_store() -> SqliteStore:
        return SqliteStore(path, max_bytes=6 * MIB, ballast_bytes=BALLAST_BYTES)

    big = [os.urandom(60_000) for _ in range(32)]
    async with RunningHub(tmp_path, open_store=open_store) as hub, hub.client() as ada:
        async with hub.node() as node:
            await node.work(lambda lease: b"small")
            old = await submit(ada, big)  # what an operator will let go of
            assert (await old.wait(WAIT_S)).done == 32
        kept: list[int] = []
        with pytest.raises(DiskFull, match="Free some space"):
            await fill(hub, big, kept)
        assert kept
        with pytest.raises(DiskFull):
            await ada.job(JobId(kept[0])).status()
        assert hub.store.forget(time.time() + 1) == 1
        await until(lambda: hub.hub.engine.failure is None)
        # Everything that was acknowledged is there, and work goes on.
        assert [(await ada.job(JobId(job)).status()).total for job in kept] == [32] * len(kept)
        async with ScriptedClient(hub.url, hub.token()) as client:
            await client.ask(client_pb2.ClientMessage(seal=client_pb2.SealJob(job=kept[0])))
        async with hub.node() as node:
            leases = {index_of(lease.task): lease for lease in await node.take(32)}
            assert [leases[index].payload for index in range(32)] == big
            await node.accepted(await node.end(list(leases.values()), b"small"))
            assert len(await collect(ada, JobId(kept[0]))) == 32


async def fill(hub: RunningHub, payloads: list[bytes], kept: list[int]) -> None:
    """Submit jobs until the hub refuses; `kept` are those that were acknowledged whole."""
    for number in range(50):
        async with ScriptedClient(hub.url, hub.token()) as client:
            job = (await client.open(small_job(), f"key {number}")).job
            for first in range(0, len(payloads), 8):
                await client.add(job, first, payloads[first : first + 8])
            kept.append(job)


async def test_a_hub_whose_disk_is_full_at_its_start_reads_and_says_so(tmp_path: Path) -> None:
    async with RunningHub(tmp_path) as hub, hub.client() as ada, hub.node() as node:
        await node.work(echo)
        job = await submit(ada, [b"x"])
        await job.wait(WAIT_S)

    class FullAtStart(SqliteStore):
        def resume(self) -> None:
            raise FULL

    def open_store() -> SqliteStore:
        store = FullAtStart(tmp_path / "store.db", ballast_bytes=BALLAST_BYTES)
        store._thread._refusal = FULL
        return store

    async with RunningHub(tmp_path, open_store=open_store) as hub, hub.client() as ada:
        assert await collect(ada, job.job) == [b"x"]
        async with ScriptedClient(hub.url, hub.token()) as client:
            with pytest.raises(DiskFull):
                await client.open(small_job(), "k")


async def collect(client: AsyncClient, job: JobId) -> list[bytes]:
    return [result.data async for result in client.job(job).results()]
