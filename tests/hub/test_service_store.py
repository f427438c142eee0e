"""A store that fails, fills up, is copied while running or put back: nothing unacknowledged is shown or counted."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from farlane.domain.ids import JobId
from farlane.domain.jobs import JobState
from farlane.errors import Conflict, DiskFull, NotFound
from farlane.hub.store.memory import MemoryStore
from farlane.hub.store.sqlite.backup import restore
from farlane.hub.store.sqlite.store import SqliteStore
from farlane.sdk.client import AsyncClient
from farlane.testing.running_hub import BALLAST_BYTES, RunningHub, small_job, submit
from farlane.testing.scripted_client import ScriptedClient
from farlane.testing.scripted_node import Leased
from farlane.wire.v1 import client_pb2

MIB = 1 << 20
WAIT_S = 20.0
FULL = DiskFull("the test's disk is full; expected some room: free some")


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
        async with asyncio.timeout(WAIT_S):
            while not self.store.pending:
                await asyncio.sleep(0.002)

    def fail(self) -> None:
        """Let what waits, and all that comes, fail."""
        self.store.stuck = True
        self.store.fail(FULL)
        self.flowing = True

    async def settle(self) -> None:
        """Let the store work again and wait for the hub to start over."""
        broken = self.hub.hub
        self.store.stuck = False
        async with asyncio.timeout(WAIT_S):
            while self.hub.hub is broken:
                await asyncio.sleep(0.01)

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
        job = (await client.open(small_job(durability="relaxed"), "k")).job
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

        async def fill() -> None:
            for number in range(50):
                async with ScriptedClient(hub.url, hub.token()) as client:
                    job = (await client.open(small_job(), f"key {number}")).job
                    for first in range(0, 32, 8):
                        await client.add(job, first, big[first : first + 8])
                kept.append(job)

        with pytest.raises(DiskFull, match="Free some space"):
            await fill()
        assert kept
        with pytest.raises(DiskFull):
            await ada.job(JobId(kept[0])).status()
        assert hub.store.forget(time.time() + 1) == 1
        async with asyncio.timeout(WAIT_S):
            while hub.hub.engine.failure is not None:
                await asyncio.sleep(0.05)
        # Everything that was acknowledged is there, and work goes on.
        assert [(await ada.job(JobId(job)).status()).total for job in kept] == [32] * len(kept)
        async with ScriptedClient(hub.url, hub.token()) as client:
            await client.ask(client_pb2.ClientMessage(seal=client_pb2.SealJob(job=kept[0])))
        async with hub.node() as node:
            await node.work(echo)
            results = {r.index: r.data async for r in ada.job(JobId(kept[0])).results()}
        assert [results[index] for index in range(32)] == big


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

    async with RunningHub(tmp_path, open_store=open_store) as hub:
        with pytest.raises(DiskFull):
            async with hub.node("new"), hub.client() as ada:  # a node is a record, too
                await submit(ada, [b"y"])


# --- backups --------------------------------------------------------------------------------------------------------


async def test_a_backup_made_under_load_is_a_whole_network_of_its_own(tmp_path: Path) -> None:
    payloads = [b"%d" % index for index in range(3000)]
    async with RunningHub(tmp_path / "hub") as hub, hub.client() as ada, hub.node() as node:
        job = await submit(ada, payloads)
        await node.work(echo)
        reading = asyncio.create_task(collect(ada, job.job))
        made = await ada.backup("while-running.db")
        assert made.size_bytes == Path(made.path).stat().st_size > 0
        with pytest.raises(Conflict, match="never overwrites"):
            await ada.backup("while-running.db")
        assert len(await reading) == 3000
        late = await submit(ada, [b"after the backup"])
        network, epoch = hub.store.network, hub.store.epoch
    restored = tmp_path / "restored"
    restored.mkdir()
    restore(Path(made.path), restored / "store.db")
    async with RunningHub(restored) as hub, hub.client() as ada:
        assert (hub.store.network, hub.store.epoch) == (network, epoch + 1)
        async with hub.node() as node:
            await node.work(echo)
            results = await collect(ada, job.job)
        assert Counter(results) == Counter(payloads)
        status = await ada.job(job.job).status()
        assert (status.done, status.total) == (3000, 3000)
        with pytest.raises(NotFound):
            await ada.job(late.job).status()


async def collect(client: AsyncClient, job: JobId) -> list[bytes]:
    return [result.data async for result in client.job(job).results()]


async def test_results_from_before_a_restore_are_refused(tmp_path: Path) -> None:
    async with RunningHub(tmp_path / "hub") as hub, hub.client() as ada, hub.node() as node:
        job = await submit(ada, [b"x", b"y"])
        leases = await node.take(2)
        made = await ada.backup("b.db")
        # What happens now is undone by the restore, but the node remembers it.
        await node.accepted(await node.end(leases[:1], b"before"))
    restored = tmp_path / "restored"
    restored.mkdir()
    restore(Path(made.path), restored / "store.db")
    async with RunningHub(restored) as hub, hub.client() as ada:
        async with hub.node(held=leases) as node:
            assert node.welcome.epoch == 2
            revoked = (await node.command("revoke")).revoke
            assert sorted(revoked.attempts.tasks) == sorted(lease.task for lease in leases)
            await node.accepted(await node.end(leases, b"stale"))
            assert (await ada.job(job.job).status()).done == 0
            again = await node.take(2)
            assert {lease.epoch for lease in again} == {2}
            await node.accepted(await node.end(again, b"fresh"))
        assert await collect(ada, job.job) == [b"fresh", b"fresh"]
        assert hub.hub.reactor.state.stale_results == 2
