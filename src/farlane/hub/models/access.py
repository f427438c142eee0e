"""Who may do what with the models of a hub: whose name it is, who reads a private version, who accepted its licence."""

from __future__ import annotations

from collections.abc import Callable

from farlane.domain.ids import job_of
from farlane.errors import NotFound
from farlane.hub.hub import Hub
from farlane.hub.models.seeing import require_seen
from farlane.hub.node_proof import proven_node
from farlane.models.catalog.values import Author, Model, Version
from farlane.models.cid import Cid, parse_cid
from farlane.models.manifest.licences import require_acceptance
from farlane.models.manifest.values import Manifest
from farlane.models.names import Reference
from farlane.models.repository import Repository, read_manifest
from farlane.wire.serving import Identity
from farlane.wire.v1 import models_pb2


class ModelAccess:
    """Finds models for whoever asks, and refuses what they may not have.

    Names that were added on the hub's machine, without any organisation, are of the hub's owner.

    Args:
        repository: the hub's.
        hub: returns the hub in force.
    """

    def __init__(self, repository: Repository, hub: Callable[[], Hub]) -> None:
        self._repository, self._hub = repository, hub

    def author(self, who: Identity, name: str) -> Author:
        """Return as whom somebody changes a name; whether they may is the catalog's to say."""
        try:
            owned_here = not self._repository.catalog.model(name).organisation
        except NotFound:
            owned_here = False
        return Author("" if owned_here and who.owner else who.organisation, who.publisher)

    def find(
        self, who: Identity, text: str, node: models_pb2.NodeProof | None = None
    ) -> tuple[Version, Manifest]:
        """Return a version that the caller may read, by a reference or by its manifest's CID.

        Raises:
            InvalidInput: it is neither.
            NotFound: there is none, or it is private and not theirs.
        """
        if not _is_cid(text):
            self.require_seen(who, text.partition("@")[0])
        version, manifest = self._resolved(text)
        if not self.may_read(who, version.name, version.manifest, manifest, node):
            raise _no_version(text)
        return version, manifest

    def require_seen(self, who: Identity, name: str) -> None:
        """Refuse what is asked about a name that is private and not theirs as if there were none.

        Raises:
            InvalidInput: no model can have that name.
            NotFound: there is no such name for the caller.
        """
        require_seen(self._repository, name, lambda model: who.role == "client" and owns(who, model))

    def may_read(
        self, who: Identity, name: str, cid: Cid, manifest: Manifest, node: models_pb2.NodeProof | None = None
    ) -> bool:
        """Tell whether somebody may read a version: all may if it is public.

        A private one is its organisation's, and that of nodes that hold the lease of a replica of it.
        """
        if manifest.encryption is None:
            return True
        if who.role == "client":
            return self.owned_by(who, name)
        return node is not None and bool(node.node) and self._serves(who, node, cid)

    def owned_by(self, who: Identity, name: str) -> bool:
        """Tell whether a name is of the caller's organisation."""
        return owns(who, self._repository.catalog.model(name))

    def require_acceptance(self, who: Identity, version: Version, manifest: Manifest) -> None:
        """Refuse a publisher whose organisation must accept the licence first; the owner of the name need not.

        Raises:
            PermissionRefused: it has not.
        """
        if who.role == "client" and not self.owned_by(who, version.name):
            require_acceptance(
                manifest,
                self._repository.catalog.accepted(who.organisation, version.manifest),
                f"type `farlane models accept {version.name}@v{version.number} --licence "
                f"{manifest.licence.expression} --hub`",
            )

    def _resolved(self, text: str) -> tuple[Version, Manifest]:
        if not _is_cid(text):
            return self._repository.resolve(text)
        cid = parse_cid(text)
        try:
            name = read_manifest(self._repository.blocks, cid).name
            return self._repository.resolve(Reference(name, cid=cid))
        except NotFound as error:
            raise _no_version(text) from error

    def _serves(self, who: Identity, proof: models_pb2.NodeProof, version: Cid) -> bool:
        state = self._hub().reactor.state
        node = proven_node(state, proof.node, proof.secret, who.organisation)
        # At once: this is not the thread that changes them.
        jobs = (state.jobs.get(job_of(task)) for task in tuple(node.leases))
        return any(
            job is not None and job.spec.serve is not None and job.spec.serve.version == version.text
            for job in jobs
        )


def _is_cid(text: str) -> bool:
    return text.startswith("baf") and "@" not in text


def _no_version(text: str) -> NotFound:
    return NotFound(f"there is no version {text[:160]} here that is yours to use", reference=text[:160])


def owns(who: Identity, model: Model) -> bool:
    """Tell whether a name is of somebody's organisation, or of the hub's owner who asks."""
    return model.organisation == who.organisation or (not model.organisation and who.owner)
