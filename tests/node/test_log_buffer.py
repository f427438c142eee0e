"""The log buffer: order, pieces and what gives way when too much waits."""

from __future__ import annotations

from farlane.domain.ids import TaskId
from farlane.node import log_buffer
from farlane.node.log_buffer import MAX_CHUNK_BYTES, LogBuffer

ONE, TWO = TaskId(1), TaskId(2)


def texts(buffer: LogBuffer) -> list[tuple[int, str, bytes]]:
    return [(piece.task, piece.stream, piece.data()) for piece in buffer.take(1 << 30)]


def test_what_one_stream_prints_in_a_row_travels_together() -> None:
    buffer = LogBuffer()
    assert not buffer
    buffer.append(ONE, 1, "stdout", b"a")
    buffer.append(ONE, 1, "stdout", b"b")
    buffer.append(ONE, 1, "stderr", b"c")
    buffer.append(TWO, 1, "stdout", b"d")
    buffer.append(ONE, 1, "stdout", b"e")
    assert buffer
    assert texts(buffer) == [
        (1, "stdout", b"ab"),
        (1, "stderr", b"c"),
        (2, "stdout", b"d"),
        (1, "stdout", b"e"),
    ]
    assert (bool(buffer), buffer.size_bytes) == (False, 0)


def test_pieces_are_bounded_and_taken_by_size() -> None:
    buffer = LogBuffer()
    buffer.append(ONE, 1, "stdout", b"x" * (2 * MAX_CHUNK_BYTES + 5))
    assert [piece.size_bytes for piece in buffer.take(MAX_CHUNK_BYTES + 1)] == [
        MAX_CHUNK_BYTES,
        MAX_CHUNK_BYTES,
    ]
    assert [piece.size_bytes for piece in buffer.take(1)] == [5]
    assert buffer.take(1) == []


def test_the_oldest_gives_way_and_the_reader_is_told() -> None:
    buffer = LogBuffer(budget_bytes=3 * MAX_CHUNK_BYTES)
    for letter in b"abcdefgh":
        buffer.append(ONE, 1, "stdout", bytes([letter]) * MAX_CHUNK_BYTES)
        assert buffer.size_bytes <= 3 * MAX_CHUNK_BYTES
    buffer.append(TWO, 1, "stdout", b"t")
    first, second, other = texts(buffer)
    notice = b"[farlane: %d bytes of this output were dropped here]\n" % (6 * MAX_CHUNK_BYTES)
    assert first[2] == notice + b"g" * MAX_CHUNK_BYTES
    assert second[2] == b"h" * MAX_CHUNK_BYTES
    assert other == (2, "stdout", b"t")
    assert buffer.dropped_bytes == 6 * MAX_CHUNK_BYTES
    buffer.append(ONE, 1, "stdout", b"again")
    assert texts(buffer) == [(1, "stdout", b"again")]  # told once


def test_notices_of_streams_that_never_print_again_are_bounded(monkeypatch: object) -> None:
    monkeypatch.setattr(log_buffer, "MAX_SOURCES", 3)  # type: ignore[attr-defined]
    buffer = LogBuffer(budget_bytes=1)
    for number in range(10):
        buffer.append(TaskId(number), 1, "stdout", b"xx")
    buffer.append(TaskId(0), 1, "stdout", b"0")
    buffer.append(TaskId(9), 1, "stdout", b"")
    assert texts(buffer)[0] == (0, "stdout", b"0")  # its notice was the oldest
