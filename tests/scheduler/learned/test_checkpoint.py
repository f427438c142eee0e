"""Checkpoints come back as they were written, and whatever else comes is refused with a reason."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.errors import Corrupted, FarlaneError, InvalidInput, TooLarge, UnsupportedVersion
from farlane.scheduler.learned.checkpoint import MAX_BYTES, read_checkpoint, write_checkpoint
from farlane.scheduler.learned.manifest import (
    Manifest,
    Source,
    features_digest,
    manifest_bytes,
    read_manifest,
)

NAMES = st.text(st.characters(categories=("Ll", "Lu", "Nd")), min_size=1, max_size=8)
FINITE = st.floats(-1e6, 1e6, width=32)


def entries(data):
    """The entries of a checkpoint, to be changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(found, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in found.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def with_fields(data, **changes):
    """A checkpoint whose manifest says something else."""
    found = entries(data)
    fields = json.loads(found["manifest.json"]) | changes
    return packed(found | {"manifest.json": json.dumps(fields)})


def npy(array, **more):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **more)
    return stream.getvalue()


@pytest.fixture
def written(members, manifest):
    return write_checkpoint(members, manifest)


def test_what_is_written_is_read_and_numpy_opens_it(written, members, manifest):
    shapes = {name: array.shape for name, array in members[0].items()}
    found = read_checkpoint(written, manifest.features, shapes)
    assert found.manifest == manifest
    for arrays, wanted in zip(found.members, members, strict=True):
        assert arrays.keys() == wanted.keys()
        assert all((arrays[name] == wanted[name]).all() for name in wanted)
        assert all(arrays[name].dtype == np.float32 for name in wanted)
    with np.load(io.BytesIO(written), allow_pickle=False) as opened:
        assert (opened["1/w"] == members[1]["w"]).all()


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_ensemble_survives_the_way_and_equal_ones_give_equal_bytes(data):
    shapes = data.draw(
        st.dictionaries(NAMES, st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=4)
    )
    count = data.draw(st.integers(1, 3))
    drawn = [
        {
            name: np.array(
                data.draw(st.lists(FINITE, min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))),
                np.float32,
            ).reshape([int(length) for length in shape])
            for name, shape in shapes.items()
        }
        for _ in range(count)
    ]
    manifest = Manifest(
        count, {}, {"task": tuple(data.draw(st.lists(NAMES, unique=True, max_size=4)))}, {}, (Source("s", ""),),
        (data.draw(st.integers(0, 1 << 40)),), data.draw(NAMES), {"m": data.draw(FINITE)}, "MIT",
    )  # fmt: skip
    written = write_checkpoint(drawn, manifest)
    found = read_checkpoint(written)
    assert found.manifest == manifest
    for arrays, wanted in zip(found.members, drawn, strict=True):
        assert all((arrays[name] == wanted[name]).all() for name in wanted)
    backwards = [dict(reversed(arrays.items())) for arrays in drawn]
    assert write_checkpoint(backwards, manifest) == written


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_of_anything_else_are_refused(data):
    with pytest.raises(FarlaneError):
        read_checkpoint(data)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_is_refused_or_changes_nothing_that_is_read(data):
    weights = [{"w": np.arange(6, dtype=np.float32)}]
    manifest = Manifest(1, {}, {"task": ("a",)}, {}, (), (), "c", {}, "MIT")
    written = bytearray(write_checkpoint(weights, manifest))
    for _ in range(data.draw(st.integers(1, 3))):
        written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([None, None, len(written) // 2, len(written) - 1]))
    try:
        found = read_checkpoint(bytes(written[:cut]), manifest.features, {"w": (6,)})
    except FarlaneError:
        return
    assert found.manifest == manifest
    assert (found.members[0]["w"] == weights[0]["w"]).all()


def test_what_is_too_large_is_refused_before_it_is_unpacked(written, members, manifest):
    with pytest.raises(TooLarge, match="expected at most 1,000,000"):
        read_checkpoint(bytes(MAX_BYTES + 1))
    bomb = packed(entries(written) | {"0/zeros.npy": bytes(50_000_000)})
    assert len(bomb) < MAX_BYTES
    with pytest.raises(TooLarge, match="unpacks to more"):
        read_checkpoint(bomb)
    with pytest.raises(TooLarge, match="unpacks to more"):
        read_checkpoint(packed({str(at): b"" for at in range(2000)}))
    large = [{"w": np.zeros(300_000, np.float32)}]
    with pytest.raises(TooLarge, match="train a smaller one"):
        write_checkpoint(large, replace(manifest, members=1))


def test_a_size_that_lies_is_no_way_around_the_bound(written):
    honest = packed(entries(written) | {"0/zeros.npy": bytes(50_000_000)})
    lying = honest.replace((50_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    with pytest.raises(Corrupted, match="cannot be unpacked"):
        read_checkpoint(lying)


def test_a_header_that_promises_much_takes_no_memory(written):
    whole = npy(np.zeros(3, np.float32))
    huge = whole.replace(b"'shape': (3,), }" + b" " * 12, b"'shape': (3000000000000,), }")
    assert huge != whole
    with pytest.raises(Corrupted, match="longer or shorter"):
        read_checkpoint(packed(entries(written) | {"0/b.npy": huge}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(np.zeros(3)), "not a float32 array"),
        (npy(np.zeros(3, np.int64)), "not a float32 array"),
        (npy(np.zeros((2, 3), np.float32).T), "not a float32 array"),
        (npy(np.zeros(3, np.float32), version=(2, 0)), "not a float32 array"),
        (npy(np.array([None] * 3), allow_pickle=True), "not a float32 array"),
        (npy(np.zeros(3, np.float32)).replace(b"(3,), }", b"(-3,),}"), "not a float32 array"),
        (npy(np.zeros(3, np.float32)).replace(b"(3,)", b"{3: "), "not a float32 array"),
        (npy(np.zeros(3, np.float32)).replace(b" \n", b"\n "), "not a float32 array"),
        (npy(np.zeros((2, 3), np.float32)).replace(b"(2, 3)", b"(2 3,)"), "not a float32 array"),
        (b"", "not a float32 array"),
        (npy(np.zeros(3, np.float32)) + b"!", "longer or shorter"),
        (npy(np.zeros(4, np.float32)), r"b of member 0 has the shape \(4,\); expected \(3,\)"),
        (npy(np.array([0, np.nan, 0], np.float32)), "b of member 0 is not of finite"),
        (npy(np.array([0, np.inf, 0], np.float32)), "b of member 0 is not of finite"),
    ],
)
def test_arrays_that_are_not_what_the_network_needs(written, members, content, message):
    shapes = {name: array.shape for name, array in members[0].items()}
    with pytest.raises(Corrupted, match=message):
        read_checkpoint(packed(entries(written) | {"0/b.npy": content}), shapes=shapes)


def test_entries_that_are_missing_or_left_over(written, members):
    found = entries(written)
    shapes = {name: array.shape for name, array in members[0].items()}
    without = {name: content for name, content in found.items() if name != "1/w.npy"}
    with pytest.raises(Corrupted, match=r"member 1 lacks the array.*w"):
        read_checkpoint(packed(without), shapes=shapes)
    with pytest.raises(Corrupted, match="member 1 lacks the array"):
        read_checkpoint(packed(without))
    with pytest.raises(Corrupted, match=r"has beyond the network's.*more"):
        read_checkpoint(packed(found | {"0/more.npy": found["0/w.npy"]}), shapes=shapes)
    with pytest.raises(Corrupted, match=r"without manifest\.json"):
        read_checkpoint(packed({name: content for name, content in found.items() if name != "manifest.json"}))
    with pytest.raises(Corrupted, match="has no arrays"):
        read_checkpoint(packed({"manifest.json": found["manifest.json"]}))
    for odd in ("2/w.npy", "w.npy", "0/w.txt", "00/w.npy", "/.npy", "../0/w.npy"):
        with pytest.raises(Corrupted, match="belongs to none of 2 members"):
            read_checkpoint(packed(found | {odd: b""}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_named_twice_or_packed_otherwise(written):
    buffer = io.BytesIO(written)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("manifest.json", b"{}")
    with pytest.raises(Corrupted, match="names an entry twice"):
        read_checkpoint(buffer.getvalue())
    with pytest.raises(Corrupted, match="packed in a way"):
        read_checkpoint(packed(entries(written), zipfile.ZIP_BZIP2))


@pytest.mark.parametrize(("found", "which"), [(0, "older"), (2, "newer"), (99, "newer")])
def test_another_format_is_named(written, found, which):
    with pytest.raises(UnsupportedVersion, match=f"format {found}, {which} than format 1") as caught:
        read_checkpoint(with_fields(written, format=found))
    assert caught.value.facts == {"format": found}


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"task": ("work", "wait", "new"), "pair": ("left",)}, "other task features: it lacks new"),
        ({"task": ("work",), "pair": ("left",)}, "other task features: it knows besides wait"),
        ({"task": ("work", "wait"), "pair": ("left",), "node": ("x",)}, "other node features: it lacks x"),
        ({"task": ("wait", "work"), "pair": ("left",)}, "features in another order"),
        ({"task": ("work", "wait")}, "features in another order"),
    ],
)
def test_foreign_features_are_refused(written, features, message):
    with pytest.raises(InvalidInput, match=message):
        read_checkpoint(written, features)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": None}, {"format": True}, {"format": "1"}, {"members": 0}, {"members": 17}, {"members": 1.5},
        {"network": None}, {"network": {"hidden": -1}}, {"network": {"hidden": "3"}}, {"network": {"hidden": 1 << 63}},
        {"features": None}, {"features": {"task": "work"}}, {"features": {"task": [1]}},
        {"features": {"task": ["a", "a"]}}, {"features": {"task": ["other"]}}, {"digest": "0"},
        {"spans": []}, {"spans": {"task": [[0, 1, 2]]}}, {"spans": {"other": [[0, 1, 2]]}},
        {"spans": {"pair": [[0, 1]]}},
        {"spans": {"pair": [[2, 1, 0]]}}, {"spans": {"pair": [[0, float("nan"), 1]]}}, {"spans": {"pair": [3]}},
        {"training": {}}, {"training": [1]}, {"training": [{"name": "x"}]}, {"seeds": [True]}, {"seeds": [0] * 300},
        {"commit": 1}, {"metrics": {"x": "1"}}, {"metrics": {"x": float("inf")}}, {"licence": None},
        {"note": "x" * 5000},
    ],
)  # fmt: skip
def test_manifests_that_cannot_be(written, changes):
    with pytest.raises(Corrupted):
        read_checkpoint(with_fields(written, **changes))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_manifests_that_are_no_object(content):
    with pytest.raises(Corrupted):
        read_manifest(content)


