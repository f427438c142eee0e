"""The log store: frames survive tearing and full disks, followers miss nothing, caps hold."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.domain.ids import JobId, TaskId, task_id
from farlane.errors import Unavailable
from farlane.hub import log_store
from farlane.hub.log_store import CUT_NOTICE, LogChunk, LogStore

JOB = JobId(7)
TASK = task_id(JOB, 3)


def chunk(data: bytes | str, task: TaskId = TASK, stream: str = "stdout", attempt: int = 1) -> LogChunk:
    return LogChunk(task, attempt, stream, data.encode() if isinstance(data, str) else data)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., LogStore]:
    return lambda cap_bytes=1 << 20: LogStore(tmp_path / "logs", cap_bytes)


def file_of(store: LogStore) -> Path:
    return store._path(JOB)


def printed(store: LogStore) -> bytes:
    return b"".join(each.data for each in store.read(JOB))


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def collect(store: LogStore, into: list[LogChunk]) -> None:
    async for each in store.follow(JOB):
        into.append(each)  # noqa: PERF401  # seen by the test while it grows


class TestKeeping:
    def test_what_was_printed_is_read_back_in_order_also_by_another_store(
        self, make: Callable[..., LogStore]
    ) -> None:
        store = make()
        chunks = [chunk("one\n"), chunk("", stream="stderr", attempt=9), chunk(b"\xff\x00", task_id(JOB, 0))]
        for each in chunks:
            store.append(each)
        store.append(chunk("elsewhere", task_id(JobId(8), 0)))
        assert list(store.read(JOB)) == chunks
        assert list(make().read(JOB)) == chunks

    def test_a_job_that_printed_nothing_has_an_empty_log(self, make: Callable[..., LogStore]) -> None:
        assert list(make().read(JOB)) == []

    @pytest.mark.parametrize("cut", [1, 3, 4, 5, 10])
    def test_a_torn_last_frame_is_left_out(self, make: Callable[..., LogStore], cut: int) -> None:
        store = make()
        store.append(chunk("first"))
        whole = file_of(store).stat().st_size
        store.append(chunk("second"))
        os.truncate(file_of(store), whole + cut)
        assert printed(store) == b"first"

    def test_garbage_ends_the_log_without_an_error(self, make: Callable[..., LogStore]) -> None:
        store = make()
        store.append(chunk("first"))
        with file_of(store).open("ab") as file:
            file.write(b"\x00\x00\x00\x02\xff\xff" + b"\x00\x00\x00\x01\x00")
        assert printed(store) == b"first"

    def test_a_disk_that_takes_only_a_part_keeps_the_log_whole(
        self, make: Callable[..., LogStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = make()
        store.append(chunk("first"))

        class Full:
            """A file on a disk with room for three bytes."""

            def __init__(self, file: Any) -> None:
                self.tell, self.truncate, self.close = file.tell, file.truncate, file.close
                self.file = file

            def __enter__(self) -> Full:
                return self

            def __exit__(self, *_: object) -> None:
                self.close()

            def write(self, data: bytes) -> int:
                return self.file.write(data[:3])

        real = Path.open
        with monkeypatch.context() as patched:
            patched.setattr(Path, "open", lambda path, mode, **options: Full(real(path, mode, **options)))
            store.append(chunk("second"))
        assert store.dropped_bytes == 6
        store.append(chunk("third"))
        assert printed(store) == b"firstthird"

    def test_a_disk_that_takes_nothing_costs_lines_and_nothing_else(
        self, make: Callable[..., LogStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = make()

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(Path, "open", full)
            store.append(chunk("lost"))
        store.append(chunk("kept"))
        assert (printed(store), store.dropped_bytes) == (b"kept", 4)

    def test_pages_join_without_a_seam(
        self, make: Callable[..., LogStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(log_store, "PAGE_BYTES", 64)
        store = make()
        lines = [bytes([65 + number]) * (number * 17 % 200) for number in range(30)]
        for line in lines:
            store.append(chunk(line))
        assert [each.data for each in store.read(JOB)] == lines

    async def test_a_log_is_read_in_turns_as_at_once(
        self, make: Callable[..., LogStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(log_store, "PAGE_BYTES", 64)
        store = make()
        for number in range(20):
            store.append(chunk(f"{number}\n"))
        assert [each async for each in store.read_in_turns(JOB)] == list(store.read(JOB))

    def test_old_logs_are_deleted(self, make: Callable[..., LogStore]) -> None:
        store = make()
        store.append(chunk("old"))
        store.append(chunk("new", task_id(JobId(8), 0)))
        os.utime(file_of(store), (1000, 1000))
        assert store.forget(2000) == 1
        assert printed(store) == b""
        assert len(list(store.read(JobId(8)))) == 1


class TestCap:
    def test_the_line_that_passes_it_is_cut_with_a_notice_and_the_rest_dropped(
        self, make: Callable[..., LogStore]
    ) -> None:
        store = make(cap_bytes=100)
        store.append(chunk("x" * 50))
        store.append(chunk("y" * 50))
        store.append(chunk("z" * 50))
        text = printed(store)
        assert text.startswith(b"x" * 50 + b"y")
        assert text.endswith(b"y\n" + CUT_NOTICE)
        assert store.dropped_bytes == 150 - (text.count(b"x") + text.count(b"y"))
        assert b"z" not in text.removesuffix(CUT_NOTICE)

    def test_it_holds_over_a_restart(self, make: Callable[..., LogStore]) -> None:
        make(cap_bytes=100).append(chunk("x" * 200))
        again = make(cap_bytes=100)
        before = printed(again)
        again.append(chunk("more"))
        again.append(chunk("and more"))
        assert printed(again) == before
        assert again.dropped_bytes == 12

    def test_what_was_kept_before_a_restart_counts(self, make: Callable[..., LogStore]) -> None:
        make(cap_bytes=200).append(chunk("x" * 100))
        again = make(cap_bytes=200)
        again.append(chunk("y" * 100))
        assert printed(again).endswith(CUT_NOTICE)
        assert printed(again).count(b"y") < 100

    @given(st.lists(st.binary(max_size=60), max_size=12), st.integers(1, 300))
    def test_a_file_never_grows_far_beyond_it(
        self, tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], cap: int
    ) -> None:
        store = LogStore(tmp_path_factory.mktemp("logs"), cap)
        for line in lines:
            store.append(chunk(line))
        size = file_of(store).stat().st_size if lines else 0
        assert size <= cap + len(CUT_NOTICE) + 64
        assert printed(store).replace(b"\n" + CUT_NOTICE, b"").replace(CUT_NOTICE, b"") in b"".join(lines)

    def test_an_ended_job_is_forgotten_and_its_file_decides(self, make: Callable[..., LogStore]) -> None:
        store = make(cap_bytes=100)
        store.append(chunk("x" * 200))
        store.end(JOB)
        before = printed(store)
        store.append(chunk("late"))
        assert printed(store) == before


class TestFollowing:
    async def test_it_begins_with_what_is_kept_and_ends_with_the_job(
        self, make: Callable[..., LogStore]
    ) -> None:
        store = make()
        store.append(chunk("kept"))
        seen: list[LogChunk] = []
        following = asyncio.create_task(collect(store, seen))
        await turns()
        store.append(chunk("live"))
        store.append(chunk("other job", task_id(JobId(8), 0)))
        await turns()
        assert [each.data for each in seen] == [b"kept", b"live"]
        store.append(chunk("last"))
        store.end(JOB)
        await asyncio.wait_for(following, 5)
        assert [each.data for each in seen] == [b"kept", b"live", b"last"]
        assert store._followers == {}

    async def test_a_slow_follower_misses_nothing(self, make: Callable[..., LogStore]) -> None:
        store = make()
        stream = store.follow(JOB)
        store.append(chunk("0"))
        seen = [await anext(stream)]
        for number in range(1, 500):
            store.append(chunk(str(number)))
        store.end(JOB)
        seen += [each async for each in stream]
        assert [each.data for each in seen] == [b"%d" % number for number in range(500)]

    async def test_two_followers_and_one_that_leaves_early(self, make: Callable[..., LogStore]) -> None:
        store = make()
        store.append(chunk("a"))
        early = store.follow(JOB)
        assert (await anext(early)).data == b"a"
        await early.aclose()
        seen: list[list[LogChunk]] = [[], []]
        following = [asyncio.create_task(collect(store, each)) for each in seen]
        await turns()
        store.append(chunk("b"))
        store.end(JOB)
        await asyncio.wait_for(asyncio.gather(*following), 5)
        assert seen[0] == seen[1] == list(store.read(JOB))

    async def test_an_interruption_ends_it_with_the_error_after_what_is_there(
        self, make: Callable[..., LogStore]
    ) -> None:
        store = make()
        store.append(chunk("a"))
        seen: list[LogChunk] = []
        following = asyncio.create_task(collect(store, seen))
        await turns()
        store.append(chunk("b"))
        store.interrupt(Unavailable("another hub takes over"))
        with pytest.raises(Unavailable, match="takes over"):
            await asyncio.wait_for(following, 5)
        assert [each.data for each in seen] == [b"a", b"b"]
        assert store._followers == {}
