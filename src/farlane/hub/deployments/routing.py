"""Routing: requests of clients to replicas, again on another one where that can do no harm, and what they used."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Protocol

from farlane.domain.deployments import Deployment, DeploymentState
from farlane.domain.inference import EmbedReply, GeneratePiece, InferenceReply, InferenceRequest
from farlane.errors import (
    ConnectionLost,
    DeadlineExceeded,
    Exhausted,
    FarlaneError,
    Internal,
    PermissionRefused,
    Unavailable,
)
from farlane.hub.deployments.replica_session import ReplicaSession
from farlane.hub.deployments.route import Route
from farlane.hub.deployments.state import Record
from farlane.hub.gateway.port import Answering, Caller, ModelState, ServedModel, no_note, unknown_model
from farlane.kit.clock import Clock
from farlane.wire.inference import encode_request

MAX_TRIES = 4
"""Replicas that are tried for one request before its error is passed on."""
DOUBT_S = 30.0
"""How long a replica that let a request's time pass, or failed, is asked only where there is no other: one that answers
nothing, or errors at once, would look idle and draw all requests to it."""
_STATES = {
    DeploymentState.READY: ModelState.READY,
    DeploymentState.UPDATING: ModelState.READY,
    DeploymentState.DEGRADED: ModelState.READY,
    DeploymentState.IDLE: ModelState.READY,
    DeploymentState.STARTING: ModelState.LOADING,
    DeploymentState.FAILED: ModelState.UNAVAILABLE,
}


class Served(Protocol):
    """What the router must know of the deployments; see `desk.Deployments`."""

    def records(self) -> Iterable[Record]:
        """Return every deployment."""
        ...

    def trouble(self) -> str:
        """Return why no request can be routed at this moment; empty while they can."""
        ...

    def route(self, deployment: str) -> Route:
        """Return where a deployment's requests go."""
        ...

    def wake(self) -> None:
        """Look at the load now rather than at the next tick."""
        ...

    def resume(self, deployment: str, *, served: bool) -> Awaitable[None]:
        """Serve a deployment again, or no longer."""
        ...


class DeploymentRouter:
    """Implements the gateway's `Router` over the deployments of a hub.

    Args:
        served: what is deployed.
        clock: tells when.
    """

    def __init__(self, served: Served, clock: Clock) -> None:
        self._served, self._clock = served, clock

    def trouble(self) -> str:
        """See `Router.trouble`."""
        return self._served.trouble()

    async def models(self, caller: Caller) -> list[ServedModel]:
        """See `Router.models`."""
        found: dict[str, Record] = {}
        for record in self._served.records():
            if _may_use(record.deployment, caller):
                known = found.get(record.deployment.name)
                if known is None or record.deployment.organisation == caller.organisation:
                    found[record.deployment.name] = record
        return [self._describe(found[name]) for name in sorted(found)]

    async def describe(self, caller: Caller, model: str, version: str | None) -> ServedModel:
        """See `Router.describe`."""
        record = self._find(caller, model)
        found = self._describe(record)
        if version is None:
            return found
        if version not in found.versions:
            raise unknown_model(model, version)
        return replace(found, version=version)

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
        record = self._find(caller, model)
        if version is not None and version not in self._describe(record).versions:
            raise unknown_model(model, version)
        route = self._served.route(record.deployment.id)
        counts = route.counts
        begun, route.last_request_at = self._clock.monotonic(), self._clock.now()
        counts.requests += 1
        outcome = "failed"
        attempt = _Attempt(
            route, record, version, encode_request(request), timeout_s, self._served.wake, answering
        )
        try:
            async with contextlib.aclosing(attempt.replies()) as replies:
                async for reply in replies:
                    _count(route, reply)
                    yield reply
            outcome = "ok"
        except (GeneratorExit, asyncio.CancelledError):
            outcome = "cancelled"  # the client went away: no fault of what is served
            raise
        finally:
            counts.failed += outcome == "failed"
            route.last_request_at = self._clock.now()
            if outcome == "ok":
                route.note_latency(self._clock.monotonic(), self._clock.monotonic() - begun)
            route.changed()

    async def load(self, caller: Caller, model: str) -> None:
        """See `Router.load`."""
        await self._served.resume(self._owned(caller, model).deployment.id, served=True)

    async def unload(self, caller: Caller, model: str) -> None:
        """See `Router.unload`."""
        await self._served.resume(self._owned(caller, model).deployment.id, served=False)

    def _owned(self, caller: Caller, model: str) -> Record:
        record = self._find(caller, model)
        if record.deployment.organisation != caller.organisation or not (
            caller.admin or caller.publisher == record.deployment.publisher
        ):
            raise PermissionRefused(
                f"{model} was deployed by {record.deployment.publisher}; only they and administrators of "
                f"{record.deployment.organisation} load and unload it"
            )
        return record

    def _find(self, caller: Caller, model: str) -> Record:
        """Return the deployment that a name means to a caller: its own organisation's before those shared with it."""
        found = [
            record
            for record in self._served.records()
            if record.deployment.name == model and _may_use(record.deployment, caller)
        ]
        if not found:
            raise unknown_model(model, None)
        return min(found, key=lambda each: each.deployment.organisation != caller.organisation)

    def _describe(self, record: Record) -> ServedModel:
        deployment, route = record.deployment, self._served.route(record.deployment.id)
        descriptions = [each.description for each in route.sessions.values()]
        serving = record.serving or record.goal
        versions = dict.fromkeys([*route.versions(), *([serving] if serving else [])])
        return ServedModel(
            name=deployment.name,
            version=serving,
            versions=tuple(versions),
            state=ModelState.UNAVAILABLE if record.deployment.paused else _STATES[record.state()],
            reason=record.reason(),
            description=descriptions[-1] if descriptions else None,
            created=record.created,
            owner=deployment.organisation,
            project=deployment.project,
        )


