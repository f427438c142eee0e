"""Where a file is cut by its content, so that bytes put in or taken out move few cuts.

A rolling hash of the last 32 bytes is computed at every byte; a cut follows a byte whose hash has zeros in the right
places. Chunks have 64 KiB to 1 MiB; zeros in 20 places are asked for up to 256 KiB and in 16 from there on, which draws
sizes together. The hash is h = sum of gear[byte k places back] * 2^k modulo 2^32; gear[b] is the first 4 bytes,
little-endian, of SHA-256 of "farlane gear" and the byte b.
Source: Xia et al., "FastCDC", USENIX ATC 2016, sections 3.2 to 3.4 (gear hash, normalised chunking).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from farlane.kit.hashing import sha256

MIN_BYTES: Final = 64 << 10
"""Smallest chunk, but for the last of a file."""
NORMAL_BYTES: Final = 256 << 10
"""From this size on cuts are easier to find."""
MAX_BYTES: Final = 1 << 20
"""Largest chunk."""

_WINDOW_BYTES: Final = 32
_STRIDE_BYTES: Final = 1 << 15
"""Bytes hashed at a time: their columns fit a core's own cache."""
_HARD: Final = np.uint32(0xFFFFF000)
_EASY: Final = np.uint32(0xFFFF0000)
_GEAR: Final = np.array(
    [int.from_bytes(sha256(b"farlane gear" + bytes((octet,)))[:4], "little") for octet in range(256)],
    np.uint32,
)


class ContentCutter:
    """Finds the cuts of one file in order."""

    def __init__(self) -> None:
        self._tail = np.zeros(0, np.uint8)
        self._length = 0

    def cuts(self, data: bytes | bytearray | memoryview) -> list[int]:
        """Take the next bytes and return the positions in them, in order, before which a chunk ends."""
        octets = np.frombuffer(data, np.uint8)
        found: list[int] = []
        places, hard = self._candidates(octets)
        start = -self._length
        at = 0
        while True:
            at = int(np.searchsorted(places, start + MIN_BYTES))
            end = self._next_cut(places, hard, at, start)
            if end > len(octets):
                break
            found.append(end)
            start = end
        self._length = len(octets) - start
        return found

    @staticmethod
    def _next_cut(places: NDArray[np.int64], hard: NDArray[np.bool_], at: int, start: int) -> int:
        """Return where the chunk that begins at `start` ends; `at` is the first place that is far enough."""
        limit = start + MAX_BYTES
        while at < len(places) and (place := int(places[at])) < limit:
            if hard[at] or place - start >= NORMAL_BYTES:
                return place
            at += 1
        return limit

    def _candidates(self, octets: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the places after bytes whose hash has the fewer zeros, and which of them have the more."""
        places, hard = [], []
        for first in range(0, len(octets), _STRIDE_BYTES):
            piece = octets[first : first + _STRIDE_BYTES]
            hashes = _rolling(np.concatenate((self._tail, piece)))[len(self._tail) :]
            hits = np.flatnonzero((hashes & _EASY) == 0)
            if len(hits):
                places.append(hits + (first + 1))
                hard.append((hashes[hits] & _HARD) == 0)
            self._tail = np.concatenate((self._tail, piece[-_WINDOW_BYTES:]))[1 - _WINDOW_BYTES :]
        if not places:
            return np.zeros(0, np.int64), np.zeros(0, np.bool_)
        return np.concatenate(places), np.concatenate(hard)


def _rolling(octets: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return the hash at each byte: sums over 1, 2, 4 ... 32 bytes, each made of two of the one before."""
    hashes: NDArray[np.uint32] = _GEAR[octets]
    span = 1
    while span < _WINDOW_BYTES:
        doubled = hashes.copy()
        doubled[span:] += hashes[:-span] << np.uint32(span)
        hashes, span = doubled, 2 * span
    return hashes
