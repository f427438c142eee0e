"""The runtime for language models in Hugging Face's layout on GPUs, through vLLM's own server where a node has it.

For vLLM from about 0.14, the first with `--uds`. Its server is a child of the replica and is asked over a unix socket,
which keeps others of the machine from the paths that its key does not guard (docs/usage/security.md of vLLM).
Weights come from safetensors files alone; code that a model's folder brings along is never run.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from farlane.domain.inference import (
    GeneratePiece,
    GenerateRequest,
    InferenceKind,
    ModelDescription,
)
from farlane.errors import FarlaneError, InvalidInput
from farlane.models.serving.gpus import visible_gpus
from farlane.models.serving.runtime import Cancelled, NoEmbeddings, NoTensors, RuntimeOptions, missing_package
from farlane.models.serving.runtimes.model_server import ModelServer
from farlane.models.serving.runtimes.openai_server import pieces, question

SERVER = "vLLM"
NAME = "model"
"""The model's name between the two processes."""


class VllmRuntime(NoTensors, NoEmbeddings):
    """A causal language model behind the runtime's port.

    Args:
        folder: config.json, tokenizer files and *.safetensors.
        options: streams and context; its threads are the environment's.

    Raises:
        Unavailable: vLLM is not installed.
        ConnectionLost: vLLM cannot load the model, and ended.
    """

    def __init__(self, folder: Path, options: RuntimeOptions) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise missing_package("vllm", "vllm", "vllm")
        self._server = ModelServer(
            SERVER,
            lambda path, key: (command(folder, path, options, gpus=visible_gpus()), environment(key)),
        )
        try:
            [card] = self._server.client.call("GET", "/v1/models")["data"]
        except BaseException:
            self._server.close()
            raise
        self._context = int(card["max_model_len"])

    def describe(self) -> ModelDescription:
        """Say what the model is."""
        return ModelDescription(
            runtime="vllm", kinds=(InferenceKind.GENERATION,), context_tokens=self._context
        )

    def generate(self, request: GenerateRequest, cancelled: Cancelled) -> Iterator[GeneratePiece]:
        """Yield text as vLLM makes it.

        vLLM refuses prompts that leave less room than `max_tokens`, and a completion is 16 tokens where none is given,
        so the prompt is counted first.

        Raises:
            InvalidInput: the prompt is empty or longer than the context, or a chat asked of a model without a template.
            ConnectionLost: vLLM died.
        """
        asked = question(request)
        subject = {"model": NAME} | {name: asked[name] for name in ("messages", "prompt") if name in asked}
        count = int(self._server.client.call("POST", "/tokenize", subject)["count"])
        body = question(fitted(request, count, self._context)) | {"model": NAME}
        path = "/v1/chat/completions" if request.messages else "/v1/completions"
        yield from pieces(self._server.client.stream(path, body, cancelled), cancelled, SERVER)

    def wait(self) -> FarlaneError | None:
        """See `Backed.wait`."""
        return self._server.wait()

    def close(self) -> None:
        """End vLLM, and free the GPU."""
        self._server.close()


def fitted(request: GenerateRequest, count: int, context: int) -> GenerateRequest:
    """Return a request as vLLM takes it: no longer than what the prompt leaves of the context.

    Args:
        request: as it came.
        count: tokens of its prompt.
        context: tokens of prompt and answer together.

    Raises:
        InvalidInput: the prompt leaves no room, or is empty.
    """
    room = context - count
    if room < 1 or count < 1:
        raise InvalidInput(f"the prompt has {count} tokens; this model's context holds {context}")
    sampling = request.sampling
    limit = min(sampling.max_tokens or room, room)
    return replace(request, sampling=replace(sampling, max_tokens=limit, top_p=max(sampling.top_p, 1e-9)))


def command(folder: Path, path: Path, options: RuntimeOptions, *, gpus: int) -> list[str]:
    """Return the command line of vLLM's server; it logs no requests unless told to.

    Source, in vLLM's repository: `vllm/entrypoints/openai/cli_args.py` (`--uds`, `--disable-*`), `api_server.py` beside
    it (the module as a program), `vllm/engine/arg_utils.py` and `vllm/config/{model,load,scheduler,parallel}.py` (the
    others). `--disable-log-requests` is gone since 0.11.

    Args:
        folder: the model's files.
        path: where it listens.
        options: streams are sequences that run at the same time; a context of 0 is the model's own.
        gpus: that share the model's tensors.
    """
    flags: dict[str, Any] = {
        "model": folder,
        "served-model-name": NAME,
        "uds": path,
        "load-format": "safetensors",
        "generation-config": "vllm",  # what a request does not say is not the model's to say
        "max-num-seqs": options.streams,
    }
    if options.context_tokens:
        flags["max-model-len"] = options.context_tokens
    if gpus > 1:
        flags["tensor-parallel-size"] = gpus
    parts = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    server = [sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server"]
    return [*server, *parts, "--disable-uvicorn-access-log", "--disable-fastapi-docs"]


def environment(key: str) -> Mapping[str, str]:
    """Return what vLLM's environment has besides: the key, which a command line would show, and nothing sent anywhere.

    Source: `vllm/envs.py` in vLLM's repository; docs/usage/security.md for the addresses.
    """
    return {
        "VLLM_API_KEY": key,
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_SERVER_DEV_MODE": "0",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
