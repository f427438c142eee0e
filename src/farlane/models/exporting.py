"""A version as a folder: its files, byte for byte, and nothing else; and another repository's version in this one."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farlane.errors import Conflict, Corrupted, NotFound
from farlane.kit.files import disk_full_as_error, fsync_directory, write_all
from farlane.models.adding import OnProgress, Progress
from farlane.models.catalog.values import Author, Version
from farlane.models.checking import put_checked
from farlane.models.deltas import block_list, deltas_for, keep
from farlane.models.manifest.paths import check_paths
from farlane.models.manifest.signature import Signature
from farlane.models.manifest.values import Manifest, ModelFile
from farlane.models.names import Reference
from farlane.models.repository import Repository
from farlane.models.trees import tree

log = logging.getLogger(__name__)


def export_folder(
    repository: Repository, manifest: Manifest, target: Path, on_progress: OnProgress | None = None
) -> None:
    """Write a version's files into a new folder, whole or not at all, each checked as it is written.

    Raises:
        Conflict: something is there already.
        NotFound: a file is not here.
        Corrupted: a file's bytes are not what the manifest says.
        DiskFull: no room.
    """
    check_paths(one.path for one in manifest.files)
    with new_folder(target) as folder:
        done = 0
        for file in manifest.files:
            place = folder / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            for count in copy_checked(repository.file_path(file), place, file):
                done += count
                if on_progress is not None:
                    on_progress(Progress(file.path, done, manifest.size_bytes))


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Lend an empty folder that becomes `target` if the block succeeds, and else is gone.

    Raises:
        Conflict: something is there already.
        DiskFull: no room.
    """
    if target.exists() or target.is_symlink():
        raise Conflict(f"{target} exists, and nothing is overwritten: name another folder", path=str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    with disk_full_as_error(target):
        try:
            temporary.mkdir()
            yield temporary
            os.rename(temporary, target)
            fsync_directory(target.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def copy_checked(source: Path, target: Path, file: ModelFile) -> Iterator[int]:
    """Copy a file and yield how many bytes each step wrote; its hash is checked at the end.

    Raises:
        Corrupted: it is not the manifest's file; nothing is left.
    """
    import hashlib

    digest, size = hashlib.sha256(), 0
    out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with source.open("rb") as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
                write_all(out, piece)
                size += len(piece)
                yield len(piece)
        os.fsync(out)
    finally:
        os.close(out)
    if digest.digest() != file.sha256 or size != file.size:
        target.unlink()
        raise Corrupted(
            f"{file.path} in the repository is damaged: run `farlane models verify`, then pull the version again",
            path=file.path,
        )


def pull(
    target: Repository,
    source: Repository,
    reference: Reference | str,
    *,
    author: Author | None = None,
    who: str = "",
    on_progress: OnProgress | None = None,
) -> tuple[Version, Manifest]:
    """Take a version from another repository on this machine, checking its signature and every file.

    Args:
        target: where it goes.
        source: where it is.
        reference: which one, in the source.
        author: who adds it.
        who: whose acceptance of the licence counts, in the target.
        on_progress: called after each file.

    Raises:
        PermissionRefused: its licence must be accepted first, or the name is another publisher's here.
        InvalidSignature: who signed it is not who it names.
        Corrupted: a file is not what the manifest says.
    """
    version, manifest = source.resolve(reference)
    target.check_signature(manifest, version.manifest, version.signature)
    target.require_acceptance(version, manifest, who)
    done, sizes = 0, []
    for file in manifest.files:
        sizes.append(put_checked(target, source, file))
        done += file.size
        if on_progress is not None:
            on_progress(Progress(file.path, done, manifest.size_bytes))
    root = tree([(file.path, file.ipfs_cid, size) for file, size in zip(manifest.files, sizes, strict=True)])
    if root.root != manifest.root:
        raise Corrupted(f"the directory of {version.name}@v{version.number} is not what its manifest says")
    target.blocks.put_many(root.nodes.items())
    signature: Signature | None = version.signature
    taken = target.publish(manifest, signature, author)
    _take_deltas(target, source, taken)
    return taken, manifest


def _take_deltas(target: Repository, source: Repository, version: Version) -> None:
    """Take the deltas from versions that are here, for those who come here to update."""
    for row in deltas_for(source, version.manifest):
        if not target.catalog.has(row.base):
            continue
        blocks = source.blocks
        try:
            target.blocks.put_many((cid, blocks.get(cid)) for cid in block_list(blocks, row.root))
            keep(target, row.target, row.base, row.root)
        except (NotFound, Corrupted) as error:
            log.warning("the delta %s is not taken: %s", row.root.text, error)
