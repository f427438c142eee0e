"""The runtime for language models in Hugging Face's layout, through transformers and torch where a node has them.

Weights come from safetensors files alone, and code that a model's folder brings along is never run. Written against
transformers 4.50 and later; no installation has it by default, since torch alone is larger than everything else.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from farlane.domain.inference import (
    FinishReason,
    GeneratePiece,
    GenerateRequest,
    InferenceKind,
    ModelDescription,
)
from farlane.errors import InvalidInput
from farlane.models.serving.runtime import Cancelled, NoEmbeddings, NoTensors, RuntimeOptions, missing_package

PACKAGES = "transformers torch"


class TransformersRuntime(NoTensors, NoEmbeddings):
    """A causal language model behind the runtime's port.

    Args:
        folder: config.json, tokenizer files and *.safetensors.
        options: threads and context.

    Raises:
        Unavailable: transformers or torch are not installed.
    """

    def __init__(self, folder: Path, options: RuntimeOptions) -> None:
        try:
            import torch
            import transformers
        except ImportError as error:
            raise missing_package("transformers", PACKAGES, "transformers") from error
        torch.set_num_threads(options.threads)
        safe = {"local_files_only": True, "trust_remote_code": False}
        self._library: Any = transformers
        self._torch: Any = torch
        self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(str(folder), **safe)
        self._model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            str(folder), use_safetensors=True, torch_dtype="auto", **safe
        )
        self._model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        trained = int(getattr(self._model.config, "max_position_embeddings", 0) or 0)
        self._context = min(filter(None, (options.context_tokens, trained)), default=0)

    def describe(self) -> ModelDescription:
        """Say what the model is."""
        return ModelDescription(
            runtime="transformers", kinds=(InferenceKind.GENERATION,), context_tokens=self._context
        )

    def generate(self, request: GenerateRequest, cancelled: Cancelled) -> Iterator[GeneratePiece]:
        """Yield text as the model makes it.

        Raises:
            InvalidInput: the prompt is longer than the context, or a chat asked of a model without a template.
        """
        ids = self._prompt(request)
        prompt = int(ids.shape[1])
        room = (self._context or 1 << 31) - prompt
        if room < 1:
            raise InvalidInput(f"the prompt has {prompt} tokens; this model's context holds {self._context}")
        limit = min(request.sampling.max_tokens or room, room)
        pieces: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()
        counts = [0]
        left = threading.Event()
        options = self._options(request, limit, counts, lambda: cancelled() or left.is_set())
        thread = threading.Thread(target=self._write, args=(ids, options, pieces), daemon=True)
        thread.start()
        try:
            while (piece := pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                if piece and not cancelled():
                    yield GeneratePiece(piece)
        finally:
            left.set()
            thread.join()
        if not cancelled():
            finish = FinishReason.LENGTH if counts[0] >= limit else FinishReason.STOP
            yield GeneratePiece("", finish, prompt, counts[0])

    def _prompt(self, request: GenerateRequest) -> Any:
        if not request.messages:
            return self._tokenizer(request.prompt, return_tensors="pt").input_ids
        if not self._tokenizer.chat_template:
            raise InvalidInput("this model has no chat template; ask it with a prompt (/v1/completions)")
        chat = [{"role": message.role, "content": message.content} for message in request.messages]
        return self._tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )["input_ids"]

    def _options(
        self, request: GenerateRequest, limit: int, counts: list[int], ended: Cancelled
    ) -> dict[str, Any]:
        sampling = request.sampling
        torch = self._torch

        class Ended(self._library.StoppingCriteria):  # type: ignore[misc, name-defined]
            """Counts tokens, and ends a generation that nobody waits for."""

            def __call__(self, ids: Any, scores: Any, **_: Any) -> Any:
                counts[0] += 1
                return torch.full((ids.shape[0],), ended(), device=ids.device, dtype=torch.bool)

        options: dict[str, Any] = {
            "max_new_tokens": limit,
            "do_sample": sampling.temperature > 0,
            "stopping_criteria": self._library.StoppingCriteriaList([Ended()]),
        }
        if sampling.temperature > 0:
            options |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
        if sampling.stop:
            options |= {"stop_strings": list(sampling.stop), "tokenizer": self._tokenizer}
        if sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        return options

    def _write(self, ids: Any, options: dict[str, Any], pieces: queue.SimpleQueue[Any]) -> None:
        streamer = _Streamer(self._library, self._tokenizer, pieces)
        try:
            with self._torch.inference_mode():
                self._model.generate(ids.to(self._model.device), streamer=streamer.made(), **options)
            pieces.put(None)
        except BaseException as error:
            pieces.put(error)

    def close(self) -> None:
        """Free the model."""
        del self._model


class _Streamer:
    """Makes a text streamer of the library that puts each piece into a queue."""

    def __init__(self, library: Any, tokenizer: Any, pieces: queue.SimpleQueue[Any]) -> None:
        self._library = library
        self._tokenizer = tokenizer
        self._pieces = pieces

    def made(self) -> Any:
        """Return the streamer."""
        pieces = self._pieces

        class ToQueue(self._library.TextStreamer):  # type: ignore[misc, name-defined]
            """A text streamer that does not print."""

            def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
                pieces.put(text)

        return ToQueue(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
