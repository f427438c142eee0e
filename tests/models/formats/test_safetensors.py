"""farlane.models.formats.safetensors: headers read strictly, and ranges along the tensors."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from farlane.errors import Corrupted, FarlaneError
from farlane.models.formats.content import BytesContent, file_content
from farlane.models.formats.safetensors import inspect, looks_like
from farlane.models.formats.values import FileFormat

ARRAYS = {
    "b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a": np.ones(5, np.float16),
    "empty": np.zeros((0, 4), np.int8),
}
GOOD = save(ARRAYS, {"format": "np"})


def built(header: Any, body: bytes = b"", raw: bytes | None = None) -> bytes:
    text = json.dumps(header).encode() if raw is None else raw
    return struct.pack("<Q", len(text)) + text + body


def entry(begin: int, end: int, dtype: str = "U8", shape: list[int] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


def test_every_tensor_lies_where_the_header_says() -> None:
    found = inspect(BytesContent(GOOD))
    assert found.format is FileFormat.SAFETENSORS
    assert found.fact("metadata.format") == "np"
    for one in found.tensors:
        assert GOOD[one.offset : one.offset + one.size] == ARRAYS[one.name].tobytes()
        assert one.shape == ARRAYS[one.name].shape


def test_ranges_cover_the_file_once() -> None:
    ranges = inspect(BytesContent(GOOD)).ranges
    assert ranges[0][0] == 0
    assert [offset for offset, _ in ranges[1:]] == [offset + length for offset, length in ranges[:-1]]
    assert sum(length for _, length in ranges) == len(GOOD)


def test_the_dtype_is_that_of_most_bytes() -> None:
    assert inspect(BytesContent(GOOD)).dtype == "F32"


@pytest.mark.parametrize("left", [0, 4, 8, 40, len(GOOD) - 1])
def test_a_file_that_is_cut_off_says_how_much_is_missing(left: int) -> None:
    with pytest.raises(Corrupted, match="cut off") as caught:
        inspect(BytesContent(GOOD[:left]))
    assert caught.value.facts["missing_bytes"] > 0
    if left == len(GOOD) - 1:
        assert caught.value.facts["missing_bytes"] == 1


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (struct.pack("<Q", 1 << 40) + b"{", "more than"),
        (built(None, raw=b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{}}', body=b"x"), "stands twice"),
        (built(None, raw=b'{"a": \xff}'), "UTF-8"),
        (built(None, raw=b'{"a": ' + b"[" * 100_000), "JSON"),
        (built(None, raw=b"[]"), "begin with"),
        (built({"a": entry(0, 4), "b": entry(2, 6)}, b"x" * 6), "overlaps"),
        (built({"a": entry(0, 4), "b": entry(5, 6)}, b"x" * 6), "hole"),
        (built({"a": entry(0, 4)}, b"x" * 6), "belong to nothing"),
        (built({"a": entry(0, 4, "F32", [2])}, b"x" * 4), "needs 8 bytes"),
        (built({"a": entry(0, 4, "F99")}, b"x" * 4), "unknown type"),
        (built({"a": entry(4, 0, shape=[-4])}, b"x" * 4), "no sizes"),
        (built({"a": entry(0, 4, shape=[2**61, 2**61])}, b"x" * 4), "needs"),
        (built({"a": {**entry(0, 4), "extra": 1}}, b"x" * 4), "described by"),
        (built({"a": entry(0, 1, "F4", [1])}, b"x"), "needs 0.5"),
        (built({"__metadata__": {"a": 1}}), "map of texts"),
        (built({"": entry(0, 1)}, b"x"), "proper name"),
        (built({"a": 7}), "proper name"),
    ],
)  # fmt: skip
def test_what_is_not_sound_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(Corrupted, match=words):
        inspect(BytesContent(raw))


def test_only_what_begins_so_looks_like_it() -> None:
    assert looks_like(BytesContent(GOOD))
    assert not looks_like(BytesContent(b"{" * 20))
    assert not looks_like(BytesContent(b""))


@given(st.binary(max_size=64), st.integers(0, 40))
def test_damage_is_never_more_than_an_error(noise: bytes, at: int) -> None:
    raw = GOOD[:at] + noise + GOOD[at + len(noise) :]
    try:
        found = inspect(BytesContent(raw))
    except FarlaneError:
        return
    assert sum(length for _, length in found.ranges) == len(raw)


def test_a_real_model_is_read(minilm: Path) -> None:
    with file_content(minilm / "model.safetensors") as content:
        found = inspect(content)
    assert len(found.tensors) == 104
    assert found.dtype == "F32"
    assert sum(length for _, length in found.ranges) == 90_868_376
