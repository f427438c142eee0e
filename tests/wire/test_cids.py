"""The CID of a blob is the one that IPFS gives it."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.wire.cids import CHUNK_BYTES, BlobHasher


def cid_of(*pieces: bytes) -> str:
    hasher = BlobHasher()
    for piece in pieces:
        hasher.update(piece)
    return hasher.cid()


def keystream(seed: bytes, blocks: int) -> list[bytes]:
    """What kubo's tests use as a file: the ChaCha20 stream of a seed's hash, here in pieces of 1 MiB."""
    key = hashlib.sha256(seed).digest()
    encryptor = Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor()
    return [encryptor.update(bytes(CHUNK_BYTES)) for _ in range(blocks)]


@pytest.mark.parametrize(
    ("data", "cid"),
    [
        (b"hello world", "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
        (b"", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
    ],
)
def test_small_blobs_have_the_cid_that_ipfs_gives(data: bytes, cid: str) -> None:
    assert cid_of(data) == cid


def test_a_large_blob_has_the_cid_that_ipfs_gives() -> None:
    # 1025 MiB: the smallest file whose tree has two levels. Source: kubo, test/cli/cid_profiles_test.go.
    hasher = BlobHasher()
    key = hashlib.sha256(b"v1-2025-seed").digest()
    encryptor = Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor()
    zeros = bytes(CHUNK_BYTES)
    for _ in range(1024):
        hasher.update(encryptor.update(zeros))
    assert hasher.cid() == "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm"
    hasher.update(encryptor.update(zeros))
    assert hasher.cid() == "bafybeihmzokxxjqwxjcryerhp5ezpcog2wcawfryb2xm64xiakgm4a5jue"


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 3 * CHUNK_BYTES), max_size=5))
def test_how_the_bytes_are_cut_does_not_matter(cuts: list[int]) -> None:
    data = b"".join(keystream(b"cut", 3)) + b"tail"
    places = sorted({0, *cuts, len(data)})
    pieces = [data[begin:end] for begin, end in itertools.pairwise(places)]
    assert cid_of(*pieces) == cid_of(data)


def test_a_blob_that_ends_with_its_chunk_has_no_empty_leaf() -> None:
    whole, one_more = b"x" * CHUNK_BYTES, b"x" * (CHUNK_BYTES + 1)
    assert cid_of(whole).startswith("bafkrei")
    assert cid_of(one_more).startswith("bafybei")
    assert cid_of(whole, b"") == cid_of(whole)
