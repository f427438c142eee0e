"""Caps on what a peer may send, and the checks that name the field which broke one."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

from farlane.domain.jobs import BlobRef
from farlane.domain.resources import MAX_BYTES
from farlane.errors import FarlaneError, InvalidInput, TooLarge
from farlane.wire.v1 import types_pb2

MAX_MESSAGE_BYTES = 4 << 20
"""No message on a stream or call is larger; what could be travels as a blob."""
MAX_INTEGER = (1 << 63) - 1
"""Numbers are stored as signed 64-bit integers: SQLite's and most languages' limit."""
MAX_NAME_CHARS = 200
MAX_ID_CHARS = 128
MAX_PATH_CHARS = 1024
MAX_CID_CHARS = 128

Refusal = Callable[[str], FarlaneError]


@contextmanager
def sendable(what: str, refusal: Refusal = InvalidInput) -> Iterator[None]:
    """Turn what protobuf says of a value it cannot hold (negative, too large, broken text) into `refusal`."""
    try:
        yield
    except (ValueError, TypeError, OverflowError) as error:
        raise refusal(f"{what} cannot be sent: {error}; check its numbers and texts") from error


def text(
    what: str, value: str, max_chars: int, refusal: Refusal = InvalidInput, *, required: bool = False
) -> str:
    """Return `value` if it is short enough, free of NUL and, where required, not empty."""
    if required and not value:
        raise refusal(f"{what} is missing; expected a text of 1 to {max_chars} characters")
    if len(value) > max_chars:
        raise refusal(
            f"{what} has {len(value)} characters; expected at most {max_chars}. It begins {value[:40]!r}"
        )
    if "\0" in value:
        raise refusal(
            f"{what} contains a NUL character, which no file name, argument or variable can hold; remove it"
        )
    return value


def integer(what: str, value: int, low: int, high: int, refusal: Refusal = InvalidInput) -> int:
    """Return `value` if it lies in `low .. high`."""
    if not low <= value <= high:
        raise refusal(f"{what} is {value}; expected {low} to {high}")
    return value


def finite(what: str, value: float, refusal: Refusal = InvalidInput) -> float:
    """Return `value` if it is a number that time can be told with."""
    if not math.isfinite(value):
        raise refusal(f"{what} is {value}; expected a finite number")
    return value


def at_most(what: str, values: Collection[object], limit: int, refusal: Refusal = InvalidInput) -> None:
    """Refuse a list with more than `limit` entries."""
    if len(values) > limit:
        raise refusal(f"{len(values)} {what}; expected at most {limit}")


def same_length(what: str, expected: int, **columns: int) -> None:
    """Refuse columns that are not parallel.

    Args:
        what: the message they stand in.
        expected: how many rows it has.
        **columns: length of each column by name.
    """
    for name, length in columns.items():
        if length != expected:
            raise InvalidInput(
                f"{what}: column {name} has {length} rows where {expected} were expected; all columns are parallel",
                column=name,
                rows=length,
                expected=expected,
            )


def row_numbers(what: str, rows: list[int], values: int, total: int) -> None:
    """Check a sparse column: as many row numbers as values, rising, each inside the batch."""
    if len(rows) != values:
        raise InvalidInput(f"{what}: {len(rows)} row numbers for {values} values; expected one each")
    last = -1
    for row in rows:
        if not last < row < total:
            raise InvalidInput(
                f"{what}: row number {row} after {last} in a batch of {total} rows; "
                "expected rising numbers below that"
            )
        last = row


def relative_path(what: str, value: str, refusal: Refusal = InvalidInput) -> str:
    """Return a path that stays inside the directory it is joined to: relative, no `..`, no empty part."""
    text(what, value, MAX_PATH_CHARS, refusal, required=True)
    if "\\" in value or any(part in ("", ".", "..") for part in value.split("/")):
        raise refusal(
            f"{what} {value[:80]!r} is not a plain relative path; expected something like 'data/in.csv': "
            "no leading or double '/', no '.', '..' or backslash"
        )
    return value


def blob_ref(what: str, ref: types_pb2.BlobRef, refusal: Refusal = InvalidInput) -> BlobRef:
    """Read a blob reference: a CID of plain letters and digits and a size that fits on a disk."""
    cid = ref.cid
    if not 0 < len(cid) <= MAX_CID_CHARS or not (cid.isascii() and cid.isalnum()):
        raise refusal(
            f"{what} has no usable CID ({cid[:40]!r}); expected 1 to {MAX_CID_CHARS} letters and digits"
        )
    return BlobRef(cid, integer(f"size of {what}", ref.size_bytes, 0, MAX_BYTES, refusal))


def pairs(
    what: str,
    received: Collection[types_pb2.KeyValue],
    limit: int,
    max_value_chars: int,
    refusal: Refusal = InvalidInput,
) -> tuple[tuple[str, str], ...]:
    """Read labels or variables: at most `limit`, keys not empty and each given once."""
    at_most(what, received, limit, refusal)
    read = tuple(
        (
            text(f"a key of {what}", pair.key, MAX_NAME_CHARS, refusal, required=True),
            text(f"{what} {pair.key!r}", pair.value, max_value_chars, refusal),
        )
        for pair in received
    )
    twice = _repeated(key for key, _ in read)
    if twice is not None:
        raise refusal(f"{what}: {twice!r} is given twice; expected each key once")
    return read


def too_large(what: str, size_bytes: int, limit_bytes: int, advice: str) -> TooLarge:
    """Return the error for bytes beyond a cap."""
    return TooLarge(
        f"{what} has {size_bytes} bytes; expected at most {limit_bytes}. {advice}",
        size_bytes=size_bytes,
        limit_bytes=limit_bytes,
    )


def too_many_rows(what: str, rows: int, limit: int) -> TooLarge:
    """Return the error for a batch with more rows than its cap."""
    return TooLarge(
        f"{what} has {rows} rows; expected at most {limit}. Send smaller batches", rows=rows, limit=limit
    )


def _repeated(keys: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None
