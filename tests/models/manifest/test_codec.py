"""farlane.models.manifest.codec: one encoding, read strictly."""

from __future__ import annotations

import math
from typing import Any

import dag_cbor
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiformats import CID

from farlane.domain.inference import Datatype, TensorSpec
from farlane.errors import Corrupted, FarlaneError, InvalidInput, TooLarge, UnsupportedVersion
from farlane.models.cid import Cid
from farlane.models.manifest.codec import decode, encode, manifest_cid
from farlane.models.manifest.values import Encryption, Licence, Manifest, Parent, Relation
from farlane.testing.manifests import model_file, small_manifest


def full() -> Manifest:
    files = (
        model_file("LICENSE", b"terms"),
        model_file("README.md", b"card"),
        model_file(format="safetensors"),
    )
    return small_manifest(
        files=files, task="sentence-similarity", runtime="embedding", dtype="F32", card="README.md",
        licence=Licence(expression="LicenseRef-gemma", acceptance=True, file="LICENSE"),
        parents=(
            Parent(cid=Cid(1, 0x71, b"p" * 32), relation=Relation.FINETUNE, recipe=Cid(1, 0x55, b"r" * 32)),
            Parent(cid=Cid(1, 0x71, b"q" * 32), relation=Relation.MERGE),
        ),
        metrics=(("accuracy", 0.75), ("loss", -1.0)),
        inputs=(TensorSpec("text", Datatype.BYTES, (-1,)),), outputs=(TensorSpec("y", Datatype.FP32, (-1, 384)),),
        created=1_750_000_000, publisher="0xA", encryption=Encryption(algorithm="aes", recipients=(b"r1", b"r2")),
    )  # fmt: skip


def changed(**changes: Any) -> bytes:
    """The small manifest as a document, changed, without any check."""
    document = dag_cbor.decode(encode(small_manifest()))
    assert isinstance(document, dict)
    return bytes(dag_cbor.encode({**document, **changes}))


@pytest.mark.parametrize("manifest", [small_manifest(), full()])
def test_a_manifest_comes_back_as_it_was(manifest: Manifest) -> None:
    raw = encode(manifest)
    assert decode(raw, manifest_cid(raw)) == manifest
    assert manifest_cid(raw).text.startswith("bafyrei")


def test_links_are_links_to_every_ipld_reader() -> None:
    document = dag_cbor.decode(encode(full()))
    assert isinstance(document, dict)
    links = [document["root"], document["files"][0]["cid"], document["parents"][0]["cid"]]
    assert all(isinstance(link, CID) for link in links)
    assert document["parents"][0]["cid"].encode("base32") == Cid(1, 0x71, b"p" * 32).text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": "red"}, "unknown field 'colour'"),
        ({"kind": "something"}, "no manifest of a model"),
        ({"name": 7}, "is not text"),
        ({"root": b"x"}, "is not a link"),
        ({"root": CID("base32", 1, "raw", ("sha2-512", b"s" * 64))}, "another hash"),
        ({"files": []}, "1 to 4096 files"),
        ({"files": [1]}, "is not a map"),
        ({"created": -1}, "not an integer from 0"),
        ({"created": True}, "not an integer from 0"),
        ({"metrics": {"x": 1}}, "finite number"),
        ({"metrics": {"x": math.nan}}, "DAG-CBOR|finite"),
        ({"licence": {"expression": "mit", "acceptance": False, "file": ""}}, "not written as"),
        ({"licence": None}, "is not a map"),
        ({"parents": [{"cid": CID("base32", 1, "raw", ("sha2-256", b"s" * 32)), "relation": "cousin"}]}, "cousin"),
        ({"inputs": [{"name": "x", "datatype": "FP7", "shape": []}]}, "FP7"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-2]}]}, "dimension"),
        ({"card": "nowhere.md"}, "none of the version's files"),
        ({"name": "../x"}, "no name for a model"),
    ],
)  # fmt: skip
def test_what_no_manifest_says_is_refused(changes: dict[str, Any], words: str) -> None:
    try:
        raw = changed(**changes)
    except Exception:
        raw = b"\xa1axN"  # the library itself does not write it
        words = "DAG-CBOR"
    with pytest.raises(Corrupted, match=words):
        decode(raw)


def test_a_newer_format_says_so() -> None:
    with pytest.raises(UnsupportedVersion, match="format version 2"):
        decode(changed(version=2))


def test_another_encoding_of_the_same_is_refused() -> None:
    raw = encode(small_manifest())
    assert raw[:1] == b"\xb1"
    longer = b"\xb8\x11" + raw[1:]  # the head's length in two bytes instead of one
    for twin in (longer, raw + b"\0", raw[:-1]):
        with pytest.raises(Corrupted):
            decode(twin)


def test_one_flipped_bit_is_another_manifest() -> None:
    raw = bytearray(encode(small_manifest()))
    expected = manifest_cid(bytes(raw))
    raw[-3] ^= 1
    with pytest.raises(Corrupted, match="not the manifest"):
        decode(bytes(raw), expected)


def test_one_that_was_read_before_is_still_checked_against_its_cid() -> None:
    raw = encode(full())
    assert decode(raw) == decode(raw, manifest_cid(raw)) == full()
    with pytest.raises(Corrupted, match="not the manifest"):
        decode(raw, manifest_cid(b"another"))


def test_one_too_large_to_be_remembered_comes_back_as_it_was() -> None:
    manifest = small_manifest(files=tuple(model_file(f"{number:04}", b"x") for number in range(400)))
    raw = encode(manifest)
    assert len(raw) > 32 << 10
    assert decode(raw) == manifest


def test_a_bomb_is_refused_before_it_is_read() -> None:
    with pytest.raises(TooLarge):
        decode(b"\x81" * ((1 << 20) + 1))
    with pytest.raises(Corrupted):
        decode(b"\x81" * (1 << 20))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_is_a_finite_number(value: float) -> None:
    with pytest.raises(InvalidInput, match="finite"):
        encode(small_manifest(metrics=(("loss", value),)))


@pytest.mark.parametrize(
    "changes",
    [
        {"files": (model_file("b"), model_file("a"))},
        {"files": (model_file("a"), model_file("A"))},
        {"files": (model_file("../a"),)},
        {"files": (model_file(sha256=b"short"),)},
        {"licence": Licence(acceptance=True)},
        {"licence": Licence(expression="MIT", file="LICENSE")},
        {"metrics": (("b", 1.0), ("a", 1.0))},
        {"parents": (Parent(cid=Cid(1, 0x71, b"p" * 32), relation=Relation.MERGE),) * 2},
        {"task": "two\nlines"},
        {"created": -1},
    ],
)
def test_nobody_writes_what_nobody_reads(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        encode(small_manifest(**changes))


@given(st.binary(max_size=200))
def test_rubbish_is_never_more_than_an_error(raw: bytes) -> None:
    with pytest.raises(FarlaneError):
        decode(raw)
