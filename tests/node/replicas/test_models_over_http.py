"""Models of every kind behind a real hub, asked as strangers ask them: the Open Inference Protocol and OpenAI's API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from importlib.metadata import distribution
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from farlane.demo.novelist import shipped_model
from farlane.testing.model_world import ModelWorld
from farlane.testing.tiny_deepseek import write_deepseek_model
from farlane.testing.tiny_encoders import write_gguf_encoder, write_onnx_encoder
from farlane.testing.tiny_models import write_onnx_model, write_sentence_model

PACKAGED = {
    "silero": ("silero-vad", "silero_vad/data/silero_vad.onnx"),
    "magika": ("magika", "magika/models/standard_v3_3/model.onnx"),
    "reader": ("rapidocr", "rapidocr/models/PP-OCRv6_rec_small.onnx"),
}
TYPES = {"<f4": "FP32", "<i4": "INT32", "<i8": "INT64"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ModelWorld]:
    folders = {
        "sentence": write_sentence_model(tmp_path / "sentence"),
        "onnx": write_onnx_encoder(tmp_path / "onnx"),
        "gguf": write_gguf_encoder(tmp_path / "gguf"),
        "deepseek": write_deepseek_model(tmp_path / "deepseek"),
        "spiral": shipped_model("spiral"),
        "twice": write_onnx_model(tmp_path / "twice"),
    }
    for name, (package, file) in PACKAGED.items():
        folders[name] = tmp_path / name
        folders[name].mkdir()
        (folders[name] / "model.onnx").symlink_to(str(distribution(package).locate_file(file)))
    async with ModelWorld(tmp_path, folders).running() as world:
        yield world


async def inferred(http: aiohttp.ClientSession, model: str, **arrays: np.ndarray) -> list[np.ndarray]:
    """Return the arrays that a model gives, asked and answered in JSON."""
    inputs = [
        {
            "name": name,
            "shape": array.shape,
            "datatype": TYPES[array.dtype.str],
            "data": array.ravel().tolist(),
        }
        for name, array in arrays.items()
    ]
    async with http.post(f"/v2/models/{model}/infer", json={"inputs": inputs}) as answer:
        said = await answer.json()
        assert answer.status == 200, said
    return [np.array(one["data"], "<f4").reshape(one["shape"]) for one in said["outputs"]]


async def array_names(http: aiohttp.ClientSession, model: str) -> list[str]:
    """Return the names of a model's inputs, once it answers."""
    async with http.get(f"/v2/models/{model}") as answer:
        found: Mapping[str, list[dict[str, str]]] = await answer.json()
    return [one["name"] for one in found["inputs"]]


@pytest.mark.skipif(find_spec("keras") is None or find_spec("jax") is None, reason="keras or jax is missing")
async def test_a_keras_model_answers_the_open_inference_protocol(world: ModelWorld) -> None:
    world.deploy("spiral", "spiral")
    angle = 4.0 * 0.6 + np.arange(3) * 2 * np.pi / 3  # the middle of each of three arms
    points = (0.6 * np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype("<f4")
    async with world.http() as http:
        [shares] = await inferred(http, "spiral", point=points)
        assert shares.argmax(axis=1).tolist() == [0, 1, 2]
        assert await array_names(http, "spiral") == ["point"]


async def test_packaged_onnx_models_answer_the_open_inference_protocol(world: ModelWorld) -> None:
    for name in PACKAGED:
        world.deploy(name, name)
    async with world.http() as http:
        silence = {"input": np.zeros((1, 576), "<f4"), "state": np.zeros((2, 1, 128), "<f4")}
        speech, state = await inferred(http, "silero", **silence, sr=np.array(16_000, "<i8"))
        assert speech.item() < 0.2
        assert state.shape == (2, 1, 128)
        page = b"<!DOCTYPE html><html><head><title>t</title></head><body><p>one</p></body></html>" * 3
        ends = [*page, *([256] * (2048 - 2 * len(page))), *page]
        [kinds] = await inferred(http, "magika", bytes=np.array([ends], "<i4"))
        assert kinds.sum() == pytest.approx(1, abs=1e-3)
        [letters] = await inferred(http, "reader", x=np.ones((1, 3, 48, 96), "<f4"))
        assert letters.shape[0] == 1
        assert letters.argmax(axis=2).max() == 0  # an empty line has no letter


async def test_encoders_of_every_runtime_give_openai_clients_the_same_vectors(world: ModelWorld) -> None:
    rows = {}
    for name in ("sentence", "onnx", "gguf"):
        world.deploy(name, name)
    async with world.http() as http:
        for name in ("sentence", "onnx", "gguf"):
            asked = {"model": name, "input": ["the cat sat on a mat", "a red road"]}
            async with http.post("/v1/embeddings", json=asked) as answer:
                said = await answer.json()
                assert answer.status == 200, said
            rows[name] = np.array([one["embedding"] for one in said["data"]])
            assert said["usage"]["prompt_tokens"] == 13
    assert ((rows["sentence"] * rows["onnx"]).sum(axis=1) > 0.99999).all()
    assert ((rows["sentence"] * rows["gguf"]).sum(axis=1) > 0.999).all()


async def test_deepseeks_architecture_streams_a_chat_to_openai_clients(world: ModelWorld) -> None:
    world.deploy("seek", "deepseek", context_tokens="64")
    chat = [{"role": "user", "content": "the"}]
    asked = {"model": "seek", "messages": chat, "max_tokens": 12, "temperature": 0, "stream": True}
    async with (
        world.http() as http,
        http.post("/v1/chat/completions", json=asked | {"stream_options": {"include_usage": True}}) as answer,
    ):
        assert answer.content_type == "text/event-stream"
        events = [line.removeprefix(b"data: ").strip() async for line in answer.content if line.strip()]
    *pieces, counts, mark = events
    assert mark == b"[DONE]"
    assert json.loads(counts)["usage"]["completion_tokens"] == 12
    assert len(pieces) > 3
    assert json.loads(pieces[-1])["choices"][0]["finish_reason"] == "length"


async def test_large_answers_come_whole_to_slow_clients_side_by_side(world: ModelWorld) -> None:
    world.deploy("twice", "twice")
    rows = np.arange(3 << 20, dtype="<f4").reshape(-1, 3)  # 12 MiB: three times what may be under way

    async def doubled(http: aiohttp.ClientSession) -> bytes:
        wanted = {"name": "y", "parameters": {"binary_data": True}}
        given = {
            "name": "x",
            "shape": rows.shape,
            "datatype": "FP32",
            "parameters": {"binary_data_size": rows.nbytes},
        }
        head = json.dumps({"inputs": [given], "outputs": [wanted]}).encode()
        sent = {"Inference-Header-Content-Length": str(len(head))}
        async with http.post(
            "/v2/models/twice/infer", data=BytesIO(head + rows.tobytes()), headers=sent
        ) as answer:
            assert answer.status == 200, await answer.text()
            found = bytearray()
            while piece := await answer.content.read(1 << 18):
                found += piece
                await asyncio.sleep(0.002)
        return bytes(found[int(answer.headers["Inference-Header-Content-Length"]) :])

    async with world.http() as http:
        answers = await asyncio.gather(*(doubled(http) for _ in range(4)))
    assert [answer == (2 * rows).tobytes() for answer in answers] == [True] * 4