def test_what_could_not_be_read_back_is_not_written(members, manifest):
    with pytest.raises(InvalidInput, match="2 members for a manifest of 1"):
        write_checkpoint(members, replace(manifest, members=1))
    with pytest.raises(InvalidInput, match="0 members"):
        write_checkpoint([], replace(manifest, members=0))
    with pytest.raises(InvalidInput, match="not finite; expected"):
        write_checkpoint(members, replace(manifest, metrics={"loss": float("nan")}))
    with pytest.raises(InvalidInput, match="could not be read back"):
        manifest_bytes(replace(manifest, spans={"task": ()}))
    with pytest.raises(InvalidInput, match="member 1 lacks"):
        write_checkpoint([members[0], {}], manifest)
    members[1]["w"][0, 0] = np.nan
    with pytest.raises(InvalidInput, match="w of member 1 is not of finite"):
        write_checkpoint(members, manifest)


def test_the_digest_tells_order_and_kind():
    digests = {
        features_digest(features)
        for features in ({"a": ("x", "y")}, {"a": ("y", "x")}, {"b": ("x", "y")}, {"a": ("x",), "b": ("y",)})
    }
    assert len(digests) == 4
    assert features_digest({"a": ("x",), "b": ()}) == features_digest({"b": (), "a": ("x",)})
