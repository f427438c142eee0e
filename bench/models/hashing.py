"""How quick a file's names are made: MB per CPU-second, as a share of what one SHA-256 pass of hashlib does."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from farlane.models.unixfs.describing import Composite, ContentDefined, Plain, describe

SIZE = 256 << 20
REPEATS = 3
PART = 4 << 20
"""Bytes of a made-up tensor."""


class Row(NamedTuple):
    """One way, its rate, and that rate as a share of plain SHA-256."""

    what: str
    megabytes_per_s: float
    share: float


def rows() -> Iterator[Row]:
    """Yield SHA-256 alone and then what a publisher computes."""
    data = bytes(range(256)) * (SIZE // 256)
    parts = [PART] * (SIZE // PART)
    ways: tuple[tuple[str, Callable[[], object]], ...] = (
        ("SHA-256 by hashlib", lambda: hashlib.sha256(data).digest()),
        (
            "CID as `ipfs add` makes it, and SHA-256 of the whole",
            lambda: describe(io.BytesIO(data), SIZE, (Plain(),)),
        ),
        (
            "CIDs by tensor and as `ipfs add` makes it, and SHA-256",
            lambda: describe(io.BytesIO(data), SIZE, (Composite(parts), Plain())),
        ),
        (
            "content-defined chunks, and SHA-256",
            lambda: describe(io.BytesIO(data), SIZE, (ContentDefined(),)),
        ),
    )
    fastest = 0.0
    for what, work in ways:
        rate = SIZE / 1e6 / min(_cpu_s(work) for _ in range(REPEATS))
        fastest = fastest or rate
        yield Row(what, rate, rate / fastest)


def _cpu_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
