"""Receipts and the public record over the wire, from books with genuine signatures."""

from __future__ import annotations

import asyncio
from pathlib import Path
from threading import Event

import pytest

from farlane.domain.ids import JobId, task_id
from farlane.errors import NotFound, PermissionRefused, Unavailable
from farlane.hub.books.books import Signing
from farlane.hub.public_record import entries
from farlane.hub.receipts import ReceiptDesk, TreeCache
from farlane.hub.store.memory import MemoryStore
from farlane.hub.store.port import Store
from farlane.hub.store.sqlite.store import SqliteStore
from farlane.ledger.audit.audit import audit
from farlane.ledger.receipt import verify
from farlane.ledger.record import Cursor, RecordHeader, line_of
from farlane.ledger.record_file import read_record
from farlane.ledger.typed_data import Domain
from farlane.sdk.record import RecordClient
from farlane.testing.running_hub import RunningHub, submit
from farlane.testing.signed_books import (
    START_S,
    UNITS_PER_CREDIT,
    SignedBook,
    a_key,
    a_leaf,
    filled_book,
    record_of,
)

DOMAIN = Domain(31337, a_key(999).address, "ab" * 16)
SIGNING = Signing(DOMAIN, UNITS_PER_CREDIT, a_key(998))
HEADER = RecordHeader(DOMAIN, UNITS_PER_CREDIT)
BOOKS = [filled_book(1, DOMAIN), filled_book(2, DOMAIN, batches=2, rows=1500)]


def keep(store: Store, *books: SignedBook) -> None:
    """Put books into a store, and wait until they are in it."""
    durable = Event()
    store.append([record for book in books for record in book.records], lambda error: durable.set())
    assert durable.wait(10)


@pytest.fixture
def store() -> MemoryStore:
    found = MemoryStore()
    keep(found, *BOOKS)
    return found


def test_every_receipt_of_a_store_verifies(store: MemoryStore) -> None:
    desk = ReceiptDesk(store)
    for task in (task_id(JobId(100), 0), task_id(JobId(102), 3), task_id(JobId(201), 1499)):
        receipts, unsigned = desk.receipts(task, SIGNING)
        assert (len(receipts), unsigned) == (1, 0)
        assert all(finding.ok for finding in verify(receipts[0]))
        assert receipts[0].leaf.task == task
    first = desk.receipts(task_id(JobId(100), 0), SIGNING)[0][0]
    assert first.head.head.size == 4, "the smallest tree that was signed"
    for least, size in ((4, 4), (5, 8), (8, 8), (12, 12)):
        (one,), _ = desk.receipts(task_id(JobId(100), 0), SIGNING, least)
        assert (one.leaf, one.head.head.size) == (first.leaf, size)
        assert all(finding.ok for finding in verify(one))
    assert desk.receipts(task_id(JobId(100), 0), SIGNING, 13) == ([], 1)


def test_what_is_not_signed_is_counted() -> None:
    book, store = filled_book(1, DOMAIN, 1), MemoryStore()
    book.add([a_leaf(task_id(JobId(7), 0))], JobId(7))
    keep(store, book)
    assert ReceiptDesk(store).receipts(task_id(JobId(7), 0), SIGNING) == ([], 1)


def test_trees_are_kept_up_to_a_bound(store: MemoryStore) -> None:
    cache = TreeCache(store, max_leaves=100)
    cache.inclusion(1, 0, 4)
    assert cache.kept_leaves == 4
    cache.inclusion(2, 0, 3000)
    assert cache.kept_leaves == 3000, "the tree in use stays, the other went"


def test_the_record_of_a_store_is_clean_and_goes_on_from_any_line(store: MemoryStore) -> None:
    whole = list(entries(store, Cursor()))
    assert audit([HEADER, *whole], now_s=START_S + 60).clean
    assert sum(len(one.leaves) for one in whole if hasattr(one, "leaves")) == 12 + 3000
    cursor = Cursor()
    for at, entry in enumerate(whole, 1):
        cursor = cursor.after(entry)
        assert list(map(line_of, entries(store, cursor))) == list(map(line_of, whole[at:]))


async def test_a_client_exports_a_record_that_an_auditor_finds_clean(tmp_path: Path) -> None:
    def open_store() -> Store:
        store = SqliteStore(tmp_path / "store.db", ballast_bytes=1 << 16)
        keep(store, *BOOKS)
        return store

    async with RunningHub(tmp_path, open_store=open_store) as running, running.client() as client:
        record = RecordClient(client.connection)
        with pytest.raises(Unavailable, match="not opened its ledger"):
            await record.export(tmp_path / "record.gz")
        running.hub.books.signing = SIGNING
        end = await record.export(tmp_path / "record.gz")
        assert (end.books, end.leaves, end.vouchers) == (2, 3012, 5)
    found = await asyncio.to_thread(lambda: audit(read_record(tmp_path / "record.gz"), now_s=START_S + 60))
    assert found.clean


async def test_receipts_are_for_the_publisher_of_the_job(tmp_path: Path) -> None:
    async with RunningHub(tmp_path) as running, running.client() as client:
        running.hub.books.signing = SIGNING
        job = await submit(client, [b"a"])
        record = RecordClient(client.connection)
        with pytest.raises(NotFound, match=r"no attempt of j1\.0 has ended yet"):
            await record.receipts(task_id(job.job, 0))
        async with running.client("lab/eve") as other:
            with pytest.raises(PermissionRefused, match="another publisher"):
                await RecordClient(other.connection).receipts(task_id(job.job, 0))


async def test_administrators_see_receipts_of_their_own_organisation_alone(tmp_path: Path) -> None:
    async with RunningHub(tmp_path) as running, running.client() as client:
        running.hub.books.signing = SIGNING
        job = await submit(client, [b"a"])
        await client.jobs()  # once it is durable
        async with running.client("lab/boss", admin=True) as boss:
            with pytest.raises(NotFound, match="no attempt"):
                await RecordClient(boss.connection).receipts(task_id(job.job, 0))
        async with running.client("rival/boss", "rival", admin=True) as rival:
            with pytest.raises(PermissionRefused, match="another publisher"):
                await RecordClient(rival.connection).receipts(task_id(job.job, 0))


def test_the_builder_and_the_store_tell_the_same_record(store: MemoryStore) -> None:
    small = [one for one in entries(store, Cursor()) if getattr(one, "book", 0) == 1]
    assert [HEADER, *small] == list(record_of(HEADER, BOOKS[0]))
