"""RecordService: receipts of one's own tasks, and the public record for everybody of the network."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from farlane.domain.ids import JobId, TaskId, job_of, task_text
from farlane.errors import ConnectionLost, FarlaneError, NotFound, Unavailable
from farlane.hub.books.books import Signing
from farlane.hub.grpc_api.answering import Context, answered
from farlane.hub.hub import Hub
from farlane.hub.public_record import entries
from farlane.hub.receipts import ReceiptDesk
from farlane.hub.store.port import Store
from farlane.ledger.receipt import to_json
from farlane.ledger.record import Cursor, RecordHeader, line_of
from farlane.wire import limits
from farlane.wire.serving import Identity, current_identity
from farlane.wire.status import abort
from farlane.wire.stream import STALL_S
from farlane.wire.v1 import record_pb2, record_pb2_grpc

MESSAGE_BYTES = 1 << 20
MAX_TREE = 1 << 62
"""Leaves: more than any book has, and what a store can compare."""
MAX_RECEIPTS = 500
"""Receipts of one task in one answer, the newest ones: some 5 KB each, so that they fit a message."""


class RecordService(record_pb2_grpc.RecordServiceServicer):
    """Serves clients. `hub` returns the hub in force, which changes after a store failure."""

    def __init__(self, hub: Callable[[], Hub]) -> None:
        self._hub = hub
        self._desk: tuple[Store, ReceiptDesk] | None = None

    @answered
    async def GetReceipts(
        self, request: record_pb2.GetReceiptsRequest, context: Context
    ) -> record_pb2.GetReceiptsReply:
        """Return the receipts of a task of the caller's; administrators see those of their organisation."""
        hub, task = self._hub(), TaskId(request.task)
        await asyncio.to_thread(_check_whose, hub, job_of(task), current_identity())
        await hub.engine.durable()
        tasks = limits.integer("the size of a receipt's tree", request.tasks, 0, MAX_TREE)
        desk = self._desk_of(hub.store)
        found, unsigned = await asyncio.to_thread(desk.receipts, task, signing_of(hub), tasks)
        if not found and not unsigned:
            raise NotFound(
                f"no attempt of {task_text(task)} has ended yet, so there is no receipt; `farlane ps` shows its state",
                task=task,
            )
        raw = [to_json(one) for one in found[-MAX_RECEIPTS:]]
        return record_pb2.GetReceiptsReply(receipts=raw, unsigned=unsigned)

    async def PublicRecord(  # type: ignore[override]  # it writes to the context instead of yielding
        self, request: record_pb2.PublicRecordRequest, context: Any
    ) -> None:
        """Stream the public record behind a cursor."""
        try:
            async for lines in self._record(Cursor(request.book, request.leaves, request.tasks)):
                async with asyncio.timeout(STALL_S):
                    await context.write(record_pb2.RecordLines(lines=lines))
        except TimeoutError as error:
            await abort(context, ConnectionLost(f"the record's reader has taken nothing for {STALL_S:g} s"))
            raise AssertionError from error
        except FarlaneError as error:
            await abort(context, error)

    async def _record(self, after: Cursor) -> AsyncIterator[bytes]:
        hub = self._hub()
        signing = signing_of(hub)
        await hub.engine.durable()
        header = line_of(RecordHeader(signing.domain, signing.units_per_credit))
        lines = map(line_of, entries(hub.store, after))
        yield header
        # The store is read in a thread, a message's worth at a time.
        while piece := await asyncio.to_thread(_message, lines):
            yield piece

    def _desk_of(self, store: Store) -> ReceiptDesk:
        if self._desk is None or self._desk[0] is not store:
            self._desk = store, ReceiptDesk(store)
        return self._desk[1]


def signing_of(hub: Hub) -> Signing:
    """Return where the hub's signatures count.

    Raises:
        Unavailable: its chain is not open.
    """
    if hub.books.signing is None:
        raise Unavailable(
            "this hub has not opened its ledger (yet), so nothing is signed; `farlane ledger balance` shows why"
        )
    return hub.books.signing


def _check_whose(hub: Hub, job: JobId, who: Identity) -> None:
    """Let publishers see their own jobs, and administrators those of their organisation; raises as `find_job`."""
    spec = hub.store.job_spec(job) if who.admin else None
    if spec is None or spec.organisation != who.organisation:
        hub.find_job(job, who.publisher)


def _message(lines: Iterator[bytes]) -> bytes:
    found, size = [], 0
    for line in itertools.islice(lines, 4096):
        found.append(line)
        size += len(line)
        if size >= MESSAGE_BYTES:
            break
    return b"".join(found)
