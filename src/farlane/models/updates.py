"""What an update costs: the bytes of a version's blocks that another one has not."""

from __future__ import annotations

from collections.abc import Iterator

from farlane.errors import Corrupted, NotFound
from farlane.models.blocks.port import BlockSource
from farlane.models.cid import Cid
from farlane.models.manifest.values import Manifest, ModelFile
from farlane.models.transfer.outline import Lacking, outline


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
    dag = outline(file.cid, file.size, lambda cid: _here(source, cid))
    if isinstance(dag, Lacking):
        yield file.cid.digest, file.size
        return
    for index, length in enumerate(dag.leaves.lengths.tolist()):
        yield dag.leaves.digest(index), length


def _here(source: BlockSource, cid: Cid) -> bytes | None:
    try:
        return source.get(cid)
    except (NotFound, Corrupted):
        return None
