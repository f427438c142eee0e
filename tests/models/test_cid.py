"""CIDs of blocks: one text each, and everything else refused by name."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.errors import Corrupted, InvalidInput
from farlane.models.cid import (
    DAG_CBOR,
    DAG_PB,
    RAW,
    Cid,
    block_cid,
    cid_from_bytes,
    cid_of_digest,
    parse_cid,
    verify_block,
)

HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
EMPTY_DIRECTORY_V0 = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"


class TestKnownNames:
    @pytest.mark.parametrize(
        ("text", "version", "codec"),
        [
            (HELLO, 1, RAW),
            (EMPTY_DIRECTORY_V0, 0, DAG_PB),
            ("bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354", 1, DAG_PB),
            ("bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua", 1, DAG_CBOR),
        ],
    )
    def test_are_parsed(self, text: str, version: int, codec: int) -> None:
        cid = parse_cid(text)
        assert (cid.version, cid.codec, cid.text, str(cid)) == (version, codec, text, text)
        assert cid_from_bytes(cid.bytes) == cid

    def test_of_blocks(self) -> None:
        assert block_cid(RAW, b"hello world").text == HELLO
        assert block_cid(DAG_PB, b"\x0a\x02\x08\x01", 0).text == EMPTY_DIRECTORY_V0


@given(
    st.binary(min_size=32, max_size=32), st.sampled_from([(0, DAG_PB), (1, DAG_PB), (1, RAW), (1, DAG_CBOR)])
)
def test_text_and_bytes_lead_back(digest: bytes, kind: tuple[int, int]) -> None:
    cid = Cid(*kind, digest)
    assert parse_cid(cid.text) == cid == cid_from_bytes(cid.bytes)


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "what"),
        [
            ("", "empty"),
            ("hello", "no CID"),
            ("../../etc/passwd", "no CID"),
            (HELLO.upper(), "another base"),
            (HELLO[:-2], "cut off"),
            (HELLO + "aa", "too long"),
            (HELLO[:-1] + "f", "canonical"),
            (HELLO[:-1] + "1", "canonical"),
            (EMPTY_DIRECTORY_V0[:-1], "CIDv0 of 45 characters"),
            (EMPTY_DIRECTORY_V0[:-1] + "0", "no '0'"),
            ("zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA", "base58btc"),
            ("bafkqaaa", "another hash \\(identity\\)"),
            (HELLO.replace("bafkrei", "bafkrai"), "is"),
            ("b" + "a" * 58, "not a CID of version 1"),
        ],
    )
    def test_of_texts_say_what_they_are(self, text: str, what: str) -> None:
        with pytest.raises(InvalidInput, match=what):
            parse_cid(text)

    @pytest.mark.parametrize(
        ("raw", "what"),
        [
            (b"", "cut off"),
            (b"\x12\x20" + bytes(31), "33 bytes"),
            (b"\x01\x55\x13\x40" + bytes(64), "sha2-512"),
            (b"\x01\x55\x1e\x20" + bytes(32), "blake3"),
            (b"\x01\x72\x12\x20" + bytes(32), "codec \\(0x72\\)"),
            (b"\x01\x55\x12\x14" + bytes(20), "20 bytes"),
            (b"\x01\x55\x12\x20" + bytes(33), "too long"),
            (b"\x02\x55\x12\x20" + bytes(32), "but of 2"),
        ],
    )
    def test_of_bytes_say_what_they_are(self, raw: bytes, what: str) -> None:
        with pytest.raises(InvalidInput, match=what):
            cid_from_bytes(raw)

    @pytest.mark.parametrize(
        ("codec", "digest", "version", "what"),
        [
            (RAW, b"x", 1, "32 bytes"),
            (0x72, bytes(32), 1, "0x72"),
            (RAW, bytes(32), 0, "version 0"),
            (RAW, bytes(32), 2, "2"),
        ],
    )
    def test_of_parts(self, codec: int, digest: bytes, version: int, what: str) -> None:
        with pytest.raises(InvalidInput, match=what):
            cid_of_digest(codec, digest, version)

    @given(st.text(max_size=70))
    def test_of_anything(self, text: str) -> None:
        with pytest.raises(InvalidInput, match="expected a CID"):
            parse_cid(text)


def test_blocks_are_verified() -> None:
    cid = Cid(1, RAW, hashlib.sha256(b"hello").digest())
    verify_block(cid, memoryview(b"hello"))
    with pytest.raises(Corrupted, match=cid.text):
        verify_block(cid, b"hellp")
