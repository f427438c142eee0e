"""What a replica has served: counted request by request, on both sides of its stream and in the same way."""

from __future__ import annotations

from dataclasses import dataclass, fields

from farlane.domain.inference import EmbedReply, GeneratePiece, InferenceReply


@dataclass(frozen=True, slots=True)
class Served:
    """Sums over requests that have ended.

    failed: those of them that ended with an error, or were cancelled; tokens: as the model's runtime counts them;
    request_bytes, reply_bytes: as they travel between hub and node.
    """

    requests: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    request_bytes: int = 0
    reply_bytes: int = 0

    def plus(self, other: Served) -> Served:
        """Return both sums as one."""
        return Served(*(getattr(self, name) + getattr(other, name) for name in FIGURES))

    def beyond(self, other: Served) -> str:
        """Return the first figure that is larger than another's, "" where none is."""
        return next((name for name in FIGURES if getattr(self, name) > getattr(other, name)), "")


FIGURES = tuple(field.name for field in fields(Served))


@dataclass(slots=True)
class RequestTally:
    """One request under way: what has come of it so far. None of its figures ever falls."""

    request_bytes: int = 0
    reply_bytes: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def count(self, reply: InferenceReply) -> None:
        """Count the tokens of one reply; a generation that is cut short counts the pieces that came."""
        if isinstance(reply, EmbedReply):
            self.prompt_tokens = max(self.prompt_tokens, reply.prompt_tokens)
        elif isinstance(reply, GeneratePiece):
            pieces = self.completion_tokens + bool(reply.text and reply.finish is None)
            self.completion_tokens = max(pieces, reply.completion_tokens)
            self.prompt_tokens = max(self.prompt_tokens, reply.prompt_tokens)

    def ended(self, *, failed: bool) -> Served:
        """Return what it comes to."""
        return Served(
            1, int(failed), self.prompt_tokens, self.completion_tokens, self.request_bytes, self.reply_bytes
        )
