"""Files with other things between their tensors are cut along these: ONNX, files beside it, Keras and HDF5."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from farlane.errors import Corrupted, FarlaneError, InvalidInput
from farlane.models.formats import onnx_weights
from farlane.models.formats.content import BytesContent, file_content
from farlane.models.formats.cutting import LEAST_CUT_BYTES, ranges_along, side_by_side
from farlane.models.formats.folders import joined
from farlane.models.formats.sniff import inspect, inspect_file
from farlane.models.formats.values import FileFormat, Inspection, TensorPlace
from farlane.models.unixfs.composite import ranges_to_parts

WEIGHTS = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)


def graph(
    *nodes: onnx.NodeProto, name: str = "g", initializers: list[TensorProto] | None = None
) -> onnx.GraphProto:
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return helper.make_graph(list(nodes), name, [], [out], initializers or [])


def model(inner: onnx.GraphProto) -> bytes:
    made: bytes = helper.make_model(inner, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    return made


def found(raw: bytes, name: str = "m.onnx") -> Inspection:
    look = inspect(BytesContent(raw), name)
    if look.ranges:
        ranges_to_parts(look.ranges, len(raw))
    return look


def values(raw: bytes, look: Inspection, name: str) -> np.ndarray:
    (place,) = (one for one in look.tensors if one.name == name)
    return np.frombuffer(raw[place.offset : place.offset + place.size], np.float32).reshape(place.shape)


class TestOnnx:
    def test_initializers_constants_and_graphs_below_are_found(self) -> None:
        constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(WEIGHTS + 1, "own"))
        branch = graph(constant, name="then", initializers=[numpy_helper.from_array(WEIGHTS + 2, "w")])
        packed = helper.make_tensor("packed", TensorProto.FLOAT, [64, 64], (WEIGHTS + 3).ravel())
        choice = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=graph(name="else"))
        raw = model(graph(constant, choice, initializers=[numpy_helper.from_array(WEIGHTS, "w"), packed]))
        look = found(raw)
        for name, more in (
            ("w", 0), ("c", 1), ("y.then_branch/c", 1), ("y.then_branch/w", 2), ("packed", 3),
        ):  # fmt: skip
            assert np.array_equal(values(raw, look, name), WEIGHTS + more)
        assert look.dtype == "F32"
        assert len(look.ranges) >= 11

    def test_a_changed_tensor_leaves_the_ranges_of_others(self) -> None:
        def pieces(changed: float) -> set[bytes]:
            raw = model(graph(initializers=[
                numpy_helper.from_array(WEIGHTS, "same"), numpy_helper.from_array(WEIGHTS + changed, "other")
            ]))  # fmt: skip
            return {raw[at : at + length] for at, length in found(raw).ranges}

        assert len(pieces(1.0) & pieces(2.0)) >= 2

    def test_small_tensors_stay_with_what_is_around_them(self) -> None:
        look = found(model(graph(initializers=[numpy_helper.from_array(WEIGHTS[:2], "small")])))
        assert [one.name for one in look.tensors] == ["small"]
        assert look.ranges == ()

    def test_real_models_are_cut_into_what_the_onnx_package_finds(self, rapidocr: Path) -> None:
        path = rapidocr / "PP-OCRv6_det_small.onnx"
        look = inspect_file(path)
        places = {one.name: one for one in look.tensors}
        with file_content(path) as content:
            for one in onnx.load(path).graph.initializer:
                if one.raw_data:
                    place = places[one.name]
                    assert content.read(place.offset, place.size) == one.raw_data
                    assert place.shape == tuple(one.dims)
        assert sum(length for _, length in look.ranges) == path.stat().st_size

    def test_graphs_too_deep_are_refused(self) -> None:
        inner = graph(initializers=[numpy_helper.from_array(WEIGHTS, "w")])
        for _ in range(onnx_weights.MAX_DEPTH + 1):
            inner = graph(helper.make_node("If", ["x"], ["y"], then_branch=inner))
        with pytest.raises(Corrupted, match="deep in each other"):
            inspect(BytesContent(model(inner)), "m.onnx")

    def test_more_fields_than_any_model_has_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(onnx_weights, "MAX_FIELDS", 20)
        raw = model(graph(initializers=[numpy_helper.from_array(WEIGHTS, f"w{n}") for n in range(9)]))
        with pytest.raises(Corrupted, match="20 fields"):
            inspect(BytesContent(raw), "m.onnx")

    def test_damaged_models_are_an_error_or_cut_whole(self) -> None:
        raw, chance = model(graph(initializers=[numpy_helper.from_array(WEIGHTS, "w")])), random.Random(3)
        for _ in range(400):
            damaged = bytearray(raw)
            for _ in range(3):
                damaged[chance.choice((chance.randrange(60), chance.randrange(len(raw))))] = chance.randrange(
                    256
                )
            try:
                found(bytes(damaged[: chance.choice((len(raw), chance.randrange(1, len(raw))))]), "m.bin")
            except FarlaneError:
                continue


class TestFilesBesideOnnx:
    def saved(self, folder: Path, weights: np.ndarray = WEIGHTS) -> dict[str, Inspection]:
        tensors = [numpy_helper.from_array(weights, "a"), numpy_helper.from_array(WEIGHTS * 2, "b")]
        folder.mkdir()
        onnx.save_model(
            onnx.load_from_string(model(graph(initializers=tensors))), folder / "m.onnx",
            save_as_external_data=True, location="m.data", size_threshold=0,
        )  # fmt: skip
        looks = {path.name: inspect_file(path) for path in folder.iterdir()}
        return joined({f"onnx/{name}": look for name, look in looks.items()})

    def test_weights_are_found_in_the_file_beside_the_model(self, tmp_path: Path) -> None:
        look = self.saved(tmp_path / "m")["onnx/m.data"]
        raw = (tmp_path / "m/m.data").read_bytes()
        assert look.format is FileFormat.PLAIN
        assert np.array_equal(values(raw, look, "b"), WEIGHTS * 2)
        ranges_to_parts(look.ranges, len(raw))
        assert len(look.ranges) >= 2

    @pytest.mark.parametrize(
        "change",
        [
            lambda place: replace(place, offset=place.offset + 8),
            lambda place: replace(place, size=1 << 40),
            lambda place: replace(place, offset=1 << 40),
        ],
        ids=["overlapping", "too long", "beyond the end"],
    )
    def test_what_is_said_wrongly_is_left_out(self, tmp_path: Path, change) -> None:
        looks = self.saved(tmp_path / "m")
        model_look = looks["onnx/m.onnx"]
        first, *others = model_look.outside
        lying = replace(model_look, outside=(replace(first, place=change(first.place)), *others))
        plain = Inspection(format=FileFormat.PLAIN, size=looks["onnx/m.data"].size)
        look = joined({"onnx/m.onnx": lying, "onnx/m.data": plain})["onnx/m.data"]
        assert (look.tensors, look.ranges) == ((), ())

    def test_files_that_are_something_else_are_left_alone(self, tmp_path: Path) -> None:
        looks = self.saved(tmp_path / "m")
        other = Inspection(format=FileFormat.GGUF, size=looks["onnx/m.data"].size)
        assert joined({**looks, "onnx/m.data": other})["onnx/m.data"] is other

    def test_constants_that_lie_elsewhere_are_refused(self) -> None:
        tensor = TensorProto(
            name="t", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL
        )
        tensor.external_data.add(key="location", value="../secret")
        raw = model(graph(helper.make_node("Constant", [], ["c"], value=tensor)))
        with pytest.raises(InvalidInput, match="not beside it"):
            inspect(BytesContent(raw), "m.onnx")


def hdf5(**options: object) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        group = file.create_group("layers/dense/vars")
        group.create_dataset("0", data=WEIGHTS)
        group.create_dataset("1", data=WEIGHTS * 2, **options)
        group.create_dataset("2", data=np.float32(1))
    return out.getvalue()


def keras(weights: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("metadata.json", b'{"keras_version": "3.9.0"}')
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": []}}))
        archive.writestr("model.weights.h5", weights)
    return out.getvalue()


class TestKeras:
    @pytest.mark.parametrize(("pack", "name"), [(bytes, "m.h5"), (keras, "m.keras")])
    def test_arrays_in_one_piece_are_found(self, pack, name: str) -> None:
        raw = pack(hdf5())
        look = found(raw, name)
        assert np.array_equal(values(raw, look, "/layers/dense/vars/0"), WEIGHTS)
        assert np.array_equal(values(raw, look, "/layers/dense/vars/1"), WEIGHTS * 2)
        assert look.dtype == "F32"
        assert len(look.ranges) >= 3

    def test_arrays_in_chunks_are_left_out(self) -> None:
        look = found(hdf5(chunks=(8, 64), compression="gzip"), "m.h5")
        assert [one.name for one in look.tensors if one.size > 4] == ["/layers/dense/vars/0"]

    def test_packed_weights_are_not_looked_into(self) -> None:
        look = found(keras(hdf5(), zipfile.ZIP_DEFLATED), "m.keras")
        assert (look.tensors, look.ranges) == ((), ())

    def test_weights_in_an_archive_point_to_no_other_file(self) -> None:
        out = io.BytesIO()
        with h5py.File(out, "w") as file:
            file["away"] = h5py.ExternalLink("/etc/passwd", "/x")
        with pytest.raises(InvalidInput, match="is a link"):
            inspect(BytesContent(keras(out.getvalue())), "m.keras")

    def test_a_member_that_is_not_where_the_directory_says_is_an_error(self) -> None:
        raw = bytearray(keras(hdf5()))
        at = raw.rindex(b"PK\x01\x02")
        raw[at + 42 : at + 46] = struct.pack("<I", 7)
        with pytest.raises(Corrupted):
            inspect(BytesContent(bytes(raw)), "m.keras")

    @pytest.mark.parametrize(("pack", "name"), [(bytes, "m.h5"), (keras, "m.keras")])
    def test_damaged_files_are_an_error_or_cut_whole(self, pack, name: str) -> None:
        raw, chance = pack(hdf5()), random.Random(5)
        for _ in range(100):
            damaged = bytearray(raw)
            for _ in range(4):
                damaged[chance.randrange(2500)] = chance.randrange(256)
            try:
                found(bytes(damaged), name)
            except FarlaneError:
                continue


class TestRanges:
    def test_overlapping_tensors_are_none(self) -> None:
        one = TensorPlace("a", "F32", (), 0, 8000)
        assert side_by_side([one, TensorPlace("b", "F32", (), 7999, 10)], 9000) == ()
        assert side_by_side([one], 7999) == ()
        assert side_by_side([one, one], 8000) == (one,)

    def test_gaps_and_tensors_cover_the_file(self) -> None:
        places = [
            TensorPlace(str(at), "F32", (), at, LEAST_CUT_BYTES) for at in (10, 10 + LEAST_CUT_BYTES, 20_000)
        ]
        small = TensorPlace("small", "F32", (), 9000, 4)
        ranges = ranges_along(side_by_side([*places, small], 30_000), 30_000)
        assert ranges_to_parts(ranges, 30_000) == [10, 4096, 4096, 20_000 - 8202, 4096, 30_000 - 24_096]
