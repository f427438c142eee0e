"""Sealed files: records open in their place alone, whatever was flipped, swapped, cut off or taken from elsewhere."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from farlane.errors import Conflict, Corrupted, PermissionRefused
from farlane.models.private.sealed_file import HEADER_BYTES, RECORD_BYTES, open_file, read_header, seal_file
from farlane.models.private.wrapping import VersionKey, new_version_key

KEY = new_version_key()
FIRST = RECORD_BYTES - HEADER_BYTES - 16
CONTENT = np.random.default_rng(1).bytes(3 * RECORD_BYTES)


def sealed(content: bytes, key: VersionKey = KEY, number: int = 1) -> bytes:
    target = io.BytesIO()
    header = seal_file(io.BytesIO(content), len(content), target, key, number)
    assert header.sealed_bytes == len(target.getvalue())
    return target.getvalue()


def opened(raw: bytes, key: VersionKey = KEY, number: int = 1) -> bytes:
    return b"".join(open_file(io.BytesIO(raw), len(raw), key, number))


@pytest.mark.parametrize(
    "size", [0, 1, FIRST - 1, FIRST, FIRST + 1, FIRST + RECORD_BYTES - 16, 2 * RECORD_BYTES + 5]
)
def test_what_was_sealed_opens_again(size: int) -> None:
    raw = sealed(CONTENT[:size])
    assert opened(raw) == CONTENT[:size]
    assert size < 64 or CONTENT[:64] not in raw


def test_records_are_the_blocks_of_the_file() -> None:
    raw = sealed(CONTENT)
    assert len(raw) == len(CONTENT) + HEADER_BYTES + 4 * 16
    assert len(raw) // RECORD_BYTES == 3


def test_the_same_content_never_gives_the_same_blocks() -> None:
    one, other = sealed(CONTENT), sealed(CONTENT)
    pairs = zip(range(0, len(one), RECORD_BYTES), range(0, len(other), RECORD_BYTES), strict=True)
    assert all(one[a : a + RECORD_BYTES] != other[b : b + RECORD_BYTES] for a, b in pairs)
    assert one[48:96] != other[48:96]  # the salts, and so the keys


@pytest.mark.parametrize(
    "place",
    [16, 50, 70, 96, 104, HEADER_BYTES, FIRST, RECORD_BYTES, 2 * RECORD_BYTES + 7, len(CONTENT) + 150],
)
def test_a_flipped_bit_is_noticed(place: int) -> None:
    raw = bytearray(sealed(CONTENT))
    raw[place] ^= 1
    with pytest.raises((Corrupted, PermissionRefused)):
        opened(bytes(raw))


def test_what_comes_before_a_damaged_record_is_right_and_nothing_of_it_is_seen() -> None:
    raw = bytearray(sealed(CONTENT))
    raw[RECORD_BYTES + 9] ^= 1
    records: Iterator[bytes] = open_file(io.BytesIO(raw), len(raw), KEY, 1)
    assert next(records) == CONTENT[:FIRST]
    with pytest.raises(Corrupted, match="record 1 of file 1"):
        next(records)


def test_swapped_repeated_and_missing_records_are_noticed() -> None:
    raw = sealed(CONTENT)
    head, one, two, rest = (raw[at : at + RECORD_BYTES] for at in range(0, len(raw), RECORD_BYTES))
    for wrong in (
        head + two + one + rest,
        head + one + one + rest,
        head + one + two,
        head + one + two + rest[:-1],
    ):
        with pytest.raises(Corrupted):
            opened(wrong)


def test_a_file_cut_off_at_a_record_with_its_size_rewritten_is_noticed() -> None:
    raw = bytearray(sealed(CONTENT))
    shorter = RECORD_BYTES * 2
    plain = shorter - HEADER_BYTES - 2 * 16
    raw[104:112] = plain.to_bytes(8, "little")
    with pytest.raises(Corrupted, match="record 0"):
        opened(bytes(raw[:shorter]))


def test_records_of_another_file_or_version_do_not_open_here() -> None:
    raw = sealed(CONTENT)
    for other in (sealed(CONTENT), sealed(CONTENT, number=2), sealed(CONTENT, new_version_key())):
        mixed = raw[:RECORD_BYTES] + other[RECORD_BYTES : 2 * RECORD_BYTES] + raw[2 * RECORD_BYTES :]
        with pytest.raises(Corrupted, match="record 1"):
            opened(mixed)


def test_another_key_number_or_version_is_refused_before_anything_is_opened() -> None:
    raw = sealed(b"content")
    with pytest.raises(PermissionRefused, match="another key"):
        opened(raw, replace(KEY, key=bytes(32)))
    with pytest.raises(Corrupted, match="expected file 2"):
        opened(raw, number=2)
    with pytest.raises(Corrupted, match="of private version"):
        opened(raw, new_version_key())


def test_a_file_that_changes_while_it_is_sealed_is_noticed() -> None:
    for told in (3, 8):
        with pytest.raises(Conflict, match="while it was encrypted"):
            seal_file(io.BytesIO(b"seven b"), told, io.BytesIO(), KEY, 1)


@pytest.mark.parametrize("raw", [b"", b"farlane-private\x01", b"\x80\x04 something else" * 20])
def test_other_files_are_none(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "file").write_bytes(raw)
    with pytest.raises(Corrupted, match="no file of a private version"):
        read_header(tmp_path / "file")
