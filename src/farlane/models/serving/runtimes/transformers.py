"""The runtime for language models in Hugging Face's layout, through transformers and torch where a node has them.

Weights come from safetensors files alone, and code that a model's folder brings along is never run. For transformers
4.56 and later; no installation has it by default, since torch alone is larger than everything else.
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
from farlane.models.serving.runtimes.stops import StopFilter

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
        transformers.utils.logging.disable_progress_bar()
        safe = {"local_files_only": True, "trust_remote_code": False}
        self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(str(folder), **safe)
        self._model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            str(folder), use_safetensors=True, dtype="auto", **safe
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
            InvalidInput: the prompt is empty or longer than the context, or a chat asked of a model without a template.
        """
        ids = self._prompt(request)
        prompt = int(ids.shape[1])
        room = (self._context or 1 << 31) - prompt
        if room < 1 or prompt < 1:
            raise InvalidInput(f"the prompt has {prompt} tokens; this model's context holds {self._context}")
        limit = min(request.sampling.max_tokens or room, room)
        stops = StopFilter(request.sampling.stop)
        writing = _Writing(self._model, self._tokenizer, request, lambda: cancelled() or stops.found)
        with writing.pieces(ids, limit) as pieces:
            for text in pieces:
                if (shown := stops.feed(text)) and not cancelled():
                    yield GeneratePiece(shown)
        if cancelled():
            return
        if rest := stops.rest():
            yield GeneratePiece(rest)
        stopped = stops.found or writing.ended
        finish = FinishReason.STOP if stopped or writing.count < limit else FinishReason.LENGTH
        yield GeneratePiece("", finish, prompt, writing.count)

    def _prompt(self, request: GenerateRequest) -> Any:
        if not request.messages:
            return self._tokenizer(request.prompt, return_tensors="pt").input_ids
        if not self._tokenizer.chat_template:
            raise InvalidInput("this model has no chat template; ask it with a prompt (/v1/completions)")
        chat = [{"role": message.role, "content": message.content} for message in request.messages]
        return self._tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )["input_ids"]

    def close(self) -> None:
        """Free the model."""
        del self._model


class _Writing:
    """One generation: a thread that writes, and the pieces that come of it.

    Args:
        model: writes.
        tokenizer: its words.
        request: how the next token is drawn.
        over: nobody waits any more.
    """

    def __init__(self, model: Any, tokenizer: Any, request: GenerateRequest, over: Cancelled) -> None:
        self._model, self._tokenizer, self._sampling, self._over = model, tokenizer, request.sampling, over
        self._left = threading.Event()
        self._queue: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()
        self.count = 0
        """Tokens that were written, the end's included."""
        self.ended = False
        """Whether the model ended it by itself."""

    def pieces(self, ids: Any, limit: int) -> _Pieces:
        """Begin to write, and return the pieces; leaving their block ends the thread."""
        thread = threading.Thread(target=self._write, args=(ids, limit), daemon=True)
        return _Pieces(thread, self._queue, self._left)

    def _write(self, ids: Any, limit: int) -> None:
        import torch
        import transformers

        writing, pieces = self, self._queue
        ends = self._model.generation_config.eos_token_id
        last = set(ends if isinstance(ends, list) else [ends])

        class Told(transformers.TextStreamer):  # type: ignore[misc]
            """Tells text instead of printing it."""

            def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
                pieces.put(text)

        class Ended(transformers.StoppingCriteria):  # type: ignore[misc]
            """Counts tokens, and ends a generation that nobody waits for."""

            def __call__(self, ids: Any, scores: Any, **_: Any) -> Any:
                writing.count += 1
                writing.ended = int(ids[0, -1]) in last
                over = writing._left.is_set() or writing._over()
                return torch.full((ids.shape[0],), over, device=ids.device, dtype=torch.bool)

        try:
            with torch.inference_mode():
                placed = ids.to(self._model.device)
                self._model.generate(
                    placed,
                    attention_mask=torch.ones_like(placed),
                    max_new_tokens=limit,
                    do_sample=False,  # `Drawn` has drawn: the likeliest is the only one left
                    logits_processor=transformers.LogitsProcessorList(
                        [_drawn(self._sampling, placed.shape[1])]
                    ),
                    stopping_criteria=transformers.StoppingCriteriaList([Ended()]),
                    streamer=Told(self._tokenizer, skip_prompt=True, skip_special_tokens=True),
                    pad_token_id=min(filter(lambda each: each is not None, last), default=0),
                )
            pieces.put(None)
        except BaseException as error:
            pieces.put(error)


class _Pieces:
    """What a thread writes, as long as the block lasts."""

    def __init__(
        self,
        thread: threading.Thread,
        pieces: queue.SimpleQueue[str | BaseException | None],
        left: threading.Event,
    ) -> None:
        self._thread, self._queue, self._left = thread, pieces, left

    def __enter__(self) -> Iterator[str]:
        self._thread.start()
        return self._all()

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    def _all(self) -> Iterator[str]:
        while (piece := self._queue.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece


def _drawn(sampling: Any, prompt: int) -> Any:
    """Return a processor that draws the next token by itself: its random numbers are this request's alone."""
    import torch
    import transformers

    chance = torch.Generator()
    if sampling.seed is None:
        chance.seed()
    else:
        chance.manual_seed(sampling.seed & (1 << 63) - 1)

    class Drawn(transformers.LogitsProcessor):  # type: ignore[misc]
        """Leaves one token: (rows, words) of scores, all but one of a row below zero without end."""

        def __call__(self, ids: Any, scores: Any) -> Any:
            rows = scores.float()
            if sampling.frequency_penalty or sampling.presence_penalty:
                counts = torch.zeros_like(rows).scatter_add_(
                    1, ids[:, prompt:], torch.ones_like(ids[:, prompt:], dtype=rows.dtype)
                )
                rows = rows - sampling.frequency_penalty * counts - sampling.presence_penalty * (counts > 0)
            if sampling.temperature > 0:
                likely, order = torch.softmax(rows / sampling.temperature, dim=-1).cpu().sort(descending=True)
                likely[likely.cumsum(-1) - likely >= max(sampling.top_p, 1e-9)] = 0  # the likeliest stays
                chosen = order.gather(1, torch.multinomial(likely, 1, generator=chance)).to(rows.device)
            else:
                chosen = rows.argmax(-1, keepdim=True)
            return torch.full_like(scores, float("-inf")).scatter_(1, chosen, 0.0)

    return Drawn()