class _Attempt:
    """One request on its way: to one replica, and to another where that has failed before its first answer."""

    def __init__(
        self,
        route: Route,
        record: Record,
        version: str | None,
        request: bytes,
        timeout_s: float,
        wake: Callable[[], None],
        answering: Answering,
    ) -> None:
        self._route, self._record, self._version, self._request = route, record, version, request
        self._timeout_s, self._wake, self._answering = timeout_s, wake, answering
        self._tried: list[ReplicaSession] = []

    async def replies(self) -> AsyncGenerator[InferenceReply, None]:
        """Yield the replies of the first replica that gives any."""
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        last: FarlaneError | None = None
        for _ in range(MAX_TRIES):
            session = await self._next(deadline, last)
            answering = False
            try:
                left_s = deadline - asyncio.get_running_loop().time()
                async with contextlib.aclosing(session.ask(self._request, left_s)) as replies:
                    while True:
                        try:
                            async with asyncio.timeout_at(deadline):
                                reply = await anext(replies)
                        except StopAsyncIteration:
                            return
                        except TimeoutError as error:
                            session.doubted_until = deadline + DOUBT_S
                            raise DeadlineExceeded(
                                f"{self._route.name} had not answered in full after {self._timeout_s:g} s"
                            ) from error
                        if not answering:
                            self._answering(session.version)
                        answering = True
                        yield reply
            except Internal:
                session.doubted_until = asyncio.get_running_loop().time() + DOUBT_S
                raise
            except (ConnectionLost, Unavailable, Exhausted) as error:
                if answering:
                    raise ConnectionLost(
                        f"the replica of {self._route.name} went away in the middle of its answer; ask again: "
                        f"{error.message}"
                    ) from error
                last = error
                self._tried.append(session)
            finally:
                self._route.changed()
        assert last is not None
        raise last

    async def _next(self, deadline: float, last: FarlaneError | None) -> ReplicaSession:
        self._wake()
        if isinstance(last, Exhausted) and not self._route.untried(self._tried):
            raise last  # all are full: the client waits better than the hub
        scale = self._record.deployment.scale
        try:
            return await self._route.acquire(self._version, self._tried, deadline, scale.cold_start_s)
        except (Unavailable, DeadlineExceeded):
            if isinstance(last, Exhausted):
                raise last from None
            raise


def _may_use(deployment: Deployment, caller: Caller) -> bool:
    return caller.organisation == deployment.organisation or caller.organisation in deployment.shared_with


def _count(route: Route, reply: InferenceReply) -> None:
    if isinstance(reply, GeneratePiece) and reply.finish is not None:
        route.counts.tokens_in += reply.prompt_tokens
        route.counts.tokens_out += reply.completion_tokens
    elif isinstance(reply, EmbedReply):
        route.counts.tokens_in += reply.prompt_tokens
