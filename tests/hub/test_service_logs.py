"""What tasks print: kept up to a cap, followed live, read again after restarts, and only from those who ran them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.domain.ids import JobId, task_id
from farlane.errors import InvalidInput, Unavailable
from farlane.hub.log_store import CUT_NOTICE, PAGE_BYTES, LogChunk, LogStore
from farlane.hub.settings import HubSettings
from farlane.sdk.jobs import JobHandle
from farlane.testing.running_hub import RunningHub, submit

JOB = JobId(3)
TASK = task_id(JOB, 0)


def chunk(data: bytes, index: int = 0, stream: str = "stdout") -> LogChunk:
    return LogChunk(task_id(JOB, index), 1, stream, data)


def kept(store: LogStore) -> bytes:
    return b"".join(each.data for each in store.read(JOB))


# --- the store ------------------------------------------------------------------------------------------------------


def test_what_was_printed_is_read_in_order(tmp_path: Path) -> None:
    store = LogStore(tmp_path, 1 << 20)
    chunks = [chunk(b"a\n"), chunk(b"b\n", 7, "stderr"), chunk(b"")]
    for each in chunks:
        store.append(each)
    assert list(store.read(JOB)) == chunks
    assert list(LogStore(tmp_path, 1 << 20).read(JOB)) == chunks
    assert list(store.read(JobId(4))) == []


def test_a_log_larger_than_a_page_is_read_whole(tmp_path: Path) -> None:
    store = LogStore(tmp_path, 64 << 20)
    parts = [bytes([number]) * (PAGE_BYTES // 3) for number in range(7)] + [b"x" * (3 * PAGE_BYTES), b"end"]
    for part in parts:
        store.append(chunk(part))
    assert [each.data for each in store.read(JOB)] == parts


@pytest.mark.parametrize("line", [b"x", b"x" * 50 + b"\n", b"x" * 999, b"x" * 5000])
def test_a_full_log_says_so_exactly_once(tmp_path: Path, line: bytes) -> None:
    store = LogStore(tmp_path, 10_000)
    for _ in range(20_000 // len(line)):
        store.append(chunk(line))
    text = kept(store)
    assert text.endswith(CUT_NOTICE)
    assert text.count(CUT_NOTICE) == 1
    printed = text.removesuffix(CUT_NOTICE)
    assert len(printed) - printed.count(b"\n") == printed.count(b"x")
    # What is kept and what is not add up, but for a line break before the notice.
    assert len(printed) + store.dropped_bytes - (20_000 // len(line)) * len(line) in (0, 1)
    size = (tmp_path / "j3.log").stat().st_size
    assert 10_000 < size < 10_000 + 2 * len(CUT_NOTICE)
    again = LogStore(tmp_path, 10_000)
    again.append(chunk(b"after a restart\n"))
    assert kept(again) == text
    assert again.dropped_bytes == len(b"after a restart\n")


def test_a_torn_or_damaged_end_costs_only_the_end(tmp_path: Path) -> None:
    store = LogStore(tmp_path, 1 << 20)
    store.append(chunk(b"whole\n"))
    path = tmp_path / "j3.log"
    good = path.read_bytes()
    for tail in (b"\0", b"\0\0\0\x09abc", b"\0\0\0\x03abc", b"\xff\xff\xff\xffabc"):
        path.write_bytes(good + tail)
        assert kept(LogStore(tmp_path, 1 << 20)) == b"whole\n"


def test_a_disk_that_cannot_be_written_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    store = LogStore(tmp_path, 1 << 20)
    (tmp_path / "j3.log").mkdir()
    store.append(chunk(b"lost"))
    assert store.dropped_bytes == 4


async def test_a_follower_gets_the_past_and_the_present_until_the_end(tmp_path: Path) -> None:
    store = LogStore(tmp_path, 1 << 20)
    store.append(chunk(b"before"))
    following = store.follow(JOB)
    async with asyncio.timeout(10):
        assert (await anext(following)).data == b"before"
        coming = asyncio.ensure_future(anext(following))
        await asyncio.sleep(0)
        assert not coming.done()
        store.append(chunk(b"live"))
        assert (await coming).data == b"live"
        store.append(chunk(b"last"))
        store.end(JOB)
        assert [each.data async for each in following] == [b"last"]


async def test_followers_learn_that_the_store_is_replaced(tmp_path: Path) -> None:
    store = LogStore(tmp_path, 1 << 20)

    async def follow() -> None:
        async for _ in store.follow(JOB):
            pytest.fail("nothing was printed")

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    store.interrupt(Unavailable("another takes over"))
    with pytest.raises(Unavailable, match="another takes over"):
        await asyncio.wait_for(following, 5)


# --- the service ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with RunningHub(tmp_path, settings=HubSettings(log_bytes_per_job=10_000)) as running:
        yield running


async def log_of(job: JobHandle, index: int | None = None, *, follow: bool = False) -> bytes:
    async with asyncio.timeout(20):
        return b"".join([each.data async for each in job.logs(index, follow=follow)])


async def test_logs_are_followed_live_and_read_again_after_the_end(hub: RunningHub) -> None:
    async with hub.node() as node, hub.client() as ada:
        job = await submit(ada, [b"x", b"y"])
        leases = await node.take(2)
        following = asyncio.create_task(log_of(job, follow=True))
        one = asyncio.create_task(log_of(job, 1, follow=True))
        await node.print_log(leases[0].task, b"zero\n")
        await node.print_log(leases[1].task, b"one\n", "stderr")
        await node.beat()
        assert await log_of(job) == b"zero\none\n"
        assert not following.done()
        await node.accepted(await node.end(leases))
        assert await following == b"zero\none\n"
        assert await one == b"one\n"
        await node.print_log(leases[0].task, b"a last line that the result has overtaken\n")
        await node.beat()
        assert (await log_of(job, 0, follow=True)).endswith(b"overtaken\n")
    await hub.restart()
    async with hub.client() as ada:
        assert (await log_of(ada.job(job.job), 1)) == b"one\n"


async def test_a_job_that_prints_without_end_is_cut_with_a_notice(hub: RunningHub) -> None:
    async with hub.node() as node, hub.client() as ada:
        job = await submit(ada, [b"x"])
        (lease,) = await node.take()
        following = asyncio.create_task(log_of(job, follow=True))
        for _ in range(300):
            await node.print_log(lease.task, b"spam and eggs\n" * 100)
        await node.accepted(await node.end([lease]))
        text = await following
        assert text.endswith(CUT_NOTICE)
        assert len(text) < 11_000
        assert hub.hub.logs.dropped_bytes > 400_000


async def test_a_node_writes_only_into_logs_of_jobs_it_works_for(hub: RunningHub) -> None:
    async with hub.node("good") as good, hub.client() as ada:
        job = await submit(ada, [b"x"])
        (lease,) = await good.take()
        async with hub.node("bad", cpu=100) as bad:
            await bad.print_log(lease.task, b"forged\n")
            await bad.print_log(task_id(JobId(1234), 0), b"filling the disk\n")
            await bad.beat()
        assert await log_of(job) == b""
        assert not (hub.directory / "logs" / "j1234.log").exists()
        assert hub.hub.logs.dropped_bytes == len(b"forged\nfilling the disk\n")
        await good.print_log(lease.task, b"real\n")
        await good.beat()
        assert await log_of(job) == b"real\n"


async def test_a_node_that_came_back_with_its_work_goes_on_printing(hub: RunningHub) -> None:
    async with hub.client() as ada:
        job = await submit(ada, [b"x"])
        async with hub.node() as node:
            leases = await node.take()
        async with hub.node(held=leases) as node:
            await node.print_log(leases[0].task, b"still here\n")
            await node.beat()
            assert await log_of(job) == b"still here\n"


@pytest.mark.parametrize(("stream", "size"), [("console", 1), ("stdout", (1 << 20) + 1)])
async def test_a_piece_of_log_that_makes_no_sense_ends_the_stream(
    hub: RunningHub, stream: str, size: int
) -> None:
    async with hub.node() as node, hub.client() as ada:
        await submit(ada, [b"x"])
        (lease,) = await node.take()
        await node.print_log(lease.task, bytes(size), stream)
        assert isinstance(await asyncio.wait_for(node.ended, 10), InvalidInput)


async def test_a_follower_goes_on_over_a_restart_of_the_hub(hub: RunningHub) -> None:
    async with hub.client() as ada:
        job = await submit(ada, [b"x"])
        async with hub.node() as node:
            leases = await node.take()
            await node.print_log(leases[0].task, b"before\n")
            await node.beat()
        following = asyncio.create_task(log_of(job, follow=True))
        await asyncio.sleep(0)
        await hub.restart()
        async with hub.node(held=leases) as node:
            await node.print_log(leases[0].task, b"after\n")
            await node.accepted(await node.end(leases))
            assert await following == b"before\nafter\n"
