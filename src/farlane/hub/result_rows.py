"""Result rows: records of ended tasks cut into pieces that fit one message."""

from __future__ import annotations

from collections.abc import Iterator

from farlane.domain.records import TasksEnded

MESSAGE_ROWS = 4096
MESSAGE_BYTES = 1 << 20
"""Caps of one message of results; with its envelope it stays far below the limit of 4 MiB."""
_ROW_BYTES = 64


def rows(record: TasksEnded, start: int, stop: int) -> TasksEnded:
    """Return rows `start .. stop - 1` of a record as a record of its own."""
    if (start, stop) == (0, len(record.indices)):
        return record
    cut = slice(start, stop)
    return TasksEnded(
        record.job, record.seq + start, record.node, record.at, record.indices[cut], record.attempts[cut],
        record.states[cut], record.results.cut(start, stop),
        {row - start: value for row, value in record.failures.items() if start <= row < stop},
        {row - start: value for row, value in record.outputs.items() if start <= row < stop},
        record.lease_ms[cut], record.cpu_us[cut], record.peak_bytes[cut], record.amounts[cut],
    )  # fmt: skip


def pieces(record: TasksEnded, start: int, stop: int, *, with_results: bool = True) -> Iterator[TasksEnded]:
    """Yield rows `start .. stop - 1` as records that each fit one message.

    Args:
        record: ended tasks, of any number.
        start: first row.
        stop: row behind the last.
        with_results: whether results travel along, so that their size counts.
    """
    if _plainly_fits(record, start, stop):
        yield rows(record, start, stop)
        return
    first, size = start, 0
    for row in range(start, stop):
        weight = _weight(record, row, with_results)
        if row > first and (row - first >= MESSAGE_ROWS or size + weight > MESSAGE_BYTES):
            yield rows(record, first, row)
            first, size = row, 0
        size += weight
    if first < stop:
        yield rows(record, first, stop)


def _plainly_fits(record: TasksEnded, start: int, stop: int) -> bool:
    """Tell at little cost whether a run of plain results is one message, as nearly all are."""
    count = stop - start
    if not 0 < count <= MESSAGE_ROWS or record.failures or record.outputs:
        return False
    return sum(map(len, record.results.inline[start:stop])) + count * _ROW_BYTES <= MESSAGE_BYTES


def _weight(record: TasksEnded, row: int, with_results: bool) -> int:
    size = _ROW_BYTES + (len(record.results.inline[row]) if with_results else 0)
    failure = record.failures.get(row) if record.failures else None
    if failure is not None:
        size += len(failure.message) + len(failure.traceback) + len(failure.exception)
    if record.outputs and row in record.outputs:
        size += sum(len(file.path) + 2 * _ROW_BYTES for file in record.outputs[row])
    return size
