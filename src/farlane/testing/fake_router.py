"""The fake router: three models that need no weights, for tests of what asks a router.

echo      generation   says the prompt, or the last message, back word by word; each word is a token
digest    embedding    SHA-256 of each text as eight numbers in [0, 1), normalised
mirror    tensors      gives every input back under its own name, prefixed by `out_`
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import struct
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace

from farlane.domain.inference import (
    Datatype,
    EmbedReply,
    EmbedRequest,
    FinishReason,
    GeneratePiece,
    GenerateRequest,
    InferenceKind,
    InferenceReply,
    InferenceRequest,
    ModelDescription,
    TensorSpec,
    TensorsReply,
    TensorsRequest,
)
from farlane.errors import FarlaneError, InvalidInput, PermissionRefused, Unavailable
from farlane.hub.gateway.port import Answering, Caller, ModelState, ServedModel, no_note, unknown_model

VERSION = "bafyfakeversion2"
OLD_VERSION = "bafyfakeversion1"
DIMENSIONS = 8
_WORD = re.compile(r"\s*\S+\s*?")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it reached the router."""

    caller: Caller
    model: str
    version: str | None
    request: InferenceRequest
    request_id: str
    timeout_s: float


def _served(name: str, kind: InferenceKind, *specs: tuple[TensorSpec, ...]) -> ServedModel:
    inputs, outputs = specs or ((), ())
    what = ModelDescription(runtime="fake", kinds=(kind,), inputs=inputs, outputs=outputs, context_tokens=512)
    return ServedModel(
        name=name,
        version=VERSION,
        versions=(OLD_VERSION, VERSION),
        description=what,
        created=1_700_000_000.0,
        owner="acme",
    )


class FakeRouter:
    """Implements the `Router` port in memory.

    Args:
        paused: generations stop before each piece until `step` is called; others do not wait.
    """

    def __init__(self, *, paused: bool = False) -> None:
        numbers = TensorSpec("x", Datatype.FP32, (-1, 3)), TensorSpec("out_x", Datatype.FP32, (-1, 3))
        self.served = {
            one.name: one
            for one in (
                _served("digest", InferenceKind.EMBEDDING),
                _served("echo", InferenceKind.GENERATION),
                _served("mirror", InferenceKind.TENSORS, (numbers[0],), (numbers[1],)),
            )
        }
        self.asked: list[Asked] = []
        self.running = 0
        self.cancelled: list[str] = []
        """Ids of requests whose generator was closed before its end."""
        self.failure: FarlaneError | None = None
        """Raised by the next request, at its start or after `fail_after` pieces."""
        self.fail_after = 0
        self.answering = ""
        """The version that answers where none is asked for; empty: the one that `describe` tells."""
        self.down = ""
        """What `trouble` tells."""
        self._turns = asyncio.Semaphore(0) if paused else None

    def step(self, pieces: int = 1) -> None:
        """Let a paused generation give so many more pieces."""
        assert self._turns is not None, "only a paused router is stepped"
        for _ in range(pieces):
            self._turns.release()

    def trouble(self) -> str:
        """See `Router.trouble`."""
        return self.down

    async def models(self, caller: Caller) -> list[ServedModel]:
        """See `Router.models`."""
        return [self.served[name] for name in sorted(self.served)]

    async def describe(self, caller: Caller, model: str, version: str | None) -> ServedModel:
        """See `Router.describe`."""
        found = self.served.get(model)
        if found is None or version not in (None, *found.versions):
            raise unknown_model(model, version)
        return found if version is None else replace(found, version=version)

    async def infer(
        self,
        caller: Caller,
        model: str,
        version: str | None,
        request: InferenceRequest,
        *,
        request_id: str,
        timeout_s: float,
        answering: Answering = no_note,
    ) -> AsyncGenerator[InferenceReply, None]:
        """See `Router.infer`."""
        self.asked.append(Asked(caller, model, version, request, request_id, timeout_s))
        found = await self.describe(caller, model, version)
        if found.state is not ModelState.READY:
            raise Unavailable(f"model {model!r} is {found.state.lower()}", retry_after_s=3)
        if self.failure is not None and not self.fail_after:
            raise self.failure
        answering(version or self.answering or found.version)
        self.running += 1
        ended = False
        try:
            async for reply in self._replies(request):
                yield reply
            ended = True
        finally:
            self.running -= 1
            if not ended:
                self.cancelled.append(request_id)

    async def load(self, caller: Caller, model: str) -> None:
        """See `Router.load`."""
        self._set_state(caller, model, ModelState.READY)

    async def unload(self, caller: Caller, model: str) -> None:
        """See `Router.unload`."""
        self._set_state(caller, model, ModelState.UNAVAILABLE)

    def _set_state(self, caller: Caller, model: str, state: ModelState) -> None:
        if model not in self.served:
            raise unknown_model(model, None)
        if not caller.admin:
            raise PermissionRefused(f"{caller.publisher} may not load or unload {model!r}")
        reason = "" if state is ModelState.READY else "unloaded"
        self.served[model] = replace(self.served[model], state=state, reason=reason)

    async def _replies(self, request: InferenceRequest) -> AsyncGenerator[InferenceReply, None]:
        if isinstance(request, EmbedRequest):
            yield _embedded(request)
        elif isinstance(request, TensorsRequest):
            yield _mirrored(request)
        else:
            for given, piece in enumerate(_echoed(request)):
                if self._turns is not None:
                    await self._turns.acquire()
                if self.failure is not None and given == self.fail_after:
                    raise self.failure
                yield piece


def _echoed(request: GenerateRequest) -> list[GeneratePiece]:
    text = request.messages[-1].content if request.messages else request.prompt
    sent = " ".join(one.content for one in request.messages) or request.prompt
    sampling = request.sampling
    for stop in sampling.stop:
        text = text.split(stop, 1)[0]
    words = _WORD.findall(text)
    room = len(words) if sampling.max_tokens is None else sampling.max_tokens
    finish = FinishReason.STOP if len(words) <= room else FinishReason.LENGTH
    words = words[:room]
    last = GeneratePiece("", finish, len(sent.split()), len(words))
    return [*(GeneratePiece(word) for word in words), last]


def _embedded(request: EmbedRequest) -> EmbedReply:
    size = request.dimensions or DIMENSIONS
    if size > DIMENSIONS:
        raise InvalidInput(f"vectors of 'digest' have {DIMENSIONS} dimensions; {size} were asked for")
    rows = []
    for text in request.texts:
        numbers = [one / 2**32 for one in struct.unpack("<8I", hashlib.sha256(text.encode()).digest())][:size]
        length = math.sqrt(sum(one * one for one in numbers))
        rows.append(struct.pack(f"<{size}f", *(one / length for one in numbers)))
    return EmbedReply(b"".join(rows), size, sum(len(text.split()) for text in request.texts))


def _mirrored(request: TensorsRequest) -> TensorsReply:
    outputs = tuple(replace(one, name=f"out_{one.name}") for one in request.inputs)
    unknown = sorted(set(request.outputs) - {one.name for one in outputs})
    if unknown:
        raise InvalidInput(f"'mirror' has no output {unknown[0]!r} for these inputs")
    return TensorsReply(tuple(one for one in outputs if not request.outputs or one.name in request.outputs))
