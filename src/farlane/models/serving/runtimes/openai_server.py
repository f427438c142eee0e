"""OpenAI's words as servers of language models speak them: what they are asked, what they stream back, their errors.

Both llama.cpp's server and vLLM's speak them; how the words travel is not said here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from farlane.domain.inference import FinishReason, GeneratePiece, GenerateRequest
from farlane.errors import FarlaneError, InvalidInput, NotFound, Unavailable
from farlane.models.serving.runtime import Cancelled

_REFUSED = frozenset([400, 413, 422])


def question(request: GenerateRequest) -> dict[str, Any]:
    """Return a request as such a server takes it."""
    sampling = request.sampling
    body: dict[str, Any] = {
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
    }
    if sampling.max_tokens is not None:
        body["max_tokens"] = sampling.max_tokens
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.seed is not None:
        body["seed"] = sampling.seed % (1 << 32)
    if request.messages:
        body["messages"] = [
            {"role": message.role, "content": message.content} for message in request.messages
        ]
    else:
        body["prompt"] = request.prompt
    return body


def pieces(chunks: Iterable[dict[str, Any]], cancelled: Cancelled, server: str) -> Iterator[GeneratePiece]:
    """Yield the text of a stream's chunks, then the reason why it ended with the counts of the whole.

    Args:
        chunks: of a chat or a completion, with the usage in one of them.
        cancelled: True drops what still comes.
        server: its name, for errors.

    Raises:
        FarlaneError: what a chunk says that went wrong; `Unavailable` where none says why the text ended.
    """
    finish: FinishReason | None = None
    prompt = completion = 0
    for chunk in chunks:
        if "error" in chunk:
            raise error_of(server, chunk)
        if usage := chunk.get("usage"):
            prompt, completion = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
        for choice in chunk.get("choices", ()):
            text = choice["delta"].get("content") if "delta" in choice else choice.get("text")
            if text and not cancelled():
                yield GeneratePiece(text)
            if choice.get("finish_reason"):
                finish = FinishReason.LENGTH if choice["finish_reason"] == "length" else FinishReason.STOP
    if cancelled():
        return
    if finish is None:
        raise Unavailable(f"{server} ended its answer without a reason; ask again")
    yield GeneratePiece("", finish, prompt, completion)


def error_of(server: str, answer: object, status: int = 0) -> FarlaneError:
    """Return the error that a server's answer stands for.

    Args:
        server: its name.
        answer: the JSON that it sent.
        status: of HTTP; 0 takes the code that the answer has.
    """
    said = answer.get("error", answer) if isinstance(answer, dict) else answer
    facts = said if isinstance(said, dict) else {}
    message = str(facts.get("message", said))[:1000]
    kind, code = str(facts.get("type", "")), status or facts.get("code")
    if code in _REFUSED:
        return InvalidInput(f"{server} refused the request: {message}", kind=kind)
    if code == 404:
        return NotFound(f"{server} does not know what it was asked for: {message}", kind=kind)
    return Unavailable(f"{server} failed: {message}", kind=kind)
