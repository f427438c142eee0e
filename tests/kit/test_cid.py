"""CIDs are those of IPFS, one text for each content, and nothing else passes."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.errors import Corrupted, InvalidInput
from farlane.kit.cid import CID_LENGTH, cid_of, cid_of_digest, cid_of_file, parse, verify
from farlane.kit.hashing import sha256

# Known from IPFS itself: the raw block "hello world" and the empty raw block.
GOLDEN = {
    b"hello world": "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
    b"": "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
}
HELLO = GOLDEN[b"hello world"]


@pytest.mark.parametrize(("data", "cid"), GOLDEN.items())
def test_golden_cids(data: bytes, cid: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    assert cid_of(data) == cid_of_file(tmp_path / "file") == cid
    assert parse(cid) == sha256(data)
    verify(cid, data)


@given(st.binary(max_size=200))
def test_a_cid_holds_the_digest_and_nothing_more(data: bytes) -> None:
    cid = cid_of(data)
    assert len(cid) == CID_LENGTH
    assert parse(cid) == sha256(data)
    assert cid_of_digest(parse(cid)) == cid


@given(st.integers(0, CID_LENGTH - 1), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567ABC01_-/. ="))
def test_one_changed_character_is_another_content_or_refused(position: int, character: str) -> None:
    changed = HELLO[:position] + character + HELLO[position + 1 :]
    if changed == HELLO:
        return
    with contextlib.suppress(InvalidInput):
        assert parse(changed) != parse(HELLO)


@given(st.text(max_size=80))
def test_no_text_makes_parse_fail_otherwise(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        assert cid_of_digest(parse(text)) == text


def of_bytes(raw: bytes) -> str:
    return "b" + base64.b32encode(raw).decode().rstrip("=").lower()


DIGEST = bytes(32)


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("", "empty"),
        ("QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n", "a CIDv0"),
        ("zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA", "not in base32"),
        (HELLO.upper(), "not in base32"),
        ("b" + HELLO[1:].upper(), "not in base32"),
        ("b" + "1" * 58, "not in base32"),
        ("b", "cut off"),
        (of_bytes(b"\x02\x55\x12\x20" + DIGEST), "not a CID of version 1"),
        (of_bytes(b"\x01\x70\x12\x20" + DIGEST), "a dag-pb node"),
        (of_bytes(b"\x01\x71\x12\x20" + DIGEST), "a dag-cbor node"),
        (of_bytes(b"\x01\x51\x12\x20" + DIGEST), "another codec"),
        (of_bytes(b"\x01\x55\x13\x20" + DIGEST), "another hash"),
        (of_bytes(b"\x01\x55\x12\x1f" + DIGEST), "another hash"),
        ("ba", "cut off"),
        ("bae", "cut off"),
        (HELLO[:-1], "cut off"),
        (HELLO + "a", "cut off"),
        (HELLO[:-1] + "f", "canonical"),  # the two spare bits of the last character are set
    ],
)
def test_errors_say_what_it_is(text: str, description: str) -> None:
    with pytest.raises(InvalidInput, match="expected a CIDv1") as caught:
        parse(text)
    assert description in caught.value.message


def test_a_long_text_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse("x" * 10_000)
    assert len(caught.value.message) < 400


def test_other_bytes_are_corrupted() -> None:
    with pytest.raises(Corrupted, match="11 bytes received"):
        verify(HELLO, b"hello w0rld")


def test_a_digest_has_32_bytes() -> None:
    with pytest.raises(InvalidInput, match="32 bytes, not 31"):
        cid_of_digest(bytes(31))
