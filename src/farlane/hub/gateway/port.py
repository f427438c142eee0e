"""The gateway's ports: who asks, what is served, who carries a request to a replica, and who books what was used."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from farlane.domain.inference import InferenceKind, InferenceReply, InferenceRequest, ModelDescription
from farlane.errors import NotFound

Answering = Callable[[str], None]
"""Told which version answers a request, before its first reply."""


def no_note(version: str) -> None:
    """Take no note of which version answers."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the organisation that pays, the publisher (project) within it, and which token was shown."""

    organisation: str
    publisher: str
    key: str
    """The first hexadecimal digits of the token's digest, as `farlane token ls` lists it: a name, no secret."""
    admin: bool = False
    """May load and unload the models of its organisation."""


class ModelState(StrEnum):
    """Whether a served model answers, by the words of Triton's repository extension."""

    READY = "READY"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """One served model as a caller sees it, under the version that answers."""

    name: str
    version: str
    """What answers when no version is asked for: the text of a manifest's CID; empty while there is none."""
    versions: tuple[str, ...] = ()
    """Every version that can be asked for by name, the newest last."""
    state: ModelState = ModelState.READY
    reason: str = ""
    """Why it is not ready, in a sentence; empty while it is."""
    description: ModelDescription | None = None
    """What it may be asked; None until a replica has told it."""
    created: float = 0.0
    """When it was deployed, in unix seconds."""
    owner: str = ""
    """Organisation that deployed it."""
    project: str = ""
    """What it is charged to inside that organisation."""

    @property
    def id(self) -> str:
        """Which it is among all that are served: two organisations may use one name."""
        return f"{self.owner}/{self.name}" if self.owner else self.name


class Router(Protocol):
    """Knows what is served and carries requests to replicas. Nothing is told of models that a caller may not use."""

    def trouble(self) -> str:
        """Return why no request can be routed at this moment, in a sentence; empty while they can."""
        ...

    async def models(self, caller: Caller) -> list[ServedModel]:
        """Return every model that a caller may use, by name."""
        ...

    async def describe(self, caller: Caller, model: str, version: str | None) -> ServedModel:
        """Return one model, of a version where one is asked for.

        Raises:
            NotFound: nothing by that name or version that this caller may use.
        """
        ...

    def infer(
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
        """Yield the replies: one of tensors or vectors, or pieces of text as they come, the last with its counts.

        Closing the generator before its end cancels the request at the replica. No error is raised before the first
        step, and an error after the first reply means that the rest is lost.

        Args:
            caller: who asks.
            model: by which name.
            version: which, None for the one in force.
            request: what is asked.
            request_id: names the request in logs and receipts.
            timeout_s: how long the whole of it may take, in seconds.
            answering: is told which version answers.

        Raises:
            NotFound: nothing by that name or version that this caller may use.
            InvalidInput: the model cannot be asked that.
            Unavailable: no replica takes it now; fact `retry_after_s` says when one may.
            Exhausted: too many wait for it already; fact `retry_after_s` too.
            DeadlineExceeded: it took longer than `timeout_s`.
            ConnectionLost: the replica went away in the middle.
        """
        ...

    async def load(self, caller: Caller, model: str) -> None:
        """Have a stopped deployment served again; returns when it answers. A served one stays as it is.

        Raises:
            NotFound: nothing by that name.
            PermissionRefused: not this caller's to load.
            Unavailable: it did not come up; what served before serves on.
        """
        ...

    async def unload(self, caller: Caller, model: str) -> None:
        """Stop serving a model: running requests end first. One that is not served stays as it is.

        Raises:
            NotFound: nothing by that name.
            PermissionRefused: not this caller's to unload.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one request used; one that failed or was cancelled counts what it had used by then."""

    request_id: str
    caller: Caller
    model: str
    version: str
    """That was asked for; the one in force where none was."""
    kind: InferenceKind
    started: float
    """Unix seconds."""
    duration_s: float
    prompt_tokens: int = 0
    completion_tokens: int = 0
    request_bytes: int = 0
    """Of the body as it arrived, before it was unpacked."""
    reply_bytes: int = 0
    deployment: str = ""
    """Which it is among all that are served: see `ServedModel.id`."""
    project: str = ""
    outcome: str = "ok"
    """ok, cancelled (the client went away), or the name of the error."""


class UsageSink(Protocol):
    """Takes what requests used, for books and receipts. Called on the event loop: it must not block."""

    def record(self, usage: Usage) -> None:
        """Book one request, at its end."""
        ...


class NoUsage:
    """Books nothing."""

    def record(self, usage: Usage) -> None:
        """Forget it."""


class NoModels:
    """A router where nothing is served: every name is unknown."""

    def trouble(self) -> str:
        """Return nothing."""
        return ""

    async def models(self, caller: Caller) -> list[ServedModel]:
        """Return nothing."""
        return []

    async def describe(self, caller: Caller, model: str, version: str | None) -> ServedModel:
        """Raise NotFound."""
        raise unknown_model(model, version)

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
        """Raise NotFound at the first step."""
        nothing: tuple[InferenceReply, ...] = ()
        for reply in nothing:  # makes it a generator
            yield reply
        raise unknown_model(model, version)

    async def load(self, caller: Caller, model: str) -> None:
        """Raise NotFound."""
        raise unknown_model(model, None)

    async def unload(self, caller: Caller, model: str) -> None:
        """Raise NotFound."""
        raise unknown_model(model, None)


def unknown_model(model: str, version: str | None) -> NotFound:
    """Return the error of a model, or of a version of one, that nobody serves."""
    what = f"model {model!r}" if version is None else f"version {version!r} of model {model!r}"
    return NotFound(
        f"this hub serves no {what} to you; GET /v1/models lists what it does",
        model=model,
        version=version or "",
    )
