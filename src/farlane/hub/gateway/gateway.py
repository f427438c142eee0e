"""The gateway's core, whatever protocol a request came in: limits, the router, time-outs, and what was used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace

from farlane.domain.inference import (
    EmbedReply,
    EmbedRequest,
    GeneratePiece,
    GenerateRequest,
    InferenceKind,
    InferenceReply,
    InferenceRequest,
    TensorsReply,
)
from farlane.errors import DeadlineExceeded, FarlaneError, Internal, InvalidInput
from farlane.hub.gateway.limits import ByteBudget, Concurrency, RateLimits, Rates
from farlane.hub.gateway.metrics import GatewayMetrics
from farlane.hub.gateway.port import Caller, Router, ServedModel, Usage, UsageSink
from farlane.hub.gateway.settings import GatewaySettings
from farlane.kit.clock import Clock

LATE_S = 1.0
"""How long after a request's time the router may say by itself that it is over."""
UNSEEN_TOKENS = 256
"""Of a text that leave no trace in it: what a chat's template adds, what a stop sequence takes away."""
REPLIES = {
    InferenceKind.TENSORS: TensorsReply,
    InferenceKind.EMBEDDING: EmbedReply,
    InferenceKind.GENERATION: GeneratePiece,
}


class ClientGone(Exception):
    """The client went away, or leaves its stream unread: nobody is left to be answered."""


@dataclass(slots=True)
class Asking:
    """One request on its way: its replies, and what protocols add to its account."""

    model: ServedModel
    """Of the version that answers, from the first reply on."""
    kind: InferenceKind
    stream: AsyncGenerator[InferenceReply, None]
    timeout_s: float
    most_prompt_tokens: int = 0
    reply_bytes: int = 0
    text_bytes: int = 0
    tokens: tuple[int, int] = (0, 0)
    """Of the prompt and the completion; of a generation that was cut short, the pieces that were sent."""

    async def replies(self) -> AsyncIterator[InferenceReply]:
        """Yield the replies until their end; tokens are counted as they come.

        Raises:
            DeadlineExceeded: the model takes longer than it may.
            FarlaneError: what the router raises.
        """
        until = asyncio.get_running_loop().time() + self.timeout_s + LATE_S
        while True:
            try:
                async with asyncio.timeout_at(until):
                    reply = await anext(self.stream)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise DeadlineExceeded(
                    f"model {self.model.name!r} took longer than {self.timeout_s:g} s"
                ) from error
            if not isinstance(reply, REPLIES[self.kind]):
                raise Internal(f"model {self.model.name!r} answered {self.kind} with {type(reply).__name__}")
            self._count(reply)
            yield reply

    async def only(self) -> InferenceReply:
        """Return the reply of a request that has one.

        Raises:
            Internal: there is none.
        """
        async for reply in self.replies():
            return reply
        raise Internal(f"model {self.model.name!r} ended a request without a reply")

    def _count(self, reply: InferenceReply) -> None:
        """Count tokens: what a node says of them is believed as far as the texts can have so many."""
        if isinstance(reply, EmbedReply):
            self.tokens = min(reply.prompt_tokens, self.most_prompt_tokens), 0
        elif isinstance(reply, GeneratePiece):
            self.text_bytes += len(reply.text.encode())
            if reply.finish is not None:
                most = self.text_bytes + UNSEEN_TOKENS
                self.tokens = (
                    min(reply.prompt_tokens, self.most_prompt_tokens),
                    min(reply.completion_tokens, most),
                )
            elif reply.text:
                self.tokens = max(self.tokens[0], reply.prompt_tokens), self.tokens[1] + 1


