"""The CID that a blob has on the wire is the one that IPFS and the content store give it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.models.cid import cid_of
from farlane.wire.cids import BlobHasher


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
def test_wire_and_content_store_agree_however_the_bytes_are_cut(pieces: list[bytes]) -> None:
    hasher = BlobHasher()
    for piece in pieces:
        hasher.update(piece)
    assert hasher.cid() == cid_of(b"".join(pieces))


def test_they_agree_beyond_the_size_of_an_ipfs_block_too() -> None:
    data = b"x" * (3 << 20)
    hasher = BlobHasher()
    hasher.update(data)
    assert hasher.cid() == cid_of(data)
