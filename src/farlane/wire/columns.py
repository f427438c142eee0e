"""Columns of byte strings to and from the wire: the hot path of payloads and results."""

from __future__ import annotations

from farlane.domain.jobs import MAX_INLINE_BYTES
from farlane.domain.records import Column
from farlane.errors import InvalidInput
from farlane.wire import limits
from farlane.wire.v1 import types_pb2


def column_to_wire(column: Column) -> types_pb2.BytesColumn:
    """Return a column as it travels; the cost is one copy of the inline bytes.

    Raises:
        InvalidInput: an entry is not bytes, or a blob's size is out of range.
    """
    with limits.sendable("a column of bytes"):
        if not column.blobs:
            return types_pb2.BytesColumn(inline=column.inline)
        rows = sorted(column.blobs)
        refs = (column.blobs[row] for row in rows)
        return types_pb2.BytesColumn(
            inline=column.inline,
            blob_rows=rows,
            blobs=[types_pb2.BlobRef(cid=ref.cid, size_bytes=ref.size_bytes) for ref in refs],
        )


def column_from_wire(
    message: types_pb2.BytesColumn, max_rows: int, max_inline: int = MAX_INLINE_BYTES
) -> Column:
    """Read a column from a peer.

    Args:
        message: the column.
        max_rows: how many rows this message may have.
        max_inline: cap of one inline row, in bytes.

    Raises:
        TooLarge: too many rows, or an inline row above its cap.
        InvalidInput: blob rows that do not fit the column, or that have inline bytes as well.
    """
    # A list once: len and index on the repeated field itself make a Python object each time.
    inline = list(message.inline)
    if len(inline) > max_rows:
        raise limits.too_many_rows("a column", len(inline), max_rows)
    longest = max(map(len, inline), default=0)
    if longest > max_inline:
        row = next(row for row, data in enumerate(inline) if len(data) > max_inline)
        raise limits.too_large(f"row {row} of a column", len(inline[row]), max_inline, "Send it as a blob")
    if not message.blob_rows and not message.blobs:
        return Column(inline)
    rows = list(message.blob_rows)
    limits.row_numbers("blobs of a column", rows, len(message.blobs), len(inline))
    blobs = {
        row: limits.blob_ref(f"blob of row {row}", ref) for row, ref in zip(rows, message.blobs, strict=True)
    }
    for row in rows:
        if inline[row]:
            raise InvalidInput(
                f"row {row} of a column has inline bytes and a blob; expected one of the two", row=row
            )
    return Column(inline, blobs)