class Gateway:
    """Everything that listeners share.

    Args:
        router: finds models and carries requests to them.
        usage: books what they used.
        clock: wall time of the books, monotonic time of the limits.
        settings: limits and time-outs.
    """

    def __init__(self, router: Router, usage: UsageSink, clock: Clock, settings: GatewaySettings) -> None:
        self.router, self._usage, self.clock, self.settings = router, usage, clock, settings
        organisation = Rates(settings.requests_per_minute, settings.tokens_per_minute)
        model = Rates(settings.model_requests_per_minute, settings.model_tokens_per_minute)
        self.limits = RateLimits(organisation, model)
        self.concurrency = Concurrency(settings.concurrent, settings.concurrent_each)
        self.bodies = ByteBudget(settings.buffer_bytes)
        self.metrics = GatewayMetrics()

    @asynccontextmanager
    async def asking(
        self,
        caller: Caller,
        model: str,
        version: str | None,
        request: InferenceRequest,
        *,
        request_id: str,
        request_bytes: int,
    ) -> AsyncIterator[Asking]:
        """Ask a model during a block. However the block ends, the replica is told and what was used is booked.

        Raises:
            NotFound: no such model for this caller.
            InvalidInput: the model cannot be asked that.
            Exhausted: over its rate; fact `retry_after_s`.
            FarlaneError: what the router raises.
        """
        served = await self.router.describe(caller, model, version)
        kind = _kind(request)
        _check_kind(served, kind)
        started = self.clock.monotonic()
        self.limits.admit(started, caller.organisation, served.id)
        usage = Usage(
            request_id=request_id, caller=caller, model=served.name, version=version or served.version, kind=kind,
            started=self.clock.now(), duration_s=0.0, request_bytes=request_bytes, deployment=served.id,
            project=served.project,
        )  # fmt: skip
        self.metrics.began(served.name)
        timeout_s, most = self.settings.timeout_s, _most_tokens(request)

        def answering(version: str) -> None:
            asking.model = replace(served, version=version)

        stream = self.router.infer(
            caller, model, version, request, request_id=request_id, timeout_s=timeout_s, answering=answering
        )
        asking = Asking(served, kind, stream, timeout_s, most)
        outcome = "cancelled"
        try:
            async with aclosing(stream):
                yield asking
            outcome = "ok"
        except ClientGone:
            raise
        except Exception as error:
            outcome = type(error).__name__ if isinstance(error, FarlaneError) else Internal.__name__
            raise
        finally:
            self._book(usage, asking, outcome, started)

    async def change(self, caller: Caller, model: str, *, load: bool) -> None:
        """Load or unload a model.

        Raises:
            DeadlineExceeded: it takes longer than a request may.
            FarlaneError: what the router raises.
        """
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                await (self.router.load if load else self.router.unload)(caller, model)
        except TimeoutError as error:
            what = "load" if load else "unload"
            raise DeadlineExceeded(
                f"model {model!r} did not {what} within {self.settings.timeout_s:g} s; it may still: look at "
                "POST /v2/repository/index"
            ) from error

    def _book(self, usage: Usage, asking: Asking, outcome: str, started: float) -> None:
        prompt, completion = asking.tokens
        now = self.clock.monotonic()
        self.limits.spend(now, usage.caller.organisation, asking.model.id, prompt + completion)
        booked = replace(
            usage, version=asking.model.version or usage.version, duration_s=now - started,
            prompt_tokens=prompt, completion_tokens=completion,
            reply_bytes=asking.reply_bytes, outcome=outcome,
        )  # fmt: skip
        self.metrics.ended(booked)
        self._usage.record(booked)


def _kind(request: InferenceRequest) -> InferenceKind:
    if isinstance(request, EmbedRequest):
        return InferenceKind.EMBEDDING
    return InferenceKind.GENERATION if isinstance(request, GenerateRequest) else InferenceKind.TENSORS


def _most_tokens(request: InferenceRequest) -> int:
    """Return more tokens than a prompt can have: one for each byte, and what templates add to each text."""
    texts: tuple[str, ...] = ()
    if isinstance(request, EmbedRequest):
        texts = request.texts
    elif isinstance(request, GenerateRequest):
        texts = (request.prompt, *(one.content for one in request.messages))
    return sum(len(one.encode()) + UNSEEN_TOKENS for one in texts)


def _check_kind(served: ServedModel, kind: InferenceKind) -> None:
    known = None if served.description is None else served.description.kinds
    if known is not None and kind not in known:
        raise InvalidInput(
            f"model {served.name!r} answers {', '.join(known)}, not {kind}: ask it by the route of that kind",
            param="model",
        )
