"""Batches: payloads cut into columns that fit one message, the large ones sent ahead as blobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator

from farlane.domain.jobs import MAX_INLINE_BYTES, BlobRef
from farlane.domain.records import Column

MAX_ROWS = 1024
MAX_BYTES = 1 << 20
"""Caps of one batch; its message with everything around it stays far below gRPC's 4 MiB."""
PARALLEL_BLOBS = 8

Put = Callable[[bytes], Awaitable[BlobRef]]


def inline_bytes(payload: bytes) -> int:
    """Return how much of a batch's cap a payload takes."""
    size = len(payload)
    return size if size <= MAX_INLINE_BYTES else 0


def batches(payloads: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Cut payloads into lists that each fit one message."""
    batch: list[bytes] = []
    size = 0
    for payload in payloads:
        more = inline_bytes(payload)
        if batch and (len(batch) >= MAX_ROWS or size + more > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(payload)
        size += more
    if batch:
        yield batch


async def column_of(payloads: list[bytes], put: Put) -> Column:
    """Return payloads as a column, after putting the large ones on the hub, some at a time.

    Raises:
        FarlaneError: a blob could not be put.
    """
    large = [row for row, payload in enumerate(payloads) if len(payload) > MAX_INLINE_BYTES]
    if not large:
        return Column(payloads)
    limit = asyncio.Semaphore(PARALLEL_BLOBS)

    async def send(row: int) -> BlobRef:
        async with limit:
            return await put(payloads[row])

    refs = await asyncio.gather(*(send(row) for row in large))
    blobs = dict(zip(large, refs, strict=True))
    return Column([b"" if row in blobs else payload for row, payload in enumerate(payloads)], blobs)
