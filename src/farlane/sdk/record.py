"""Receipts and the public record as a client fetches them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

from farlane.domain.ids import TaskId
from farlane.errors import Corrupted
from farlane.ledger.receipt import Receipt, from_json
from farlane.ledger.record import Cursor, RecordEnd, RecordHeader, entry_of
from farlane.ledger.record_file import RecordWriter
from farlane.sdk.connection import Connection
from farlane.wire.v1 import record_pb2
from farlane.wire.v1.record_pb2_grpc import RecordServiceStub

RECEIPT_TIMEOUT_S = 60.0
"""The first receipt of a book has its whole tree hashed: about a second for a hundred thousand leaves."""


class RecordClient:
    """Asks the hub behind a connection for what it signed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def receipts(self, task: TaskId, tasks: int = 0) -> tuple[list[Receipt], int]:
        """Return the receipts of one of our tasks, oldest first, and how many more await a signature.

        Args:
            task: which.
            tasks: leaves that the tree of each must have at least; 0: the smallest that both sides signed.
        """
        reply = await self._connection.call(
            "GetReceipts",
            record_pb2.GetReceiptsRequest(task=task, tasks=tasks),
            "fetching receipts",
            timeout_s=RECEIPT_TIMEOUT_S,
            stub=RecordServiceStub,
        )
        return [from_json(raw) for raw in reply.receipts], reply.unsigned

    async def lines(self, after: Cursor) -> AsyncGenerator[bytes, None]:
        """Yield the public record's lines behind a cursor; the header comes first, always."""
        request = record_pb2.PublicRecordRequest(book=after.book, leaves=after.leaves, tasks=after.tasks)
        doing = "reading the public record"
        async for piece in self._connection.stream("PublicRecord", request, doing, stub=RecordServiceStub):
            for line in piece.lines.splitlines(keepends=True):
                yield line

    async def header(self) -> RecordHeader:
        """Return the record's first line.

        Raises:
            Corrupted: the hub sends something else.
        """
        async with contextlib.aclosing(self.lines(Cursor())) as lines:
            async for line in lines:
                entry = entry_of(line)
                if isinstance(entry, RecordHeader):
                    return entry
                break
        raise Corrupted("the hub's record does not begin as a record does; ask its operator to upgrade it")

    async def export(self, path: Path) -> RecordEnd:
        """Write the whole public record to a file; an export of the same network that was interrupted goes on.

        Raises:
            FarlaneError: the hub went away; what came so far stays for the next time.
        """
        writer = RecordWriter(path, await self.header())
        try:
            first = True
            async for line in self.lines(writer.cursor):
                if not first:
                    writer.add(line)
                first = False
            return writer.finish()
        finally:
            writer.close()
