"""A hub's models as a client sees them: versions pushed and pulled, names and aliases, licences."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final, TypeVar

from farlane.errors import Corrupted, FarlaneError, NotFound, Unavailable
from farlane.kit.backoff import Backoff
from farlane.models.adding import OnProgress, Progress
from farlane.models.arrival import Arrival, check_arriving
from farlane.models.arriving_delta import DeltaOffer
from farlane.models.catalog.values import AliasMove, Author, Version
from farlane.models.cid import Cid, parse_cid
from farlane.models.deltas import blocks_so_far, deltas_for
from farlane.models.manifest.codec import decode
from farlane.models.manifest.licences import require_acceptance
from farlane.models.manifest.values import Manifest
from farlane.models.names import Reference
from farlane.models.repository import Repository
from farlane.sdk.connection import Connection
from farlane.sdk.model_pull import PullTry
from farlane.sdk.model_push import PushTry
from farlane.sdk.model_values import (
    HubModel,
    Pulled,
    Pushed,
    model_from_wire,
    move_from_wire,
    version_from_wire,
)
from farlane.wire.v1 import models_pb2
from farlane.wire.v1.models_pb2_grpc import BlockServiceStub, ModelServiceStub
from farlane.wire.versions import this_version

T = TypeVar("T")

PATIENCE_S: Final = 120.0
"""How long a transfer goes on without a hub that answers, or without a byte of progress."""
MAX_TRIES: Final = 100
"""Calls of one transfer, however much each of them brings."""
NOWHERE: Final = "none"
"""Stands for: the alias must not exist yet."""


class ModelHub:
    """The models of the hub behind a connection.

    Args:
        connection: of an open client.
        patience_s: how long a transfer waits for a hub that went away.
        random: seeded source of jitter.
    """

    def __init__(
        self, connection: Connection, *, patience_s: float = PATIENCE_S, random: Random | None = None
    ) -> None:
        self._connection, self._patience_s, self._random = connection, patience_s, random or Random()

    async def push(
        self,
        repository: Repository,
        reference: Reference | str,
        *,
        alias: str = "",
        expect: str = "",
        on_progress: OnProgress | None = None,
    ) -> Pushed:
        """Publish a version that is in a repository here; what the hub has of it already is not sent.

        Broken off, or the hub restarted, it goes on where it ended; pushed again, it says what is there.

        Args:
            repository: has the version.
            reference: which one.
            alias: put on it once it is there.
            expect: where the alias must stand now, such as v2; NOWHERE if it must be new; empty for anywhere.
            on_progress: told of the bytes at the hub.

        Raises:
            Conflict: the alias stands elsewhere.
            PermissionRefused: the name is another organisation's, or another account publishes it.
            InvalidSignature, InvalidInput, Corrupted, TooLarge: the hub does not take such a version.
            DiskFull: the hub has no room; what came is kept.
            Unavailable: the hub did not come back; what came is kept.
        """
        version, manifest = await asyncio.to_thread(repository.resolve, reference)
        raw = await asyncio.to_thread(repository.blocks.get, version.manifest)
        offer = _offer(version, raw, alias, expect)
        offer.deltas.extend(await asyncio.to_thread(_deltas, repository, version))
        sent = 0

        def kept(done: int, total: int) -> None:
            if on_progress is not None:
                on_progress(Progress(str(reference), min(done, total), total))

        async def attempt() -> models_pb2.Published:
            nonlocal sent
            one = PushTry(repository, manifest, offer, kept)
            try:
                return await one.run(self._connection.channel)
            finally:
                sent += one.sent_bytes

        done = await self._persist(attempt, lambda: sent, "push")
        move = move_from_wire(done.move) if done.HasField("move") else None
        return Pushed(version_from_wire(done.version), sent, manifest.size_bytes, move)

    async def pull(
        self,
        repository: Repository,
        reference: Reference | str,
        *,
        accept: str = "",
        author: Author | None = None,
        on_progress: OnProgress | None = None,
    ) -> Pulled:
        """Take a version from the hub, checking its signature and every block; what is here already is not fetched.

        Broken off, or the hub restarted, it goes on where it ended.

        Args:
            repository: where to.
            reference: which one at the hub, or the CID of a version.
            accept: the licence that is accepted by name, for this repository and at the hub.
            author: who adds it.
            on_progress: told of the bytes here.

        Raises:
            NotFound: the hub has no such version, or not for us.
            PermissionRefused: its licence must be accepted first, or the name is another publisher's here.
            InvalidSignature: who signed it is not who it names.
            Corrupted: what came is not the version.
            DiskFull: no room here; what came is kept.
            Unavailable: the hub did not come back; what came is kept.
        """
        found, manifest, deltas = await self._described(reference)
        if accept:
            await self.accept(f"{found.name}@{found.manifest.text}", accept)
            await asyncio.to_thread(repository.catalog.accept, "", accept, found.manifest)
        accepted = await asyncio.to_thread(repository.catalog.accepted, "", found.manifest)
        licence = manifest.licence.expression
        require_acceptance(manifest, accepted, f"pull with --accept-licence {licence}, or accept={licence!r}")
        who = author or Author()
        if (here := await asyncio.to_thread(_here, repository, found, manifest)) is not None:
            return Pulled(here, 0)
        await asyncio.to_thread(check_arriving, repository, manifest, found.manifest, found.signature, who)
        came = 0

        async def attempt() -> Version:
            nonlocal came
            arrival = await asyncio.to_thread(Arrival, repository, manifest, found.manifest)
            meter = _Meter(str(reference), manifest.size_bytes, on_progress)
            sizes = [file.size for file in manifest.files]
            one = PullTry(arrival, found.manifest, sizes, deltas, meter.add)
            try:
                meter.add(arrival.present_bytes)
                await one.run(self._connection.channel)
                return await asyncio.to_thread(arrival.publish, found.signature, who)
            finally:
                came += one.received_bytes
                await asyncio.to_thread(arrival.close)

        return Pulled(await self._persist(attempt, lambda: came, "pull"), came)

    async def describe(self, reference: Reference | str) -> tuple[Version, Manifest]:
        """Return what a version at the hub is.

        Raises:
            NotFound: there is none, or not for us.
            Corrupted: what the hub says is not the version that was asked for.
        """
        return (await self._described(reference))[:2]

    async def _described(self, reference: Reference | str) -> tuple[Version, Manifest, list[DeltaOffer]]:
        request = models_pb2.DescribeVersionRequest(reference=str(reference))
        reply = await self._connection.call(
            "DescribeVersion", request, "asking for a version", stub=BlockServiceStub
        )
        version = version_from_wire(reply.version)
        manifest = decode(reply.manifest, version.manifest)
        asked = _asked(str(reference))
        if manifest.name != version.name or (asked is not None and asked != version.manifest):
            raise Corrupted(
                f"the hub answers for {reference} with {version.manifest.text} of {manifest.name}"
            )
        deltas = [DeltaOffer(parse_cid(one.base), parse_cid(one.cid), one.size_bytes) for one in reply.deltas]
        return version, manifest, deltas

    async def list(self) -> list[HubModel]:
        """Return all names with their newest version."""
        found: list[HubModel] = []
        after, more = "", True
        while more:
            reply = await self._call(
                "ListModels", models_pb2.ListModelsRequest(after=after), "listing models"
            )
            found.extend(map(model_from_wire, reply.models))
            more, after = reply.more and reply.last > after, reply.last
        return found

    async def model(self, name: str) -> HubModel:
        """Return one name with its versions, aliases and history.

        Raises:
            NotFound: there is none, or it is not for us.
        """
        reply = await self._call("ListModels", models_pb2.ListModelsRequest(name=name), "asking for a model")
        return model_from_wire(reply.models[0])

    async def tag(self, name: str, alias: str, target: str, *, expect: str = "") -> AliasMove:
        """Put an alias on a version of a name; of two at once who expect the same exactly one wins.

        Args:
            name: of the model.
            alias: what is moved.
            target: v3, another alias, a CID, or `latest`.
            expect: where it must stand now, written so too; NOWHERE if it must be new; empty for anywhere.

        Raises:
            NotFound: no such name or version.
            Conflict: it stands elsewhere.
            PermissionRefused: the name is another's.
        """
        request = models_pb2.MoveAliasRequest(name=name, alias=alias, target=target, **_where(expect))
        return await self._move(request)

    async def untag(self, name: str, alias: str, *, expect: str = "") -> AliasMove:
        """Take an alias away; its history stays. Raises as `tag`."""
        return await self._move(
            models_pb2.MoveAliasRequest(name=name, alias=alias, remove=True, **_where(expect))
        )

    async def rollback(self, name: str, alias: str, *, expect: str = "") -> AliasMove:
        """Put an alias back where it stood before. Raises as `tag`."""
        return await self._move(
            models_pb2.MoveAliasRequest(name=name, alias=alias, back=True, **_where(expect))
        )

    async def remove(self, reference: Reference | str, *, everything: bool = False) -> str:
        """Remove a version, or with `everything` the model of that name, and return what it was: NAME@vN or NAME.

        Raises:
            NotFound: there is none.
            Conflict: an alias stands on it.
            PermissionRefused: it is another organisation's.
        """
        request = models_pb2.RemoveVersionRequest(reference=str(reference), everything=everything)
        removed = await self._call("RemoveVersion", request, "removing a version", tries=1)
        return f"{removed.name}@v{removed.number}" if removed.number else str(removed.name)

    async def accept(self, reference: Reference | str, licence: str) -> Version:
        """Record that our organisation accepts the licence of a version.

        Raises:
            NotFound: there is none.
            PermissionRefused: it has another licence.
        """
        request = models_pb2.AcceptLicenceRequest(reference=str(reference), expression=licence)
        return version_from_wire(await self._call("AcceptLicence", request, "accepting a licence"))

    async def trust(self, name: str, publisher: str) -> None:
        """Have the hub take versions of a name from an account from now on; empty for unsigned ones.

        Raises:
            NotFound: there is no such name.
            PermissionRefused: it is another organisation's.
        """
        request = models_pb2.TrustPublisherRequest(name=name, publisher=publisher)
        await self._call("TrustPublisher", request, "trusting a publisher")

    async def _move(self, request: models_pb2.MoveAliasRequest) -> AliasMove:
        # Once: a move whose answer was lost would meet its own result as somebody else's.
        return move_from_wire(await self._call("MoveAlias", request, "moving an alias", tries=1))

    async def _call(self, method: str, request: Any, doing: str, *, tries: int = 4) -> Any:
        return await self._connection.call(method, request, doing, tries=tries, stub=ModelServiceStub)

    async def _persist(self, attempt: Callable[[], Awaitable[T]], moved: Callable[[], int], what: str) -> T:
        """Try until it is done, as long as the hub comes back in time and there is progress."""
        loop = asyncio.get_running_loop()
        delays, since = Backoff(first_s=0.2, cap_s=5.0).delays(self._random), loop.time()
        for tries in range(1, MAX_TRIES + 1):
            before = moved()
            try:
                return await attempt()
            except Unavailable as error:
                if moved() > before:
                    delays, since = Backoff(first_s=0.2, cap_s=5.0).delays(self._random), loop.time()
                if loop.time() - since > self._patience_s or tries == MAX_TRIES:
                    raise Unavailable(
                        f"the {what} was given up after {tries} tries: {error.message}. What has come is kept: "
                        f"{what} again to go on"
                    ) from error
            await asyncio.sleep(next(delays))
        raise AssertionError("the last try returns or raises")


class _Meter:
    """Adds up what is here."""

    def __init__(self, what: str, total: int, on_progress: OnProgress | None) -> None:
        self._what, self._total, self._on_progress = what, total, on_progress
        self._done = 0

    def add(self, count: int) -> None:
        """Note bytes."""
        self._done += count
        if self._on_progress is not None:
            self._on_progress(Progress(self._what, min(self._done, self._total), self._total))


def _offer(version: Version, manifest: bytes, alias: str, expect: str) -> models_pb2.PushOffer:
    signature = None
    if version.signature is not None:
        signature = models_pb2.ModelSignature(
            signer=version.signature.signer, signature=version.signature.value
        )
    return models_pb2.PushOffer(
        version=this_version(), manifest=manifest, signature=signature, alias=alias, **_where(expect)
    )


def _here(repository: Repository, found: Version, manifest: Manifest) -> Version | None:
    """Return the version as it is known here, if it is here whole: whoever owns the name, there is nothing to add."""
    try:
        known = repository.catalog.resolve(Reference(found.name, cid=found.manifest))
    except NotFound:
        return None
    return None if Arrival(repository, manifest, found.manifest).files else known


def _deltas(repository: Repository, version: Version) -> list[models_pb2.DeltaOffer]:
    """Return the deltas that are here whole; a damaged one is not offered."""
    found = []
    for one in deltas_for(repository, version.manifest):
        try:
            whole = not blocks_so_far(repository.blocks, one.root).lacking
        except FarlaneError:
            whole = False
        if whole:
            found.append(
                models_pb2.DeltaOffer(base=one.base.text, cid=one.root.text, size_bytes=one.size_bytes)
            )
    return found


def _where(expect: str) -> dict[str, Any]:
    if not expect:
        return {}
    return {"nowhere": True} if expect == NOWHERE else {"expected": expect}


def _asked(reference: str) -> Cid | None:
    """Return the CID that a reference names, if it does."""
    text = reference.rpartition("@")[2]
    return parse_cid(text) if text.startswith("bafyrei") else None
