"""Properties of the parts without a connection: batches, watches, the result feed, and what importing costs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import farlane
from farlane.domain.ids import JobId, NodeId
from farlane.domain.jobs import MAX_INLINE_BYTES, BlobRef, JobState, TaskState
from farlane.domain.records import Column, TasksEnded
from farlane.errors import Corrupted, FarlaneError, NotFound
from farlane.sdk import batches as batching
from farlane.sdk.outcomes import TaskResult
from farlane.sdk.result_feed import MAX_FETCHED_BYTES, PARALLEL_FETCHES, ResultFeed, fetched_bytes
from farlane.sdk.values import JobStatus
from farlane.sdk.watch import Watch
from farlane.wire.results import tasks_ended_to_wire
from farlane.wire.v1 import client_pb2

JOB = JobId(7)


def ended(first: int, indices: list[int], blobs: dict[int, BlobRef] | None = None) -> TasksEnded:
    rows = len(indices)
    return TasksEnded(
        JOB, first, NodeId("n"), 0.0, indices, [1] * rows, bytes([TaskState.DONE]) * rows,
        Column([b"" if row in (blobs or {}) else b"%d" % index for row, index in enumerate(indices)], blobs or {}),
        {}, {}, [1] * rows, [1] * rows, [0] * rows, [1] * rows,
    )  # fmt: skip


@given(
    st.lists(st.integers(0, 2 * MAX_INLINE_BYTES), max_size=60).map(
        lambda sizes: [bytes(size) for size in sizes]
    )
)
def test_batches_are_the_payloads_in_order_within_both_caps(payloads: list[bytes]) -> None:
    cut = list(batching.batches(payloads))
    assert [payload for batch in cut for payload in batch] == payloads
    for batch in cut:
        assert 0 < len(batch) <= batching.MAX_ROWS
        assert sum(map(batching.inline_bytes, batch)) <= batching.MAX_BYTES


def test_a_batch_is_full_at_the_row_cap() -> None:
    assert [len(batch) for batch in batching.batches([b""] * 2500)] == [1024, 1024, 452]


class Sink:
    def __init__(self) -> None:
        self.rows: list[int] = []
        self.ended: JobStatus | None = None
        self.error: FarlaneError | None = None

    def on_rows(self, record: TasksEnded) -> None:
        self.rows += record.indices

    def on_end(self, status: JobStatus) -> None:
        self.ended = status

    def on_error(self, error: FarlaneError) -> None:
        self.error = error


def watching(sink: Sink, window: int = 8) -> tuple[Watch, list[client_pb2.ClientMessage], list[Watch]]:
    sent: list[client_pb2.ClientMessage] = []
    dropped: list[Watch] = []
    return Watch(JOB, 0, window, sink, sent.append, dropped.append), sent, dropped


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 9)), max_size=30))
def test_each_row_arrives_once_and_in_order_however_batches_overlap(steps: list[tuple[int, int]]) -> None:
    sink = Sink()
    watch, _, _ = watching(sink)
    for back, rows in steps:
        first = max(0, watch.cursor - back)
        assert watch.on_results(tasks_ended_to_wire(ended(first, list(range(first, first + rows)))))
        assert watch.resume().after == watch.cursor
    assert sink.rows == list(range(watch.cursor))


def test_missing_rows_are_noticed_and_nothing_of_the_batch_is_taken() -> None:
    sink = Sink()
    watch, _, _ = watching(sink)
    assert not watch.on_results(tasks_ended_to_wire(ended(3, [3, 4])))
    assert (watch.cursor, sink.rows) == (0, [])


def test_the_end_waits_for_rows_that_it_overtook() -> None:
    sink = Sink()
    watch, _, dropped = watching(sink)
    status = client_pb2.JobStatus(job=JOB, state="succeeded", total=3, done=3, sealed=True)
    watch.on_results(tasks_ended_to_wire(ended(0, [0, 1])))
    watch.on_ended(status)
    assert sink.ended is None
    watch.on_results(tasks_ended_to_wire(ended(2, [2])))
    assert sink.ended is not None
    assert sink.ended.state is JobState.SUCCEEDED
    assert dropped == [watch]


def test_credit_goes_back_in_halves_of_the_window_and_starts_over_on_a_new_stream() -> None:
    sink = Sink()
    watch, sent, _ = watching(sink, window=8)
    assert watch.resume().credit == 8
    watch.on_results(tasks_ended_to_wire(ended(0, [0, 1, 2, 3, 4, 5])))
    watch.consumed(3)
    assert sent == []
    assert watch.resume().credit == 8 - 3
    watch.consumed(3)
    assert sent == []  # three of the six were in the new stream's first credit
    watch.on_results(tasks_ended_to_wire(ended(6, [6])))
    watch.consumed(1)
    assert [message.credit.more for message in sent] == [4]


def test_a_state_that_nobody_knows_is_refused() -> None:
    watch, _, _ = watching(Sink())
    with pytest.raises(Corrupted, match="the hub says a job is 'melted'; expected one of pending"):
        watch.on_ended(client_pb2.JobStatus(job=JOB, state="melted"))


class Fetches:
    """Blob fetches that end when the test says so."""

    def __init__(self) -> None:
        self.begun: list[Coroutine[Any, Any, None]] = []

    async def fetch(self, ref: BlobRef) -> bytes:
        if ref.cid == "missing":
            raise NotFound("it is not here")
        return ref.cid.encode()

    def finish(self, position: int) -> None:
        with pytest.raises(StopIteration):
            self.begun.pop(position).send(None)


def feeding(*, ordered: bool) -> tuple[ResultFeed, list[TaskResult], Fetches]:
    out: list[TaskResult] = []
    fetches = Fetches()
    return ResultFeed(fetches.fetch, fetches.begun.append, out.extend, ordered=ordered), out, fetches


@given(st.permutations(range(12)), st.lists(st.integers(1, 5), min_size=12, max_size=12))
def test_an_ordered_feed_yields_by_index_and_an_unordered_one_as_it_comes(
    order: list[int], sizes: list[int]
) -> None:
    for ordered in (True, False):
        feed, out, _ = feeding(ordered=ordered)
        position = 0
        for size in sizes:
            rows = order[position : position + size]
            feed.add(ended(position, rows))
            position += len(rows)
        assert [result.index for result in out] == (sorted(order) if ordered else order)
        assert [result.data for result in out] == [b"%d" % result.index for result in out]


def test_a_task_that_ran_again_is_not_handed_out_twice_in_order() -> None:
    feed, out, _ = feeding(ordered=True)
    feed.add(ended(0, [0, 1]))
    feed.add(ended(2, [0, 2]))
    assert [result.index for result in out] == [0, 1, 2]
    assert feed.waiting == 0


def test_large_results_keep_their_place_in_line() -> None:
    feed, out, fetches = feeding(ordered=True)
    feed.add(ended(0, [0, 1, 2], {0: BlobRef("a", 10), 1: BlobRef("missing", 10)}))
    assert out == []
    fetches.finish(1)
    assert out == []
    fetches.finish(0)
    assert [result.index for result in out] == [0, 1, 2]
    assert out[0].data == b"a"
    assert isinstance(out[1].data, NotFound)
    assert fetched_bytes(out) == 20


def test_no_more_is_fetched_than_was_consumed_but_one_blob_always() -> None:
    feed, out, fetches = feeding(ordered=False)
    huge = MAX_FETCHED_BYTES + 1
    feed.add(ended(0, [0, 1], {0: BlobRef("a", huge), 1: BlobRef("b", huge)}))
    assert len(fetches.begun) == 1
    fetches.finish(0)
    assert len(fetches.begun) == 0
    feed.consumed(fetched_bytes(out))
    assert len(fetches.begun) == 1
    fetches.finish(0)
    assert [result.data for result in out] == [b"a", b"b"]


def test_few_blobs_are_fetched_at_a_time() -> None:
    feed, out, fetches = feeding(ordered=False)
    feed.add(ended(0, list(range(20)), {row: BlobRef(str(row), 10) for row in range(20)}))
    assert len(fetches.begun) == PARALLEL_FETCHES
    while fetches.begun:
        fetches.finish(len(fetches.begun) - 1)
    assert [result.index for result in out] == list(range(20))


def test_importing_farlane_loads_nothing_heavy() -> None:
    heavy = {"grpc", "google", "numpy", "yaml", "cloudpickle", "asyncio"}
    code = f"import sys, farlane; print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "set()"


def test_decorating_a_function_loads_no_grpc() -> None:
    code = "import sys, farlane; farlane.App('a').function()(print); print({'grpc', 'google'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "set()"


def test_every_public_name_can_be_had_and_others_cannot() -> None:
    for name in dir(farlane):
        assert getattr(farlane, name) is not None
    assert farlane.TaskError.__name__ in dir(farlane)
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        farlane.Nonsense  # type: ignore[attr-defined]  # noqa: B018
