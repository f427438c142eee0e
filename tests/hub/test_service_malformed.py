"""Reports that make no sense: refused as a whole, or row by row; they never touch another node's work."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from farlane.domain.ids import JobId, TaskId, task_id
from farlane.domain.jobs import MAX_INLINE_BYTES
from farlane.errors import FarlaneError, InvalidInput, TooLarge
from farlane.hub.settings import HubSettings
from farlane.sdk.jobs import JobHandle
from farlane.sdk.outcomes import TaskResult
from farlane.testing.running_hub import RunningHub, submit
from farlane.testing.scripted_node import Leased, ended_message
from farlane.wire.v1 import node_pb2, types_pb2

Ended = node_pb2.AttemptsEnded


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with RunningHub(tmp_path) as running:
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


def spoil(**changes: object) -> Callable[[Ended], None]:
    """Return what replaces whole columns of a report."""

    def change(message: Ended) -> None:
        for name, value in changes.items():
            message.ClearField(name)  # type: ignore[arg-type]
            if isinstance(value, list):
                getattr(message, name).extend(value)
            elif isinstance(value, bytes | int):
                setattr(message, name, value)
            else:
                getattr(message, name).CopyFrom(value)

    return change


def column(*inline: bytes, **more: object) -> types_pb2.BytesColumn:
    return types_pb2.BytesColumn(inline=inline, **more)  # type: ignore[arg-type]


def files(path: str, cid: str = "bafkreigood") -> types_pb2.OutputFiles:
    return types_pb2.OutputFiles(files=[types_pb2.File(path=path, blob=types_pb2.BlobRef(cid=cid))])


REFUSED: dict[str, tuple[Callable[[Ended], None], type[FarlaneError]]] = {
    "no attempts": (spoil(attempts=[]), InvalidInput),
    "more attempts": (spoil(attempts=[1, 1]), InvalidInput),
    "no states": (spoil(states=b""), InvalidInput),
    "more results": (spoil(results=column(b"a", b"b")), InvalidInput),
    "no times": (spoil(lease_ms=[]), InvalidInput),
    "more cpu": (spoil(cpu_us=[1, 2]), InvalidInput),
    "no memory": (spoil(peak_bytes=[]), InvalidInput),
    "cpu no store can hold": (spoil(cpu_us=[1 << 63]), InvalidInput),
    "memory no store can hold": (spoil(peak_bytes=[(1 << 64) - 1]), InvalidInput),
    "time no store can hold": (spoil(lease_ms=[1 << 63]), InvalidInput),
    "a result beyond its cap": (spoil(results=column(bytes(MAX_INLINE_BYTES + 1))), TooLarge),
    "too many rows": (
        spoil(tasks=[1] * 4097, attempts=[1] * 4097, states=b"\2" * 4097, results=column(*[b""] * 4097),
              lease_ms=[1] * 4097, cpu_us=[1] * 4097, peak_bytes=[1] * 4097),
        TooLarge,
    ),
    "a blob that is no blob": (
        spoil(results=column(b"", blob_rows=[0], blobs=[types_pb2.BlobRef(cid="../x")])), InvalidInput,
    ),
    "a blob of a row that is not there": (
        spoil(results=column(b"", blob_rows=[3], blobs=[types_pb2.BlobRef(cid="bafk")])), InvalidInput,
    ),
    "an unknown failure": (
        spoil(failure_rows=[0], failures=[types_pb2.Failure(kind="bad-mood")]), InvalidInput,
    ),
    "a failure of a row that is not there": (
        spoil(failure_rows=[1], failures=[types_pb2.Failure(kind="exception")]), InvalidInput,
    ),
    "a failure without its row": (spoil(failures=[types_pb2.Failure(kind="exception")]), InvalidInput),
    "a novel for a message": (
        spoil(failure_rows=[0], failures=[types_pb2.Failure(kind="exception", message="x" * 5000)]), InvalidInput,
    ),
    "a file outside of its directory": (
        spoil(output_rows=[0], outputs=[files("../../.ssh/authorized_keys")]), InvalidInput,
    ),
    "an absolute file": (spoil(output_rows=[0], outputs=[files("/etc/passwd")]), InvalidInput),
    "a file without content": (spoil(output_rows=[0], outputs=[files("a", "")]), InvalidInput),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
async def test_a_malformed_report_ends_its_stream_and_changes_nothing(hub: RunningHub, what: str) -> None:
    change, expected = REFUSED[what]
    async with hub.client() as ada, hub.node("bad") as bad:
        job = await submit(ada, [b"x"])
        (lease,) = await bad.take()
        message = ended_message(1, [(lease, b"result")])
        change(message)
        await bad.say(node_pb2.NodeMessage(ended=message))
        error = await asyncio.wait_for(bad.ended, 10)
        assert isinstance(error, expected), error
        assert (await job.status()).done == 0
        async with hub.node("bad", held=[lease]) as again:  # the lease is still its own
            await again.accepted(await again.end([lease], b"proper"))
        assert [result.data for result in await check_books(hub, job)] == [b"proper"]


RUNNING: dict[str, tuple[dict[str, list[int]], type[FarlaneError]]] = {
    "no attempts": ({"attempts": []}, InvalidInput),
    "more times": ({"lease_ms": [1, 2]}, InvalidInput),
    "time no store can hold": ({"lease_ms": [1 << 63]}, InvalidInput),
    "too many rows": ({"tasks": [1] * 4097, "attempts": [1] * 4097, "lease_ms": [1] * 4097}, TooLarge),
}


@pytest.mark.parametrize("what", RUNNING)
async def test_a_malformed_word_on_what_runs_ends_its_stream(hub: RunningHub, what: str) -> None:
    change, expected = RUNNING[what]
    async with hub.client() as ada, hub.node("bad") as bad:
        job = await submit(ada, [b"x"])
        (lease,) = await bad.take()
        columns = {"tasks": [lease.task], "attempts": [lease.attempt], "lease_ms": [1]} | change
        running = node_pb2.AttemptsRunning(epoch=1, **columns)
        await bad.say(node_pb2.NodeMessage(running=running))
        error = await asyncio.wait_for(bad.ended, 10)
        assert isinstance(error, expected), error
        assert (await job.status()).spent == 0


STALE: dict[str, Callable[[Leased, Leased], Leased]] = {
    "a task nobody knows": lambda mine, _: dataclasses.replace(mine, task=task_id(JobId(999), 7)),
    "a task of this job that is not there": lambda mine, _: dataclasses.replace(
        mine, task=TaskId(mine.task + 99)
    ),
    "the largest of all numbers": lambda mine, _: dataclasses.replace(mine, task=TaskId((1 << 64) - 1)),
    "another node's task": lambda _, theirs: theirs,
    "an attempt that never was": lambda mine, _: dataclasses.replace(mine, attempt=200),
    "attempt 0": lambda mine, _: dataclasses.replace(mine, attempt=0),
    "another epoch": lambda mine, _: dataclasses.replace(mine, epoch=mine.epoch + 1),
}


@pytest.mark.parametrize("what", STALE)
async def test_results_for_what_the_node_was_not_given_change_nothing(hub: RunningHub, what: str) -> None:
    async with hub.client() as ada, hub.client("lab/bob") as bob, hub.node("bad") as bad:
        mine = await submit(ada, [b"x"])
        (lease,) = await bad.take()
        await bad.say(node_pb2.NodeMessage(draining=node_pb2.Draining()))
        await bad.beat()
        async with hub.node("good") as good:
            theirs = await submit(bob, [b"y"])
            (other,) = await good.take()
            forged = STALE[what](lease, other)
            await bad.accepted(await bad.end([forged], b"forged"))
            assert (await theirs.status()).done == (await mine.status()).done == 0
            await good.accepted(await good.end([other], b"real"))
            assert [result.data for result in await results_of(theirs)] == [b"real"]
        await bad.accepted(await bad.end([lease], b"mine"))
        assert [result.data for result in await results_of(mine)] == [b"mine"]


async def test_a_report_may_mix_what_counts_with_what_does_not(hub: RunningHub) -> None:
    async with hub.client() as ada, hub.node() as node:
        job = await submit(ada, [b"a", b"b", b"c"])
        leases = await node.take(3)
        foreign = dataclasses.replace(leases[0], task=task_id(JobId(77), 0))
        stale = dataclasses.replace(leases[1], attempt=9)
        rows = [(foreign, b"?"), (leases[0], b"a"), (stale, b"?"), (leases[2], b"c"), (leases[0], b"?")]
        await node.accepted(await node.end_with(rows))
        assert (await job.status()).done == 2
        await node.accepted(await node.end(leases[1:2], b"b"))
        results = await check_books(hub, job)
        assert {result.index: result.data for result in results} == {0: b"a", 1: b"b", 2: b"c"}
        assert hub.hub.reactor.state.stale_results == 3


numbers = st.integers(0, (1 << 64) - 1)
small = st.integers(0, (1 << 32) - 1)
reports = st.builds(
    Ended, batch=numbers, epoch=st.one_of(st.just(1), numbers), tasks=st.lists(numbers, max_size=3),
    attempts=st.lists(small, max_size=3), copies=st.lists(small, max_size=3), states=st.binary(max_size=3),
    results=st.builds(types_pb2.BytesColumn, inline=st.lists(st.binary(max_size=4), max_size=3)),
    failure_rows=st.lists(small, max_size=2),
    failures=st.lists(st.builds(types_pb2.Failure, kind=st.sampled_from(["exception", "x", ""])), max_size=2),
    output_rows=st.lists(small, max_size=2), outputs=st.lists(st.builds(types_pb2.OutputFiles), max_size=2),
    lease_ms=st.lists(numbers, max_size=3), cpu_us=st.lists(numbers, max_size=3),
    peak_bytes=st.lists(numbers, max_size=3),
)  # fmt: skip
messages = st.one_of(
    st.builds(node_pb2.NodeMessage, ended=reports),
    st.builds(node_pb2.NodeMessage, log=st.builds(
        node_pb2.LogChunk, task=numbers, attempt=small, stream=st.text(max_size=6), data=st.binary(max_size=9))),
    st.builds(node_pb2.NodeMessage, heartbeat=st.builds(node_pb2.Heartbeat, sequence=numbers)),
    st.just(node_pb2.NodeMessage()),
)  # fmt: skip


@given(rounds=st.lists(st.lists(messages, min_size=1, max_size=5), min_size=4, max_size=8))
@examples(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_hub_outlives_random_messages(
    rounds: list[list[node_pb2.NodeMessage]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever a node says, other nodes' work goes on and nothing of theirs is touched."""

    async def play() -> None:
        patient = HubSettings(lease_s=600.0)
        async with RunningHub(tmp_path_factory.mktemp("hub"), settings=patient) as hub, hub.client() as ada:
            job = await submit(ada, [b"x"])
            async with hub.node("good") as good:
                lease = await good.take()
                for said in rounds:
                    async with hub.node("bad", cpu=100) as bad:
                        for message in said:
                            await bad.say(message)
                        await bad.finish()
                await good.accepted(await good.end(lease, b"done"))
                assert [result.data for result in await results_of(job)] == [b"done"]
                assert hub.hub.engine.failure is None

    asyncio.run(play())
