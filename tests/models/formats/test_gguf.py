"""farlane.models.formats.gguf: files as gguf itself writes them, padding, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter

from farlane.errors import Corrupted, FarlaneError
from farlane.models.formats.content import BytesContent
from farlane.models.formats.gguf import inspect, looks_like
from farlane.models.formats.values import FileFormat


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("gguf") / "model.gguf"
    writer = GGUFWriter(target, "llama")
    writer.add_file_type(15)
    writer.add_token_list([b"a", b"bc", b"<s>"])
    writer.add_token_scores([0.5, 1.0, 1.5])
    writer.add_bool("general.odd", True)
    writer.add_tensor("norm", np.arange(5, dtype=np.float32))
    writer.add_tensor("half", np.ones((3, 7), np.float16))
    writer.add_tensor(
        "quant", np.zeros((2, 144), np.uint8), raw_shape=(2, 144), raw_dtype=GGMLQuantizationType.Q4_K
    )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


@pytest.fixture(scope="module")
def raw(path: Path) -> bytes:
    return path.read_bytes()


def test_tensors_lie_where_the_reference_reader_finds_them(path: Path, raw: bytes) -> None:
    found = {one.name: one for one in inspect(BytesContent(raw)).tensors}
    for tensor in GGUFReader(path).tensors:
        one = found[tensor.name]
        assert (one.offset, one.size) == (tensor.data_offset, tensor.n_bytes)
        assert one.dtype == tensor.tensor_type.name


def test_architecture_and_quantisation_are_named(raw: bytes) -> None:
    found = inspect(BytesContent(raw))
    assert found.format is FileFormat.GGUF
    assert found.fact("general.architecture") == "llama"
    assert found.fact("quantisation") == "Q4_K_M"
    assert found.fact("general.odd") == "True"


def test_padding_is_a_range_of_its_own(raw: bytes) -> None:
    found = inspect(BytesContent(raw))
    assert [offset for offset, _ in found.ranges[1:]] == [a + b for a, b in found.ranges[:-1]]
    assert sum(length for _, length in found.ranges) == len(raw)
    tensors = {(one.offset, one.size) for one in found.tensors}
    assert tensors <= set(found.ranges)
    gaps = [one for one in found.ranges[1:] if one not in tensors]
    assert gaps
    assert all(raw[at : at + length] == bytes(length) for at, length in gaps)


def test_a_file_that_is_cut_off_anywhere_is_refused(raw: bytes) -> None:
    end = max(one.offset + one.size for one in inspect(BytesContent(raw)).tensors)
    for left in (4, 12, 30, len(raw) // 2, end - 1):
        with pytest.raises(Corrupted, match="cut off") as caught:
            inspect(BytesContent(raw[:left]))
        assert caught.value.facts["missing_bytes"] > 0


def header(tensors: int = 0, keys: int = 0, version: int = 3) -> bytes:
    return struct.pack("<4sIQQ", b"GGUF", version, tensors, keys)


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def tensor(name: bytes, count: int, offset: int, kind: int = 24) -> bytes:
    return text(name) + struct.pack("<IQIQ", 1, count, kind, offset)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (header(version=4), "version 4"),
        (struct.pack(">4sIQQ", b"GGUF", 3, 0, 0), "big-endian"),
        (header(tensors=1 << 40), "claims"),
        (header(keys=1 << 40), "claims"),
        (header(keys=1) + struct.pack("<Q", 1 << 60), "text of"),
        (header(keys=1) + text(b"k") + struct.pack("<I", 77), "type 77"),
        (header(keys=1) + text(b"k") + struct.pack("<IIQ", 9, 8, 1 << 60), "array of"),
        (header(keys=1) + text(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 9, "nests too deep"),
        (header(keys=2) + (text(b"k") + struct.pack("<IB", 7, 1)) * 2, "stands twice"),
        (header(keys=1) + text(b"general.alignment") + struct.pack("<II", 4, 0), "alignment"),
        (header(tensors=2) + tensor(b"a", 4, 0) * 2 + bytes(64), "one name"),
        (header(tensors=2) + tensor(b"a", 64, 0) + tensor(b"b", 4, 32) + bytes(256), "overlaps"),
        (header(tensors=1) + tensor(b"a", 4, 1) + bytes(64), "not aligned"),
        (header(tensors=1) + tensor(b"a", 4, 0, kind=4) + bytes(64), "unknown type"),
        (header(tensors=1) + tensor(b"a", 33, 0, kind=2) + bytes(64), "whole blocks"),
        (header(tensors=1) + text(b"a") + struct.pack("<I", 9), "dimensions"),
    ],
)  # fmt: skip
def test_what_is_not_sound_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(Corrupted, match=words):
        inspect(BytesContent(raw))


def test_one_changed_byte_is_never_more_than_an_error(raw: bytes) -> None:
    for at in range(0, 400, 3):
        damaged = raw[:at] + bytes([raw[at] ^ 0xFF]) + raw[at + 1 :]
        try:
            found = inspect(BytesContent(damaged))
        except FarlaneError:
            continue
        assert sum(length for _, length in found.ranges) == len(damaged)


def test_only_what_begins_so_looks_like_it(raw: bytes) -> None:
    assert looks_like(BytesContent(raw))
    assert not looks_like(BytesContent(b"GGU"))
