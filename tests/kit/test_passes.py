"""Passes over a stream: each sees all of it in order, whether they take turns or run at once."""

from __future__ import annotations

import hashlib
import io
from random import Random

import pytest

from farlane.kit.passes import PARALLEL_BYTES, run_passes

DATA = Random(3).randbytes(PARALLEL_BYTES + 12345)


class SmallReads(io.RawIOBase):
    """A stream that gives no more than a few bytes more each time."""

    def __init__(self, data: bytes) -> None:
        self._stream, self._next = io.BytesIO(data), 1

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        self._next = min(self._next * 3, len(buffer))
        return self._stream.readinto(buffer[: self._next])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_pass_sees_everything_in_order(threads: int) -> None:
    digests = [hashlib.sha256() for _ in range(3)]
    passes = [digest.update for digest in digests]
    assert run_passes(SmallReads(DATA), len(DATA), passes, threads) == len(DATA)  # type: ignore[arg-type]
    assert {digest.digest() for digest in digests} == {hashlib.sha256(DATA).digest()}


@pytest.mark.parametrize("threads", [1, 2])
def test_a_stream_that_is_too_long_is_not_read_to_its_end(threads: int) -> None:
    stream = io.BytesIO(DATA + bytes(5 << 20))
    seen: list[int] = []
    assert run_passes(stream, len(DATA), [lambda piece: seen.append(len(piece))] * 2, threads) > len(DATA)
    assert sum(seen) <= 2 * len(DATA)
    assert stream.read(1)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_pass_that_fails_ends_it(threads: int) -> None:
    def fail(piece: memoryview) -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        run_passes(io.BytesIO(DATA), len(DATA), [fail, len], threads)
