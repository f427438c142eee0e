"""The models of a hub, as a caller may see them: all names with their newest version, or one with its history."""

from __future__ import annotations

from bisect import bisect_right
from itertools import islice
from typing import Final

from farlane.errors import FarlaneError
from farlane.hub.grpc_api.model_messages import move_message, version_message
from farlane.hub.models.access import ModelAccess
from farlane.models.catalog.values import Model
from farlane.models.repository import Repository
from farlane.wire.serving import Identity
from farlane.wire.v1 import models_pb2

NAMES_A_PAGE: Final = 500
PAGE_BYTES: Final = 2 << 20
"""Of one reply, well below what a message may have."""
NEWEST_VERSIONS: Final = 1000
"""Of one model, and so many moves of its aliases: older ones are not told."""


def listed(
    repository: Repository, access: ModelAccess, who: Identity, request: models_pb2.ListModelsRequest
) -> models_pb2.ListModelsReply:
    """Return what a publisher may see.

    Raises:
        NotFound: there is no model of the name that was asked for, or it is private and not theirs.
    """
    if request.name:
        access.require_seen(who, request.name)
        entry = _entry(repository, access, who, repository.catalog.model(request.name), alone=True)
        return models_pb2.ListModelsReply(models=[entry])
    models = repository.catalog.models()
    first = bisect_right([one.name for one in models], request.after)
    entries = (_entry(repository, access, who, one, alone=False) for one in models[first:])
    # A page ends with a name that the caller may know, however many others lie between.
    seen = list(
        islice((one for one in entries if one.versions or access.owned_by(who, one.name)), NAMES_A_PAGE)
    )
    return models_pb2.ListModelsReply(
        models=seen, more=len(seen) == NAMES_A_PAGE, last=seen[-1].name if seen else ""
    )


def _entry(
    repository: Repository, access: ModelAccess, who: Identity, model: Model, *, alone: bool
) -> models_pb2.ModelEntry:
    entry = models_pb2.ModelEntry(
        name=model.name,
        organisation=model.organisation,
        publisher=model.publisher or "",
        created=model.created,
    )
    versions = repository.catalog.versions(model.name)
    seen = set()
    for version in versions[-NEWEST_VERSIONS if alone else -1 :]:
        try:
            manifest = repository.manifest(version)
        except FarlaneError:
            continue  # damaged: `farlane models verify` says so
        if access.may_read(who, model.name, version.manifest, manifest):
            entry.versions.append(version_message(version, manifest))
            seen.add(version.manifest)
    if not seen:
        return entry
    for alias, cid in sorted(repository.catalog.aliases(model.name).items()):
        entry.aliases.append(models_pb2.ModelAlias(alias=alias, cid=cid.text))
    if alone:
        moves = repository.catalog.history(model.name)[-NEWEST_VERSIONS:]
        entry.moves.extend(map(move_message, moves))
    while entry.ByteSize() > PAGE_BYTES:  # texts may be long: the older half goes
        del entry.versions[: (len(entry.versions) + 1) // 2], entry.moves[: (len(entry.moves) + 1) // 2]
    return entry
