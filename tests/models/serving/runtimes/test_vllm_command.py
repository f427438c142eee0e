"""What is known of the vLLM runtime without vLLM: when it is chosen, how it is started, how a request is fitted."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from farlane.domain.inference import GenerateRequest, Sampling
from farlane.errors import InvalidInput, Unavailable
from farlane.models.serving import runtime as runtimes
from farlane.models.serving.gpus import gpus_environment, visible_gpus
from farlane.models.serving.replica_client import ReplicaSpec, _environment
from farlane.models.serving.runtime import (
    EITHER,
    RuntimeOptions,
    choose_runtime,
    installed_runtimes,
    open_runtime,
)
from farlane.models.serving.runtimes.vllm import command, environment, fitted


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    for name in ("model-00001-of-00001.safetensors", "model.safetensors.index.json", "tokenizer.json"):
        (tmp_path / name).touch()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return tmp_path


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_where_it_is_missing_that_is_said(llama: Path) -> None:
    assert "vllm" not in installed_runtimes()
    with pytest.raises(Unavailable, match="needs the package vllm, which is not installed: pip install vllm"):
        open_runtime(llama, RuntimeOptions(), "vllm")


@pytest.mark.parametrize(
    ("installed", "gpus", "chosen"),
    [(True, "0", "vllm"), (True, "", "transformers"), (False, "0", "transformers")],
)
def test_it_is_chosen_where_it_is_installed_and_a_gpu_is_there(
    llama: Path, monkeypatch: pytest.MonkeyPatch, installed: bool, gpus: str, chosen: str
) -> None:
    monkeypatch.setattr(runtimes, "_is_installed", lambda name: installed)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    assert choose_runtime(llama) == choose_runtime(llama, EITHER) == chosen
    assert (EITHER in installed_runtimes()) == installed
    assert choose_runtime(llama, "transformers") == "transformers"


def test_a_replica_sees_the_gpus_of_its_share_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for gpus, seen in (((), 0), ((1, 3), 2)):
        for name, value in gpus_environment(gpus).items():
            monkeypatch.setenv(name, value)
        assert visible_gpus() == seen
        assert _environment(ReplicaSpec(folder=tmp_path, gpus=gpus))["CUDA_VISIBLE_DEVICES"] == ",".join(
            map(str, gpus)
        )
    assert _environment(ReplicaSpec(folder=tmp_path))["CUDA_VISIBLE_DEVICES"] == "1,3"


def test_the_command_line_names_all_that_differs_from_vllms_defaults(tmp_path: Path) -> None:
    line = command(tmp_path, Path("/run/http.sock"), RuntimeOptions(streams=8, context_tokens=512), gpus=2)
    assert line[1:] == [
        "-P", "-m", "vllm.entrypoints.openai.api_server", "--model", str(tmp_path), "--served-model-name", "model",
        "--uds", "/run/http.sock", "--load-format", "safetensors", "--generation-config", "vllm",
        "--max-num-seqs", "8", "--max-model-len", "512", "--tensor-parallel-size", "2",
        "--disable-uvicorn-access-log", "--disable-fastapi-docs",
    ]  # fmt: skip
    plain = command(tmp_path, Path("/run/http.sock"), RuntimeOptions(), gpus=1)
    assert not {"--max-model-len", "--tensor-parallel-size", "--trust-remote-code"} & set(plain)


def test_the_key_is_in_the_environment_where_no_command_line_shows_it() -> None:
    assert environment("secret")["VLLM_API_KEY"] == "secret"
    assert environment("secret")["VLLM_NO_USAGE_STATS"] == "1"


@pytest.mark.parametrize(("asked", "length"), [(None, 60), (10, 10), (4096, 60)])
def test_an_answer_is_no_longer_than_what_the_prompt_leaves(asked: int | None, length: int) -> None:
    request = GenerateRequest(prompt="word", sampling=Sampling(max_tokens=asked))
    assert fitted(request, 4, 64).sampling.max_tokens == length


@pytest.mark.parametrize("count", [0, 64, 65])
def test_a_prompt_that_is_empty_or_leaves_no_room_is_refused(count: int) -> None:
    with pytest.raises(InvalidInput, match=f"the prompt has {count} tokens; this model's context holds 64"):
        fitted(GenerateRequest(prompt="word"), count, 64)
