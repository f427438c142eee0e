"""Removing versions from a hub: by whose they are, or by the hub's owner, and none that is served."""

from __future__ import annotations

from collections.abc import Iterable

from farlane.errors import Conflict
from farlane.hub.deployments.state import Record
from farlane.hub.models.access import ModelAccess
from farlane.models.catalog.values import Author, Version
from farlane.models.names import Reference
from farlane.models.repository import Repository
from farlane.wire.serving import Identity


def versions_meant(repository: Repository, reference: Reference, *, everything: bool) -> tuple[Version, ...]:
    """Return the version, or all versions of the name.

    Raises:
        NotFound: there is none.
    """
    if everything:
        return repository.catalog.versions(reference.name)
    return (repository.catalog.resolve(reference),)


def require_unserved(records: Iterable[Record], versions: Iterable[Version]) -> None:
    """Refuse to remove what a deployment needs.

    Raises:
        Conflict: it does.
    """
    cids = {one.manifest.text: one for one in versions}
    for record in records:
        needed = {record.target, record.serving, record.canary}
        needed.update(replica.version for replica in record.replicas.values())
        for cid in needed & set(cids):
            one = cids[cid]
            raise Conflict(
                f"{one.name}@v{one.number} is served as {record.deployment.name!r} by "
                f"{record.deployment.organisation}: it stays until that is updated, or ended by `farlane undeploy`",
                deployment=record.deployment.name,
            )


def remover(access: ModelAccess, repository: Repository, who: Identity, name: str) -> Author:
    """Return as whom somebody removes from a name: the owner of the hub removes from every name.

    Raises:
        NotFound: there is no such name.
    """
    if who.owner:
        return Author(repository.catalog.model(name).organisation, who.publisher)
    return access.author(who, name)
