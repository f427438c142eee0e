"""What an update costs: the bytes of a version's blocks that another one has not, and of a delta between them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from farlane.errors import Corrupted, InvalidInput, NotFound
from farlane.models.blocks.checks import block_if_here
from farlane.models.blocks.port import BlockSource
from farlane.models.catalog.values import DeltaRow, Version
from farlane.models.manifest.values import Manifest, ModelFile
from farlane.models.repository import Repository
from farlane.models.transfer.outline import Lacking, outline

MAX_BASES: Final = 4
"""So many versions are thought of as what receivers have."""


@dataclass(frozen=True, slots=True)
class Update:
    """What whoever has one version loads for another.

    base: the version they have; block_bytes: by blocks alone; delta: the delta that is kept here, None for none.
    """

    base: Version
    block_bytes: int
    delta: DeltaRow | None


def bases_for(
    repository: Repository, version: Version, manifest: Manifest
) -> tuple[tuple[Version, Manifest], ...]:
    """Return the versions that receivers of one are most likely to have: the one before it, and its parents."""
    earlier = [one for one in repository.catalog.versions(version.name) if one.number < version.number]
    wanted = [one.manifest for one in earlier[-1:]] + [one.cid for one in manifest.parents]
    found = []
    for cid in list(dict.fromkeys(wanted))[:MAX_BASES]:
        with contextlib.suppress(NotFound, Corrupted, InvalidInput):
            found.append(repository.version_of(cid))
    return tuple(found)


def update(repository: Repository, version: Version, manifest: Manifest, base: Version) -> Update:
    """Return what an update from one version to another costs.

    Raises:
        NotFound: a manifest is not here.
        Corrupted, TooLarge: a manifest or a file's inner nodes are damaged.
    """
    known = {one.base: one for one in repository.catalog.deltas.of(version.manifest)}
    blocks = new_bytes(repository.blocks, manifest, repository.manifest(base))
    return Update(base, sum(blocks.values()), known.get(base.manifest))


def updates(repository: Repository, version: Version, manifest: Manifest) -> tuple[Update, ...]:
    """Return what updates to a version cost from those before it and from the bases of its deltas."""
    bases = {one.manifest: one for one, _ in bases_for(repository, version, manifest)}
    for row in repository.catalog.deltas.of(version.manifest):
        bases.setdefault(row.base, repository.version_of(row.base)[0])
    return tuple(update(repository, version, manifest, base) for base in bases.values())


def new_bytes(source: BlockSource, manifest: Manifest, base: Manifest) -> dict[str, int]:
    """Return for each file of a version, by its path, how many bytes of its blocks are in no file of another version.

    A block that several files share is counted for the first; a file whose inner nodes are not here is all new.

    Raises:
        Corrupted, TooLarge: its inner nodes are not those of a file of its size.
    """
    known: set[bytes] = set()
    had = {one.sha256 for one in base.files}
    changed = [one for one in manifest.files if one.sha256 not in had]
    if changed:
        for file in base.files:
            known.update(digest for digest, _ in _leaves(source, file))
    counts = {one.path: 0 for one in manifest.files}
    for file in changed:
        for digest, length in _leaves(source, file):
            if digest not in known:
                known.add(digest)
                counts[file.path] += length
    return counts


def _leaves(source: BlockSource, file: ModelFile) -> Iterator[tuple[bytes, int]]:
    dag = outline(file.cid, file.size, lambda cid: block_if_here(source, cid))
    if isinstance(dag, Lacking):
        yield file.cid.digest, file.size
        return
    for index, length in enumerate(dag.leaves.lengths.tolist()):
        yield dag.leaves.digest(index), length
