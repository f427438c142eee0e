"""MurmurHash3 x64, the first 64 of its 128 bits: the hash that places names in sharded directories.

Source: Austin Appleby, MurmurHash3_x64_128 (public domain), with seed 0.
"""

from __future__ import annotations

from typing import Final

_MASK: Final = (1 << 64) - 1
_C1: Final = 0x87C37B91114253D5
_C2: Final = 0x4CF5AD432745937F


def murmur3_x64_64(data: bytes) -> int:
    """Return the first 64 bits of the hash of `data`."""
    one = two = 0
    whole = len(data) & ~15
    for at in range(0, whole, 16):
        one ^= _mixed_low(int.from_bytes(data[at : at + 8], "little"))
        one = (_rotated(one, 27) + two) * 5 + 0x52DCE729 & _MASK
        two ^= _mixed_high(int.from_bytes(data[at + 8 : at + 16], "little"))
        two = (_rotated(two, 31) + one) * 5 + 0x38495AB5 & _MASK
    two ^= _mixed_high(int.from_bytes(data[whole + 8 :], "little"))
    one ^= _mixed_low(int.from_bytes(data[whole : whole + 8], "little"))
    one ^= len(data)
    two ^= len(data)
    one = one + two & _MASK
    two = two + one & _MASK
    return _final(one) + _final(two) & _MASK


def _mixed_low(word: int) -> int:
    return _rotated(word * _C1 & _MASK, 31) * _C2 & _MASK


def _mixed_high(word: int) -> int:
    return _rotated(word * _C2 & _MASK, 33) * _C1 & _MASK


def _rotated(word: int, places: int) -> int:
    return (word << places | word >> 64 - places) & _MASK


def _final(word: int) -> int:
    word ^= word >> 33
    word = word * 0xFF51AFD7ED558CCD & _MASK
    word ^= word >> 33
    word = word * 0xC4CEB9FE1A85EC53 & _MASK
    return word ^ word >> 33
