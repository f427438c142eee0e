"""The versions that a hub's repository knows, as deployments ask for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Final

from farlane.errors import InvalidInput, NotFound
from farlane.hub.models.seeing import not_seen, require_seen
from farlane.models.catalog.values import Model
from farlane.models.cid import Cid, parse_cid
from farlane.models.manifest.licences import require_acceptance
from farlane.models.names import Reference, parse_reference
from farlane.models.private.versions import readers_of
from farlane.models.repository import Repository, read_manifest
from farlane.models.serving.runtime import runtime_for

KEPT: Final = 1024
"""Versions of which it is remembered whose they are and who may use them; it never changes."""


@dataclass(frozen=True, slots=True)
class _Known:
    name: str
    private: bool
    acceptance: bool
    readers: tuple[str, ...]


class CatalogVersions:
    """Implements `versions.Versions`: public versions are for everybody in the network, private ones for their owners.

    A version whose licence must be accepted is for organisations that have done so; what the owner of a hub accepts on
    its machine counts for their organisation.

    Args:
        repository: the hub's.
        owners: returns the organisations of the hub's owners, whose the names are that were added on its machine.
    """

    def __init__(self, repository: Repository, owners: Callable[[], Collection[str]]) -> None:
        self._repository, self._owners = repository, owners
        self._known: OrderedDict[Cid, _Known] = OrderedDict()

    def version_of(self, model: str, organisation: str, alias: str = "") -> str:
        """See `versions.Versions.version_of`."""
        if model.startswith("bafy") and "@" not in model:
            cid = self._by_cid(model, organisation, alias)
        else:
            cid = self._by_name(model, organisation, alias)
        self._require_acceptance(organisation, cid)
        return cid.text

    def readers_of(self, version: str) -> tuple[str, ...]:
        """See `versions.Versions.readers_of`."""
        return self._look_up(parse_cid(version)).readers

    def runtime_of(self, version: str) -> str:
        """See `versions.Versions.runtime_of`: what the manifest names, else what its files ask for."""
        manifest = read_manifest(self._repository.blocks, parse_cid(version))
        if manifest.runtime or manifest.encryption is not None:
            return manifest.runtime
        files = {file.path: file for file in manifest.files}
        what = f"{manifest.name}, which has the format {manifest.format or 'plain'}"
        return runtime_for(files, lambda: self._repository.file_path(files["config.json"]), what)

    def _by_name(self, model: str, organisation: str, alias: str) -> Cid:
        reference = parse_reference(model)
        if alias:
            reference = Reference(reference.name, alias=alias)
        owns = partial(self._owns, organisation)
        try:
            found = self._repository.catalog.resolve(reference).manifest
        except NotFound:
            require_seen(self._repository, reference.name, owns)
            raise
        if not self._is_for(organisation, found):
            raise not_seen(self._repository, reference.name, owns)
        return found

    def _by_cid(self, text: str, organisation: str, alias: str) -> Cid:
        if alias:
            raise NotFound(f"a model that is named by its CID has no alias {alias}: serve it by its name")
        try:
            wanted = parse_cid(text)
        except InvalidInput as error:
            raise InvalidInput(f"{text[:80]!r} is neither a name nor a CID: {error.message}") from error
        if not self._repository.catalog.has(wanted) or not self._is_for(organisation, wanted):
            raise NotFound(f"this hub has no version {text} that is yours to use", version=text)
        return wanted

    def _is_for(self, organisation: str, version: Cid) -> bool:
        known = self._look_up(version)
        return not known.private or self._owns(organisation, self._repository.catalog.model(known.name))

    def _look_up(self, cid: Cid) -> _Known:
        known = self._known.get(cid)
        if known is None:
            manifest = read_manifest(self._repository.blocks, cid)
            readers = tuple(one.text for one in readers_of(manifest))
            known = self._known[cid] = _Known(
                manifest.name, manifest.encryption is not None, manifest.licence.acceptance, readers
            )
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        return known

    def _require_acceptance(self, organisation: str, cid: Cid) -> None:
        if not self._look_up(cid).acceptance:
            return
        manifest, catalog = read_manifest(self._repository.blocks, cid), self._repository.catalog
        accepted = catalog.accepted(organisation, cid)
        if not accepted and organisation in self._owners():
            accepted = catalog.accepted("", cid)
        how = f"type `farlane models accept {manifest.name}@{cid.text} --licence {manifest.licence.expression} --hub`"
        require_acceptance(manifest, accepted, how)

    def _owns(self, organisation: str, model: Model) -> bool:
        return organisation == model.organisation if model.organisation else organisation in self._owners()
