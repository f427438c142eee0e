"""The versions that a catalog knows, as deployments ask for them."""

from __future__ import annotations

from dataclasses import replace

from farlane.errors import InvalidInput, NotFound
from farlane.models.catalog.catalog import Catalog
from farlane.models.cid import parse_cid
from farlane.models.names import parse_reference


class CatalogVersions:
    """Implements `desk.Versions` over a catalog, whose every name anybody in the network may serve."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def version_of(self, model: str, organisation: str, alias: str = "") -> str:
        """See `desk.Versions.version_of`."""
        if model.startswith("bafy") and "@" not in model:
            return self._by_cid(model, alias)
        reference = parse_reference(model)
        if alias:
            reference = replace(reference, alias=alias, number=0, cid=None)
        return self._catalog.resolve(reference).manifest.text

    def _by_cid(self, text: str, alias: str) -> str:
        if alias:
            raise NotFound(f"a model that is named by its CID has no alias {alias}: serve it by its name")
        try:
            wanted = parse_cid(text)
        except InvalidInput as error:
            raise InvalidInput(f"{text[:80]!r} is neither a name nor a CID: {error.message}") from error
        if not self._catalog.has(wanted):
            raise NotFound(f"this hub has no version {text}", version=text)
        return wanted.text
