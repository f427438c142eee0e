"""ModelService: versions pushed to the hub, and what their names and aliases mean, for publishers."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import grpc

from farlane.errors import ConnectionLost, FarlaneError, Unavailable
from farlane.hub.deployments.desk import Deployments
from farlane.hub.grpc_api.answering import Context, answered
from farlane.hub.grpc_api.model_messages import move_message, version_message
from farlane.hub.models.access import ModelAccess
from farlane.hub.models.aliases import move_alias
from farlane.hub.models.listing import listed
from farlane.hub.models.private_files import PrivateFiles
from farlane.hub.models.pushing import Push
from farlane.hub.models.removing import remover, require_unserved, versions_meant
from farlane.hub.models.threads import Threads
from farlane.kit.tasks import TaskSupervisor
from farlane.models.names import Reference, parse_reference
from farlane.models.repository import Repository
from farlane.wire import limits
from farlane.wire.outbox import Outbox
from farlane.wire.serving import Identity, current_identity
from farlane.wire.status import abort
from farlane.wire.stream import STALL_S, pump, received
from farlane.wire.v1 import models_pb2, models_pb2_grpc

log = logging.getLogger(__name__)
DOING: Final = "taking a version of a model"
MAX_REFERENCE_CHARS: Final = 256
MAX_PUSHES: Final = 64
"""At a time, each with a few open files; publishers beyond that try again by themselves."""
MAX_PUSHES_EACH: Final = 16
"""Of one organisation."""
PUSH_THREADS: Final = 4
"""Pushes that check and write at the same time; the others wait for each other."""

PushMessages = AsyncIterator[models_pb2.PushMessage]
PushContext = grpc.aio.ServicerContext[models_pb2.PushMessage, models_pb2.PushCommand]


class ModelService(models_pb2_grpc.ModelServiceServicer):
    """Serves publishers.

    Args:
        repository: the hub's.
        access: who may change and read what.
        deployments: what the hub serves: its versions are not removed.
        max_bytes: what the repository may hold; 0 is without limit.
    """

    def __init__(
        self, repository: Repository, access: ModelAccess, deployments: Deployments, max_bytes: int = 0
    ) -> None:
        self._repository, self._access, self._max_bytes = repository, access, max_bytes
        self._deployments = deployments
        self._private = PrivateFiles(repository)
        self._threads = Threads("pushes", PUSH_THREADS)
        self._pushing: Counter[str] = Counter()

    async def Push(  # type: ignore[override]  # it writes to the context instead of yielding
        self, request_iterator: PushMessages, context: PushContext
    ) -> None:
        """Take one version."""
        try:
            await self._push(request_iterator, context)
        except ConnectionLost as error:
            log.info("%s", error.message)  # nobody is left to be told
        except FarlaneError as error:
            await abort(context, error)

    @answered
    async def ListModels(
        self, request: models_pb2.ListModelsRequest, context: Context
    ) -> models_pb2.ListModelsReply:
        """List the models that the caller may see."""
        who = current_identity()
        return await asyncio.to_thread(listed, self._repository, self._access, who, request)

    @answered
    async def MoveAlias(self, request: models_pb2.MoveAliasRequest, context: Context) -> models_pb2.AliasMove:
        """Move an alias, take it away or put it back; of two moves at once exactly one wins."""
        return await asyncio.to_thread(self._move, current_identity(), request)

    @answered
    async def RemoveVersion(
        self, request: models_pb2.RemoveVersionRequest, context: Context
    ) -> models_pb2.ModelVersion:
        """Remove a version, or a whole model; its bytes go with the next collection."""
        who, reference = current_identity(), parse_reference(_reference(request.reference))
        await asyncio.to_thread(self._access.require_seen, who, reference.name)
        meant = await asyncio.to_thread(
            versions_meant, self._repository, reference, everything=request.everything
        )
        require_unserved(self._deployments.records(), meant)
        return await asyncio.to_thread(self._remove, who, reference, request.everything)

    @answered
    async def AcceptLicence(
        self, request: models_pb2.AcceptLicenceRequest, context: Context
    ) -> models_pb2.ModelVersion:
        """Record that the caller's organisation accepts the licence of a version."""
        return await asyncio.to_thread(self._accept, current_identity(), request)

    @answered
    async def TrustPublisher(
        self, request: models_pb2.TrustPublisherRequest, context: Context
    ) -> models_pb2.ModelEntry:
        """Take another account's versions of a name from now on."""
        return await asyncio.to_thread(self._trust, current_identity(), request)

    async def _push(self, requests: PushMessages, context: PushContext) -> None:
        who = current_identity()
        if self._pushing.total() >= MAX_PUSHES or self._pushing[who.organisation] >= MAX_PUSHES_EACH:
            raise Unavailable("the hub takes as many pushes as it can at a time; try again in a moment")
        self._pushing[who.organisation] += 1
        try:
            await self._take(who, requests, context)
        finally:
            self._pushing[who.organisation] -= 1

    async def _take(self, who: Identity, requests: PushMessages, context: PushContext) -> None:
        outbox: Outbox[models_pb2.PushCommand] = Outbox()
        push = Push(
            self._repository, self._access, self._private, self._threads, self._max_bytes, who, outbox.put
        )
        failed: list[FarlaneError] = []
        async with TaskSupervisor("push of a model") as tasks:
            tasks.start(_run(push, requests, outbox, failed), "push")
            await pump(outbox, context, iter, doing=DOING)
        if failed:
            raise failed[0]

    def _move(self, who: Identity, request: models_pb2.MoveAliasRequest) -> models_pb2.AliasMove:
        self._access.require_seen(who, request.name)
        author = self._access.author(who, request.name)
        return move_message(move_alias(self._repository.catalog, request, author))

    def _remove(self, who: Identity, reference: Reference, everything: bool) -> models_pb2.ModelVersion:
        author = remover(self._access, self._repository, who, reference.name)
        if everything:
            self._repository.catalog.remove_model(reference.name, author)
            return models_pb2.ModelVersion(name=reference.name)
        removed = self._repository.catalog.remove(reference, author)
        return models_pb2.ModelVersion(
            name=removed.name, number=removed.number, cid=removed.manifest.text, added=removed.added
        )

    def _trust(self, who: Identity, request: models_pb2.TrustPublisherRequest) -> models_pb2.ModelEntry:
        self._access.require_seen(who, request.name)
        publisher = limits.text("publisher", request.publisher, MAX_REFERENCE_CHARS)
        author = self._access.author(who, request.name)
        model = self._repository.catalog.trust(request.name, publisher, author)
        return models_pb2.ModelEntry(
            name=model.name, organisation=model.organisation, publisher=publisher, created=model.created
        )

    def _accept(self, who: Identity, request: models_pb2.AcceptLicenceRequest) -> models_pb2.ModelVersion:
        version, manifest = self._access.find(who, _reference(request.reference))
        self._repository.accept(version, request.expression, who.organisation)
        return version_message(version, manifest)


async def _run(
    push: Push, requests: PushMessages, outbox: Outbox[models_pb2.PushCommand], failed: list[FarlaneError]
) -> None:
    try:
        await push.run(received(requests, doing=DOING, silence_s=STALL_S))
    except FarlaneError as error:
        failed.append(error)
    finally:
        outbox.close()


def _reference(text: str) -> str:
    return limits.text("reference", text, MAX_REFERENCE_CHARS, required=True)
