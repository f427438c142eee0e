"""Keras models: the shipped one answers right, and what carries code or reaches outside of its file is refused."""

from __future__ import annotations

import io
import json
import os
import zipfile
from contextlib import aclosing
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest

from farlane.demo.novelist import shipped_model
from farlane.domain.inference import Datatype, Tensor, TensorsReply, TensorsRequest
from farlane.errors import Corrupted, FarlaneError, InvalidInput
from farlane.models.serving.replica_client import ReplicaProcess, ReplicaSpec
from farlane.models.serving.runtime import RuntimeOptions, open_runtime
from farlane.models.serving.runtimes.keras_file import check_keras_file

with_jax = pytest.mark.skipif(
    find_spec("jax") is None,
    reason="jax, the backend of Keras, is not installed: requirements/serve.lock has it",
)


def points() -> tuple[np.ndarray, np.ndarray]:
    """Points in the middle of each of three arms, and their arms."""
    radius = np.linspace(0.3, 0.95, 40)
    arms = np.repeat(np.arange(3), 40)
    angle = np.tile(4.0 * radius, 3) + arms * 2 * np.pi / 3
    rows = np.tile(radius, 3)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return rows.astype("<f4"), arms


@with_jax
async def test_the_shipped_model_answers_right(tmp_path: Path) -> None:
    rows, arms = points()
    request = TensorsRequest((Tensor("point", Datatype.FP32, rows.shape, rows.tobytes()),))
    spec = ReplicaSpec(folder=shipped_model("spiral"))
    async with (
        ReplicaProcess.start(spec, tmp_path) as replica,
        aclosing(replica.ask(request, 100)) as replies,
    ):
        [reply] = [reply async for reply in replies]
    assert isinstance(reply, TensorsReply)
    shares = np.frombuffer(reply.outputs[0].data, "<f4").reshape(-1, 3)
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert (shares.argmax(axis=1) == arms).all()


@with_jax
@pytest.mark.filterwarnings("ignore")
def test_an_archive_loads_and_a_lambda_in_it_does_not(tmp_path: Path) -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    plain, lambda_ = tmp_path / "plain", tmp_path / "lambda"
    for folder in (plain, lambda_):
        folder.mkdir()
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]).save(plain / "model.keras")
    assert open_runtime(plain, RuntimeOptions()).describe().outputs[0].shape == (-1, 3)
    keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)]).save(lambda_ / "model.keras")
    with pytest.raises(InvalidInput, match=r"Lambda .* which is code"):
        open_runtime(lambda_, RuntimeOptions())


def archive(config: object, *, extra: str | None = None) -> bytes:
    weights = io.BytesIO()
    h5py.File(weights, "w").close()
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("config.json", json.dumps(config))
        file.writestr("metadata.json", "{}")
        file.writestr("model.weights.h5", weights.getvalue())
        if extra:
            file.writestr(extra, "x")
    return data.getvalue()


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"PK no archive", Corrupted, "no Keras archive"),
        (archive({"class_name": "Mine", "module": "evil.module"}), InvalidInput, "evil.module"),
        (archive({"layers": [{"config": {"class_name": "__lambda__"}}]}), InvalidInput, "never run"),
        (archive({"class_name": "TorchModuleWrapper", "module": "keras.layers"}), InvalidInput, "never run"),
        (archive({}, extra="../../etc/passwd"), InvalidInput, "etc/passwd"),
        (archive({"a": "b" * 1}, extra="assets/code.py"), InvalidInput, r"assets/code\.py"),
    ],
)
def test_hostile_archives_are_refused(
    tmp_path: Path, data: bytes, error: type[FarlaneError], message: str
) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(data)
    with pytest.raises(error, match=message):
        check_keras_file(path)


def test_nested_too_deep_is_refused(tmp_path: Path) -> None:
    config: object = {}
    for _ in range(200):
        config = [config]
    path = tmp_path / "model.keras"
    path.write_bytes(archive(config))
    with pytest.raises(Corrupted, match="nested too deep"):
        check_keras_file(path)


def test_links_out_of_the_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
        file["secret"] = h5py.ExternalLink("/etc/other.h5", "/data")
    with pytest.raises(InvalidInput, match="link at 'secret'"):
        check_keras_file(path)
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
        file.create_dataset("far", (4,), "u1", external=[("/etc/hostname", 0, 4)])
    with pytest.raises(InvalidInput, match="out of another file"):
        check_keras_file(path)


def test_weights_without_a_model_and_truncated_files_say_so(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        file["w"] = np.zeros(3)
    with pytest.raises(InvalidInput, match="without the model"):
        check_keras_file(path)
    path.write_bytes((shipped_model("spiral") / "model.h5").read_bytes()[:5000])
    with pytest.raises(Corrupted, match="no HDF5 file"):
        check_keras_file(path)
