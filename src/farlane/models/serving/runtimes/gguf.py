"""The runtime for GGUF models: llama.cpp inside this process, streaming, with the chat template that the file carries.

llama.cpp's server part runs in process and is asked through its Python binding. It also listens on a loopback port that
nothing here uses; a random key that nobody is told keeps others from it.
"""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from farlane.domain.inference import (
    EmbedReply,
    EmbedRequest,
    GeneratePiece,
    GenerateRequest,
    InferenceKind,
    ModelDescription,
)
from farlane.errors import Corrupted
from farlane.models.serving.runtime import (
    Cancelled,
    NoTensors,
    RuntimeOptions,
    missing_package,
    only_file,
    refusal,
)
from farlane.models.serving.runtimes.gguf_header import read_header
from farlane.models.serving.runtimes.openai_server import error_of, pieces, question
from farlane.models.serving.runtimes.sentence import cut

if TYPE_CHECKING:
    from xllamacpp import Server

ENCODERS = frozenset(
    ["bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "modern-bert", "t5encoder"]
)
"""Architectures of llama.cpp that embed and do not write."""
SERVER = "llama.cpp"
DEFAULT_CONTEXT = 4096
"""Longest context taken without being asked: beyond it the memory for it grows past what most nodes offer."""


class GgufRuntime(NoTensors):
    """One GGUF file behind the runtime's port.

    Args:
        folder: holds one .gguf file.
        options: threads, streams and context.

    Raises:
        Corrupted: it is no GGUF file that llama.cpp can load.
        Unavailable: xllamacpp is not installed.
    """

    def __init__(self, folder: Path, options: RuntimeOptions) -> None:
        path = only_file(folder, ".gguf")
        header = read_header(path)
        trained = header.context_tokens or DEFAULT_CONTEXT
        context = min(options.context_tokens or DEFAULT_CONTEXT, trained)
        encoder = header.architecture in ENCODERS or header.pooling > 0
        self._server = _load(path, options, context, encoder=encoder)
        kind = InferenceKind.EMBEDDING if encoder else InferenceKind.GENERATION
        self._description = ModelDescription(
            runtime="gguf",
            kinds=(kind,),
            context_tokens=context,
            max_batch=options.streams,
            dimensions=header.width if encoder else 0,
        )

    def describe(self) -> ModelDescription:
        """Say what the model is."""
        return self._description

    def embed(self, request: EmbedRequest) -> EmbedReply:
        """Turn each text into a unit vector.

        Raises:
            InvalidInput: the model writes and has no embeddings, or a text is longer than its context.
        """
        if InferenceKind.EMBEDDING not in self._description.kinds:
            raise refusal(self, InferenceKind.EMBEDDING)
        vectors, counts = [], []
        for text in request.texts:
            answer: dict[str, Any] = self._server.handle_embeddings({"input": text})
            if "error" in answer:
                raise error_of(SERVER, answer)
            vectors.append(answer["data"][0]["embedding"])
            counts.append(int(answer["usage"]["prompt_tokens"]))
        rows = np.array(vectors, np.float32).reshape(len(vectors), -1)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
        rows = cut(rows, request.dimensions)
        return EmbedReply(rows.astype("<f4").tobytes(), rows.shape[1], sum(counts), tuple(counts))

    def generate(self, request: GenerateRequest, cancelled: Cancelled) -> Iterator[GeneratePiece]:
        """Yield text as llama.cpp makes it.

        Raises:
            InvalidInput: an encoder, a prompt longer than the context, or a chat that the template refuses.
        """
        if InferenceKind.GENERATION not in self._description.kinds:
            raise refusal(self, InferenceKind.GENERATION)
        return self._stream(request, cancelled)

    def _stream(self, request: GenerateRequest, cancelled: Cancelled) -> Iterator[GeneratePiece]:
        """Let llama.cpp call back in a thread of its own and yield here what it says."""
        chunks: queue.SimpleQueue[dict[str, Any] | BaseException | None] = queue.SimpleQueue()
        left = threading.Event()

        def take(chunk: dict[str, Any]) -> bool:
            chunks.put(chunk)
            return left.is_set() or cancelled()

        def run() -> None:
            try:
                handle = (
                    self._server.handle_chat_completions
                    if request.messages
                    else self._server.handle_completions
                )
                handle(_question(request), take)
                chunks.put(None)
            except BaseException as error:
                chunks.put(error)

        thread = threading.Thread(target=run, name="llama.cpp", daemon=True)
        thread.start()
        try:
            yield from pieces(_each(chunks), cancelled, SERVER)
        finally:
            left.set()
            thread.join()  # at most one token later

    def close(self) -> None:
        """Free the model."""
        del self._server


def _each(
    chunks: queue.SimpleQueue[dict[str, Any] | BaseException | None],
) -> Iterator[dict[str, Any]]:
    while (chunk := chunks.get()) is not None:
        if isinstance(chunk, BaseException):
            raise chunk
        yield chunk


def _question(request: GenerateRequest) -> dict[str, Any]:
    """Return a request for llama.cpp; for a seed nothing is taken from the cache.

    A prompt that is half in the cache is summed in another order, and then the same seed gives another answer.
    """
    body = question(request)
    return body if request.sampling.seed is None else body | {"cache_prompt": False}


def _load(path: Path, options: RuntimeOptions, context: int, *, encoder: bool) -> Server:
    try:
        import xllamacpp
    except ImportError as error:
        raise missing_package("xllamacpp", "serve", "gguf") from error
    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.n_ctx = context * options.streams
    settings.n_parallel = options.streams
    settings.cpuparams.n_threads = options.threads
    settings.cpuparams_batch.n_threads = options.threads
    settings.n_gpu_layers = 0 if not xllamacpp.get_device_info() else -1
    settings.use_jinja = True
    settings.warmup = False
    settings.verbosity = 2  # warnings and errors: nothing of what clients ask goes into a log
    settings.embedding = encoder
    if encoder:
        settings.n_batch = settings.n_ubatch = context
    settings.hostnames = ["127.0.0.1"]
    settings.api_keys = [secrets.token_hex(32)]
    settings.ui = settings.endpoint_slots = settings.endpoint_props = False
    try:
        return xllamacpp.Server(settings)
    except Exception as error:  # the binding raises RuntimeError, and what std::exception maps to
        raise Corrupted(
            f"llama.cpp cannot load {path.name}: {error}. Its architecture may be newer than the installed xllamacpp, "
            "or the file may be cut short; the replica's log has llama.cpp's own words"
        ) from error
