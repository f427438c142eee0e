"""Several passes over one stream at once: it is read one time, and each pass has a thread where there are cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, Final

from farlane.kit.hashing import CHUNK_BYTES

PARALLEL_BYTES: Final = 8 << 20
"""Below this a thread costs more than it saves."""

Pass = Callable[[memoryview], object]
"""Takes one piece after another; the piece is overwritten afterwards."""


def run_passes(stream: BinaryIO, size_bytes: int, passes: Sequence[Pass], threads: int | None = None) -> int:
    """Show a stream to each pass, piece by piece and in order, and return how many bytes it had.

    It stops at the first piece that goes beyond `size_bytes`, which no pass sees.

    Args:
        stream: read to its end by `readinto`.
        size_bytes: what it is said to hold.
        passes: what is done with the bytes; each runs in one thread at a time, not always the same.
        threads: how many may be at work; None for as many as this process has cores.
    """
    workers = min(len(passes), cores() if threads is None else threads)
    if workers < 2 or size_bytes < PARALLEL_BYTES:
        return _one_by_one(stream, size_bytes, passes)
    with ThreadPoolExecutor(workers, thread_name_prefix="passes over a file") as pool:
        return _at_once(stream, size_bytes, passes, pool)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _one_by_one(stream: BinaryIO, size_bytes: int, passes: Sequence[Pass]) -> int:
    total = 0
    for piece in _pieces(stream, 1):
        total += len(piece)
        if total > size_bytes:
            break
        for step in passes:
            step(piece)
    return total


def _at_once(stream: BinaryIO, size_bytes: int, passes: Sequence[Pass], pool: ThreadPoolExecutor) -> int:
    total = 0
    at_work: list[Future[object]] = []
    for piece in _pieces(stream, 2):  # the next piece is read while the last one is hashed
        for future in at_work:
            future.result()
        total += len(piece)
        if total > size_bytes:
            return total
        at_work = [pool.submit(step, piece) for step in passes]
    for future in at_work:
        future.result()
    return total


def _pieces(stream: BinaryIO, buffers: int) -> Iterator[memoryview]:
    """Yield pieces of a stream; one is overwritten when `buffers` more have been asked for."""
    kept = [memoryview(bytearray(CHUNK_BYTES)) for _ in range(buffers)]
    number = 0
    while count := stream.readinto(kept[number % buffers]):  # type: ignore[attr-defined]
        yield kept[number % buffers][:count]
        number += 1
