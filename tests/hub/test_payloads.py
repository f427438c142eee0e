"""The payload cache: memory first, the store in runs, never beyond what is durable."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from farlane.domain.ids import JobId
from farlane.domain.jobs import BlobRef
from farlane.domain.records import Column, TasksAdded
from farlane.errors import NotFound
from farlane.hub.payloads import MAX_READ, READ_AHEAD, PayloadCache
from farlane.hub.store.memory import MemoryStore
from farlane.testing.histories import AT, job_opened
from farlane.testing.store_suite import commit

JOB = JobId(1)
TOTAL = 3000


class CountingStore(MemoryStore):
    """A memory store that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[int, int]] = []

    def payloads(self, job: JobId, first: int, count: int) -> Column:
        self.reads.append((first, count))
        return super().payloads(job, first, count)


def payload(index: int) -> bytes:
    return b"payload %d" % index


def batch(first: int, count: int, blobs: dict[int, BlobRef] | None = None) -> Column:
    """Payloads that name their tasks; `blobs` by index, not by row."""
    refs = {index - first: ref for index, ref in (blobs or {}).items()}
    inline = [b"" if row in refs else payload(first + row) for row in range(count)]
    return Column(inline, refs)


@pytest.fixture
def store() -> Iterator[CountingStore]:
    """Tasks 0 .. TOTAL - 1 in batches of 250, of which 700 is a blob."""
    store = CountingStore()
    added = [
        TasksAdded(JOB, first, batch(first, 250, {700: REF} if first == 500 else None), AT)
        for first in range(0, TOTAL, 250)
    ]
    commit(store, job_opened(1), *added)
    yield store
    store.close()


REF = BlobRef("bafkpayload", 1 << 20)


def test_a_run_is_one_read(store: CountingStore) -> None:
    picked = PayloadCache(store, 0).pick(JOB, list(range(600, 900)))
    assert store.reads == [(600, 300)]
    assert picked == batch(600, 300, {700: REF})


def test_a_read_has_its_bound(store: CountingStore) -> None:
    picked = PayloadCache(store, 0).pick(JOB, list(range(10, 2200)))
    assert store.reads == [
        (10, MAX_READ),
        (10 + MAX_READ, MAX_READ),
        (10 + 2 * MAX_READ, READ_AHEAD),
    ]
    assert picked == batch(10, 2190, {700: REF})


def test_what_is_not_a_run_is_read_as_several_in_the_order_asked_for(store: CountingStore) -> None:
    wanted = [5, 6, 7, 9, 3, 2, 700, 701, 701, 2999]
    picked = PayloadCache(store, 0).pick(JOB, wanted)
    assert store.reads[:4] == [(5, READ_AHEAD), (3, READ_AHEAD), (2, READ_AHEAD), (700, READ_AHEAD)]
    assert {first for first, _ in store.reads[4:]} == {2999}
    assert picked == Column([payload(i) if i != 700 else b"" for i in wanted], {6: REF})


def test_what_is_cached_is_not_read(store: CountingStore) -> None:
    cache = PayloadCache(store, 1 << 20)
    cache.put(JOB, 500, batch(500, 250, {700: REF}), keep=False)
    assert cache.pick(JOB, [499, *range(500, 750), 750, 751, 600]) == Column(
        [payload(i) if i != 700 else b"" for i in [499, *range(500, 750), 750, 751, 600]], {201: REF}
    )
    assert store.reads == [(499, 1), (750, READ_AHEAD)]


def test_a_read_ends_before_what_is_cached_and_perhaps_not_durable(store: CountingStore) -> None:
    cache = PayloadCache(store, 0)
    cache.put(JOB, TOTAL, batch(TOTAL, 10), keep=True)
    cache.put(JOB, TOTAL + 10, batch(TOTAL + 10, 10), keep=True)
    picked = cache.pick(JOB, list(range(TOTAL - 5, TOTAL + 20)))
    assert picked == batch(TOTAL - 5, 25)
    assert store.reads == [(TOTAL - 5, 5)]


def test_a_batch_beyond_the_budget_is_kept_only_if_it_must_be(store: CountingStore) -> None:
    cache = PayloadCache(store, 100)
    cache.put(JOB, 0, batch(0, 250), keep=False)
    assert cache.held_bytes == 0
    cache.put(JOB, 0, batch(0, 250), keep=True)
    assert cache.held_bytes > 250 * len(payload(0))
    assert cache.pick(JOB, [0, 249]) == Column([payload(0), payload(249)])
    assert store.reads == []
    cache.drop(JOB)
    assert cache.held_bytes == 0
    assert cache.pick(JOB, [1]) == Column([payload(1)])
    assert store.reads == [(1, READ_AHEAD)]


def test_what_was_read_ahead_is_not_read_again(store: CountingStore) -> None:
    cache = PayloadCache(store, 0)
    for first in range(0, READ_AHEAD, 16):
        assert cache.pick(JOB, list(range(first, first + 16))) == batch(first, 16)
    assert store.reads == [(0, READ_AHEAD)]


def test_a_job_that_ends_before_the_read_ahead_is_read_to_its_end(store: CountingStore) -> None:
    assert PayloadCache(store, 0).pick(JOB, [TOTAL - 3, TOTAL - 2]) == batch(TOTAL - 3, 2)
    assert store.reads[-1] == (TOTAL - 3, 2)


def test_a_task_without_a_payload_is_missed(store: CountingStore) -> None:
    with pytest.raises(NotFound, match=f"j1 has no payloads {TOTAL - 1} to {TOTAL}"):
        PayloadCache(store, 0).pick(JOB, [TOTAL - 1, TOTAL])
