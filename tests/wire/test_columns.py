"""Columns: round trip, caps, and what a hostile peer may send."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.domain.jobs import MAX_INLINE_BYTES, BlobRef
from farlane.domain.records import Column
from farlane.errors import InvalidInput, TooLarge
from farlane.wire.columns import column_from_wire, column_to_wire
from farlane.wire.v1 import types_pb2

CIDS = st.text("abc234", min_size=1, max_size=20)
BLOBS = st.builds(BlobRef, CIDS, st.integers(0, 1 << 50))
ROWS = st.lists(st.binary(max_size=40) | BLOBS, max_size=30)


def column(rows: list[bytes | BlobRef]) -> Column:
    inline = [b"" if isinstance(row, BlobRef) else row for row in rows]
    return Column(inline, {at: row for at, row in enumerate(rows) if isinstance(row, BlobRef)})


@settings(deadline=None)
@given(ROWS)
def test_a_column_survives_the_wire(rows: list[bytes | BlobRef]) -> None:
    sent = column(rows)
    data = column_to_wire(sent).SerializeToString()
    assert column_from_wire(types_pb2.BytesColumn.FromString(data), 30) == sent


def test_more_rows_than_allowed_are_refused() -> None:
    message = column_to_wire(Column([b"x"] * 5))
    assert len(column_from_wire(message, 5).inline) == 5
    with pytest.raises(TooLarge, match="5 rows; expected at most 4"):
        column_from_wire(message, 4)


def test_an_inline_row_above_the_limit_is_refused_by_number_and_size() -> None:
    assert column_from_wire(column_to_wire(Column([b"x" * MAX_INLINE_BYTES])), 1)
    message = column_to_wire(Column([b"", b"x" * (2 << 20)]))
    with pytest.raises(
        TooLarge, match="row 1 of a column has 2097152 bytes; expected at most 65536"
    ) as caught:
        column_from_wire(message, 10)
    assert caught.value.facts == {"size_bytes": 2 << 20, "limit_bytes": MAX_INLINE_BYTES}
    assert column_from_wire(message, 10, max_inline=2 << 20).inline[1] == b"x" * (2 << 20)


BLOB = types_pb2.BlobRef(cid="bafy234", size_bytes=1)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            types_pb2.BytesColumn(inline=[b"", b""], blob_rows=[0], blobs=[BLOB, BLOB]),
            "1 row numbers for 2 values",
        ),
        (types_pb2.BytesColumn(inline=[b""], blob_rows=[0]), "1 row numbers for 0 values"),
        (types_pb2.BytesColumn(inline=[b""], blobs=[BLOB]), "0 row numbers for 1 values"),
        (types_pb2.BytesColumn(inline=[b""], blob_rows=[1], blobs=[BLOB]), "row number 1"),
        (types_pb2.BytesColumn(inline=[b""], blob_rows=[4294967295], blobs=[BLOB]), "row number 4294967295"),
        (
            types_pb2.BytesColumn(inline=[b"", b""], blob_rows=[1, 1], blobs=[BLOB, BLOB]),
            "row number 1 after 1",
        ),
        (
            types_pb2.BytesColumn(inline=[b"", b""], blob_rows=[1, 0], blobs=[BLOB, BLOB]),
            "row number 0 after 1",
        ),
        (types_pb2.BytesColumn(inline=[b"x"], blob_rows=[0], blobs=[BLOB]), "inline bytes and a blob"),
        (types_pb2.BytesColumn(inline=[b""], blob_rows=[0], blobs=[types_pb2.BlobRef()]), "no usable CID"),
        (
            types_pb2.BytesColumn(
                inline=[b""], blob_rows=[0], blobs=[types_pb2.BlobRef(cid="../../etc/passwd")]
            ),
            "no usable CID",
        ),
        (
            types_pb2.BytesColumn(inline=[b""], blob_rows=[0], blobs=[types_pb2.BlobRef(cid="b" * 5000)]),
            "no usable CID",
        ),
        (
            types_pb2.BytesColumn(
                inline=[b""], blob_rows=[0], blobs=[types_pb2.BlobRef(cid="bafy", size_bytes=(1 << 64) - 1)]
            ),
            "size of blob of row 0 is 18446744073709551615",
        ),
    ],
)
def test_blobs_that_do_not_fit_the_rows_are_refused(message: types_pb2.BytesColumn, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        column_from_wire(message, 10)


@pytest.mark.parametrize(
    "wrong",
    [Column(["text"]), Column([b""], {0: BlobRef("bafy", -1)}), Column([b""], {0: BlobRef("\ud800", 1)})],
)
def test_what_cannot_travel_is_refused_before_it_leaves(wrong: Column) -> None:
    with pytest.raises(InvalidInput, match="cannot be sent"):
        column_to_wire(wrong)


def test_256_rows_of_1_kb_cost_less_than_a_microsecond_and_a_half_a_row() -> None:
    sent = Column([bytes([row]) * 1024 for row in range(256)])

    def there_and_back() -> float:
        begun = time.process_time_ns()
        for _ in range(20):
            data = column_to_wire(sent).SerializeToString()
            column_from_wire(types_pb2.BytesColumn.FromString(data), 256)
        return (time.process_time_ns() - begun) / 20 / 256 / 1000

    # CPU time, and the best of many: what others do on the machine slows it down several times.
    given_up_at, best = time.monotonic() + 20, there_and_back()
    while best >= 1.5 and time.monotonic() < given_up_at:
        best = min(best, there_and_back())
    assert best < 1.5
