"""How large versions are, and which belong to one model, as a hub's repository knows it."""

from __future__ import annotations

import logging

from farlane.domain.model_facts import ModelFacts
from farlane.errors import FarlaneError
from farlane.models.cid import parse_cid
from farlane.models.repository import Repository, read_manifest

log = logging.getLogger(__name__)


def facts_of(repository: Repository, version: str) -> ModelFacts | None:
    """Return what is known of a version, None where the repository does not have it."""
    try:
        manifest = read_manifest(repository.blocks, parse_cid(version))
        known = repository.catalog.versions(manifest.name)
    except FarlaneError as error:
        log.debug("nothing is known of version %s: %s", version, error.message)
        return None
    relatives = frozenset(one.manifest.text for one in known) - {version}
    return ModelFacts(sum(file.size for file in manifest.files), relatives)
