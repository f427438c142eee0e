"""The deltas of a repository: made between two of its versions, kept beside them, and used to fill files under way."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from farlane.errors import Conflict, DiskFull, FarlaneError, InvalidInput, NotFound
from farlane.models.adding import OnProgress, Progress
from farlane.models.blocks.port import BlockStore, FileAssembly
from farlane.models.catalog.values import DeltaRow, Version
from farlane.models.cid import Cid
from farlane.models.delta.applying import Applied, DeltaBlocks, Readable, apply_delta, read_delta
from farlane.models.delta.format import Delta
from farlane.models.delta.listing import USELESS, block_list, blocks_so_far, readable_blocks
from farlane.models.delta.making import estimate_delta, make_delta
from farlane.models.delta.spans import SpannedFile
from farlane.models.manifest.values import Manifest, ModelFile
from farlane.models.matched_files import Matched, matched_files
from farlane.models.repository import Repository, read_manifest
from farlane.models.updates import bases_for, new_bytes

__all__ = [
    "block_list", "blocks_so_far", "deltas_for", "fill", "forget_damaged", "keep", "make_all", "make_for",
    "readable_blocks",
]  # fmt: skip

log = logging.getLogger(__name__)

WORTH: Final = 0.8
"""A delta is made if it takes less than this share of the bytes that blocks alone would."""
LEAST_SAVED_BYTES: Final = 300_000
"""And if it saves so many: what is less is no matter."""
_BATCH_BYTES: Final = 32 << 20


def deltas_for(repository: Repository, manifest_cid: Cid) -> tuple[DeltaRow, ...]:
    """Return the deltas that make a version, smallest first; their blocks are in the repository."""
    return repository.catalog.deltas.of(manifest_cid)


def make_all(
    repository: Repository, version: Version, manifest: Manifest, on_progress: OnProgress | None = None
) -> tuple[DeltaRow, ...]:
    """Make the deltas from the version before one, and from its parents, where they save; those kept stay.

    Returns:
        All deltas of the version, smallest first.

    Raises:
        NotFound, Corrupted, DiskFull, Exhausted: as `make_for`.
    """
    known = {one.base for one in deltas_for(repository, version.manifest)}
    for base, said in bases_for(repository, version, manifest):
        if base.manifest not in known:
            make_for(repository, version, manifest, base, said, on_progress=on_progress)
    return deltas_for(repository, version.manifest)


def make_for(
    repository: Repository,
    version: Version,
    manifest: Manifest,
    base_version: Version,
    base_manifest: Manifest,
    *,
    threads: int | None = None,
    on_progress: OnProgress | None = None,
) -> DeltaRow | None:
    """Make the delta from one version to another and keep it, if it saves anything worth the while.

    Args:
        repository: has the files of both.
        version: what it makes.
        manifest: of that version.
        base_version: what its receivers have.
        base_manifest: of that version.
        threads: how many pieces are coded at once; None for the number of cores.
        on_progress: called as pieces are done.

    Returns:
        What is kept of it; None for private versions, and where blocks alone do as well.

    Raises:
        NotFound: a file of one of them is not here, or one of them is removed meanwhile.
        Corrupted: a file, or its inner nodes, are damaged.
        DiskFull: no room; what was kept goes with the next collection.
        Exhausted: the version has as many deltas as it may.
    """
    if manifest.encryption or base_manifest.encryption or version.manifest == base_version.manifest:
        return None
    new = new_bytes(repository.blocks, manifest, base_manifest)
    if sum(new.values()) < LEAST_SAVED_BYTES:
        return None
    with matched_files(repository, manifest, base_manifest, new) as matched:
        by_blocks = sum(new[path] for path in matched.paths)
        estimated = estimate_delta(matched.bases, matched.targets, threads=threads)
        if not _worthwhile(estimated, by_blocks):
            return None
        sink = _Batches(repository.blocks)
        meter = _Meter(matched, on_progress)
        made = make_delta(matched.bases, matched.targets, sink, threads=threads, on_coded=meter.add)
        sink.flush()
    if not _worthwhile(made.size_bytes, by_blocks):
        return None
    with repository.blocks.hold(made.cid):
        return keep(repository, version.manifest, base_version.manifest, made.cid)


def keep(repository: Repository, target: Cid, base: Cid, delta: Cid) -> DeltaRow:
    """Note a delta between two versions, by their manifests, whose blocks are in the repository.

    Raises:
        NotFound: one of the versions, or a block of the delta, is not here.
        InvalidInput: it makes no file of the one version, or one of them is private.
        Corrupted, TooLarge, UnsupportedVersion: it is no delta.
        Exhausted: the version has as many deltas as it may.
    """
    found = blocks_so_far(repository.blocks, delta)
    if found.lacking:
        raise NotFound(
            f"{len(found.lacking)} blocks of the delta {delta.text} are not here: fetch them first"
        )
    manifests = [read_manifest(repository.blocks, cid) for cid in (target, base)]
    if any(one.encryption for one in manifests):
        raise InvalidInput(
            f"{manifests[0].name} or what it is made from is private: such versions have no deltas"
        )
    files = {one.cid for one in manifests[0].files}
    if not any(one.file.cid in files for one in read_delta(delta, repository.blocks).targets):
        raise InvalidInput(f"the delta {delta.text} makes no file of {target.text}: it is of another version")
    row = DeltaRow(target, base, delta, found.size_bytes)
    repository.catalog.deltas.add(row)
    return row


def forget_damaged(repository: Repository, version: Version) -> tuple[DeltaRow, ...]:
    """Read the deltas that make a version, and forget those of which a block is missing or damaged; return these."""
    gone = []
    for row in deltas_for(repository, version.manifest):
        try:
            for cid in block_list(repository.blocks, row.root):
                repository.blocks.get(cid)
        except USELESS as error:
            log.warning("the delta %s is forgotten: %s", row.root.text, error)
            repository.catalog.deltas.remove(row.target, row.base)
            gone.append(row)
    return tuple(gone)


def fill(
    repository: Repository,
    manifest: Manifest,
    base_manifest: Manifest,
    delta_cid: Cid,
    blocks: DeltaBlocks,
    assemblies: Mapping[int, FileAssembly],
    *,
    threads: int | None = None,
) -> Applied:
    """Rebuild the files under way from those of another version, as far as a delta can; every block is checked.

    Whatever is wrong with the delta, its blocks or the bases leaves blocks to fetch, and is no error.

    Args:
        repository: has files of the other version.
        manifest: of the version whose files are under way.
        base_manifest: of the other one.
        delta_cid: of the delta's root.
        blocks: has the delta's blocks.
        assemblies: files under way by their number in the manifest.
        threads: how many pieces are rebuilt at once; None for the number of cores.

    Returns:
        What was written in all of them, and how many of their blocks are still missing.

    Raises:
        DiskFull: a block cannot be written.
        Conflict: somebody closed an assembly meanwhile.
    """
    try:
        delta = read_delta(delta_cid, blocks)
    except (FarlaneError, OSError) as error:
        log.info("the delta %s is of no use: %s", delta_cid.text, error)
        delta = Delta((), ())
    bases = _bases(repository, base_manifest, delta)
    written = written_bytes = missing = 0
    for number, assembly in assemblies.items():
        one = _filled(manifest.files[number], delta, bases, blocks, assembly, threads)
        written, written_bytes, missing = (
            written + one.blocks,
            written_bytes + one.size_bytes,
            missing + one.missing,
        )
    return Applied(written, written_bytes, missing)


def _filled(
    file: ModelFile,
    delta: Delta,
    bases: Mapping[Cid, Readable],
    blocks: DeltaBlocks,
    assembly: FileAssembly,
    threads: int | None,
) -> Applied:
    target = next((one for one in delta.targets if one.file.cid == file.cid), None)
    before = len(assembly.missing())
    if target is not None and before:
        try:
            return apply_delta(target, delta, bases, blocks, assembly, threads=threads)
        except (DiskFull, Conflict):
            raise
        except FarlaneError as error:
            log.info("a delta for %s is of no use: %s", file.path, error)
    return Applied(0, 0, len(assembly.missing()))


def _bases(repository: Repository, manifest: Manifest, delta: Delta) -> dict[Cid, Readable]:
    files = {one.cid: one for one in manifest.files}
    found: dict[Cid, Readable] = {}
    for reference in delta.bases:
        file = files.get(reference.cid)
        if file is not None and file.size == reference.size_bytes:
            try:
                found[reference.cid] = _Base(repository.file_path(file))
            except NotFound:
                log.info("%s, which a delta needs, is not here", file.path)
    return found


class _Base:
    """A file of the repository; opened for each piece, so that a delta of thousands of files needs few descriptors."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, offset: int, length: int) -> bytearray:
        with SpannedFile(self._path) as file:
            return file.read(offset, length)


class _Batches:
    """Keeps blocks many at a time, each time with one pass of syncs."""

    def __init__(self, store: BlockStore) -> None:
        self._store = store
        self._waiting: list[tuple[Cid, bytes]] = []
        self._size_bytes = 0

    def put(self, cid: Cid, data: bytes) -> None:
        self._waiting.append((cid, data))
        self._size_bytes += len(data)
        if self._size_bytes >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        self._store.put_many(self._waiting)
        self._waiting, self._size_bytes = [], 0


class _Meter:
    def __init__(self, matched: Matched, on_progress: OnProgress | None) -> None:
        self._tell, self._done = on_progress, 0
        self._total = sum(one.size_bytes for one in matched.targets)

    def add(self, count: int) -> None:
        self._done += count
        if self._tell is not None:
            self._tell(Progress("delta", self._done, self._total))


def _worthwhile(delta_bytes: int, by_blocks: int) -> bool:
    return delta_bytes < WORTH * by_blocks and by_blocks - delta_bytes >= LEAST_SAVED_BYTES
