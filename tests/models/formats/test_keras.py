"""farlane.models.formats.keras: archives and HDF5 files, and the layers and links that are refused."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from farlane.errors import Corrupted, InvalidInput
from farlane.models.formats.content import BytesContent
from farlane.models.formats.sniff import inspect
from farlane.models.formats.values import FileFormat

DENSE: dict[str, Any] = {
    "module": "keras", "class_name": "Sequential", "config": {"layers": [
        {"module": "keras.layers", "class_name": "Dense", "config": {"units": 2}, "registered_name": None}]},
}  # fmt: skip


def layer(module: str, name: str) -> dict[str, Any]:
    return {**DENSE, "config": {"layers": [{"module": module, "class_name": name, "config": {}}]}}


def archive(config: object = DENSE, **parts: bytes) -> bytes:
    out = io.BytesIO()
    members = {
        "metadata.json": b'{"keras_version": "3.9.0"}', "config.json": json.dumps(config).encode(),
        "model.weights.h5": b"\x89HDF\r\n\x1a\n",
    }  # fmt: skip
    with zipfile.ZipFile(out, "w") as made:
        for name, data in {**members, **parts}.items():
            if data:
                made.writestr(name, data)
    return out.getvalue()


def hdf5(config: object | None = DENSE) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.create_group("model_weights").create_dataset("w", data=np.ones(3))
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
            file.attrs["keras_version"] = "3.9.0"
    return out.getvalue()


def test_a_keras_archive_is_known_whatever_it_is_called() -> None:
    for name in ("model.keras", "model.zip"):
        found = inspect(BytesContent(archive()), name)
        assert found.format is FileFormat.KERAS
        assert found.fact("keras_version") == "3.9.0"
        assert found.fact("class") == "Sequential"


def test_an_hdf5_file_says_what_model_it_holds() -> None:
    found = inspect(BytesContent(hdf5()), "model.h5")
    assert found.format is FileFormat.HDF5
    assert found.fact("class") == "Sequential"
    assert inspect(BytesContent(hdf5(None)), "weights.h5").facts == ()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("keras.layers", "Lambda"), ("builtins", "__lambda__"), ("my.package", "Layer"), ("os", "system"),
        ("builtins", "eval"), ("keras.utils", "function"), ("keras.layers", "TorchModuleWrapper"),
    ],
)  # fmt: skip
def test_layers_that_run_code_are_refused(module: str, name: str) -> None:
    for raw, file in ((archive(layer(module, name)), "m.keras"), (hdf5(layer(module, name)), "m.h5")):
        with pytest.raises(InvalidInput, match="Keras model"):
            inspect(BytesContent(raw), file)


def test_functions_of_keras_are_no_code_of_the_model() -> None:
    assert (
        inspect(BytesContent(archive(layer("keras.activations", "function"))), "m.keras").format
        is FileFormat.KERAS
    )


def test_parts_that_are_missing_or_too_many_are_refused() -> None:
    with pytest.raises(Corrupted, match=r"lacks model\.weights\.h5"):
        inspect(BytesContent(archive(**{"model.weights.h5": b""})), "m.keras")
    with pytest.raises(InvalidInput, match="unknown part"):
        inspect(BytesContent(archive(**{"setup.py": b"import os"})), "m.keras")
    with pytest.raises(Corrupted, match="not JSON"):
        inspect(BytesContent(archive(**{"config.json": b"{"})), "m.keras")
    with pytest.raises(Corrupted, match=r"cannot be read|cut off"):
        inspect(BytesContent(archive()[:-30]), "m.keras")


def test_hdf5_that_points_to_other_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file["away"] = h5py.ExternalLink("/etc/passwd", "/x")
    with pytest.raises(InvalidInput, match="is a link"):
        inspect(BytesContent(path.read_bytes()), "m.h5")
    with h5py.File(path, "w") as file:
        file.create_dataset("d", shape=(4,), dtype="u1", external=[("/etc/hostname", 0, 4)])
    with pytest.raises(InvalidInput, match="another file"):
        inspect(BytesContent(path.read_bytes()), "m.h5")


def test_hdf5_that_is_cut_off_is_refused() -> None:
    with pytest.raises(Corrupted, match="cut off"):
        inspect(BytesContent(hdf5()[:600]), "m.h5")
    with pytest.raises(Corrupted, match="called HDF5"):
        inspect(BytesContent(b"text"), "m.h5")
