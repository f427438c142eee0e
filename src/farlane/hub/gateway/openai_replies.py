"""OpenAI's answers: models, completions whole and in pieces, vectors and errors, as documents of JSON."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass

from farlane.domain.inference import EmbedReply, GeneratePiece
from farlane.errors import Exhausted, FarlaneError, NotFound, PermissionRefused, TooLarge, Unauthenticated
from farlane.hub.gateway.json_bodies import encoded
from farlane.hub.gateway.port import ServedModel

Document = dict[str, object]
DONE = b"data: [DONE]\n\n"


def model_document(model: ServedModel) -> Document:
    """Return one entry of GET /v1/models."""
    return {"id": model.name, "object": "model", "created": int(model.created), "owned_by": model.owner}


def model_list(models: list[ServedModel]) -> Document:
    """Return the answer to GET /v1/models."""
    return {"object": "list", "data": [model_document(one) for one in models]}


@dataclass(frozen=True, slots=True)
class Completion:
    """What all pieces of one answer carry: of a chat, or of a plain prompt."""

    chat: bool
    request_id: str
    model: str
    version: str
    created: int

    def whole(self, text: str, last: GeneratePiece) -> Document:
        """Return the answer in one document."""
        said: Document = (
            {"message": {"role": "assistant", "content": text, "refusal": None}}
            if self.chat
            else {"text": text}
        )
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": last.finish}
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._frame(kind), "choices": [choice], "usage": usage(last)}

    def piece(self, text: str, finish: str | None, *, first: bool) -> Document:
        """Return one piece of a stream."""
        said: Document
        if not self.chat:
            said = {"text": text}
        elif first:
            said = {"delta": {"role": "assistant", "content": text}}
        else:
            said = {"delta": {"content": text} if text else {}}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": finish}
        return {**self._frame(self._piece_kind()), "choices": [choice]}

    def counts(self, last: GeneratePiece) -> Document:
        """Return the piece without a choice that carries a stream's usage."""
        return {**self._frame(self._piece_kind()), "choices": [], "usage": usage(last)}

    def _piece_kind(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _frame(self, kind: str) -> Document:
        prefix = "chatcmpl" if self.chat else "cmpl"
        return {
            "id": f"{prefix}-{self.request_id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.version,
        }


def usage(last: GeneratePiece) -> Document:
    """Return the counts of a whole generation."""
    total = last.prompt_tokens + last.completion_tokens
    return {
        "prompt_tokens": last.prompt_tokens,
        "completion_tokens": last.completion_tokens,
        "total_tokens": total,
    }


def embeddings(model: str, reply: EmbedReply, *, as_base64: bool) -> Document:
    """Return the answer to POST /v1/embeddings."""
    size = reply.dimensions * 4
    rows = [reply.vectors[at : at + size] for at in range(0, len(reply.vectors), size)] if size else []
    vectors: list[object] = [
        base64.b64encode(row).decode() if as_base64 else struct.unpack(f"<{reply.dimensions}f", row)
        for row in rows
    ]
    data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    counts = {"prompt_tokens": reply.prompt_tokens, "total_tokens": reply.prompt_tokens}
    return {"object": "list", "data": data, "model": model, "usage": counts}


def event(document: Document) -> bytes:
    """Return a document as one server-sent event."""
    return b"data: " + encoded(document) + b"\n\n"


def error_document(error: FarlaneError) -> Document:
    """Return an error in OpenAI's shape."""
    kind = "invalid_request_error"
    code = error.facts.get("code")
    if isinstance(error, Unauthenticated):
        kind, code = "authentication_error", "invalid_api_key"
    elif isinstance(error, PermissionRefused):
        kind = "permission_error"
    elif isinstance(error, NotFound) and "model" in error.facts:
        code = "model_not_found"
    elif isinstance(error, TooLarge):
        code = "request_too_large"
    elif isinstance(error, Exhausted):
        kind, code = "rate_limit_error", "rate_limit_exceeded"
    elif error.http_status >= 500:
        kind = "server_error"
    param = error.facts.get("param") or None
    return {"error": {"message": error.message, "type": kind, "param": param, "code": code}}
