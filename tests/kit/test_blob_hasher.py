"""A CID computed piece by piece is the one that IPFS gives and that whole bytes have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.kit.cid import BlobHasher, cid_of


@pytest.mark.parametrize(
    ("data", "cid"),
    [
        # Source: kubo, test/cli/cid_profiles_test.go; the empty raw block.
        (b"hello world", "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
        (b"", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
    ],
)
def test_a_blob_has_the_cid_that_ipfs_gives(data: bytes, cid: str) -> None:
    hasher = BlobHasher()
    hasher.update(data)
    assert hasher.cid() == cid


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_the_cid_is_the_same_however_the_bytes_are_cut(pieces: list[bytes]) -> None:
    hasher = BlobHasher()
    for piece in pieces:
        hasher.update(piece)
    assert hasher.cid() == cid_of(b"".join(pieces))


def test_it_is_the_same_beyond_the_size_of_an_ipfs_block() -> None:
    data = b"x" * (3 << 20)
    hasher = BlobHasher()
    hasher.update(data)
    assert hasher.cid() == cid_of(data)
