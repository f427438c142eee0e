"""Hashes agree with published vectors; streams hash like the bytes they hold."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.kit.hashing import DIGEST_BYTES, equal_secrets, sha256, sha256_file, sha256_hex, sha256_stream

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4 example


def test_the_published_vector() -> None:
    assert sha256_hex(b"abc") == ABC
    assert sha256(bytearray(b"abc")) == bytes.fromhex(ABC)
    assert len(sha256(b"")) == DIGEST_BYTES


@given(st.binary(max_size=5000))
def test_a_stream_hashes_like_its_bytes(data: bytes) -> None:
    assert sha256_stream(io.BytesIO(data)) == sha256(data)


def test_a_stream_is_hashed_from_where_it_stands() -> None:
    stream = io.BytesIO(b"xxabc")
    stream.seek(2)
    assert sha256_stream(stream).hex() == ABC


def test_a_file_hashes_like_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "data"
    data = bytes(range(256)) * 9000
    file.write_bytes(data)
    assert sha256_file(file) == sha256(data)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("token", "token", True),
        ("token", b"token", True),
        ("schlüssel", "schlüssel", True),
        ("token", "tokem", False),
        ("token", "token2", False),
    ],
)
def test_secrets_are_compared_as_utf8(one: str | bytes, other: str | bytes, equal: bool) -> None:
    assert equal_secrets(one, other) is equal
