"""Which blocks are a version's: those of its manifest, its directory and its files, by both of their DAGs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from farlane.errors import NotFound
from farlane.models.blocks.port import BlockSource
from farlane.models.blocks.walking import walk
from farlane.models.cid import Cid
from farlane.models.manifest.values import Manifest
from farlane.models.transfer.outline import Lacking, outline
from farlane.models.unixfs.file_dag import FileDag

MAX_DIRECTORY_BLOCKS: Final = 100_000
"""Of a version's directory: one for each folder, as many as its files have."""


def digests_of(blocks: BlockSource, version: Cid, manifest: Manifest) -> frozenset[bytes]:
    """Return the SHA-256 of every block of a version that is here whole.

    Raises:
        NotFound: an inner node is not here.
        Corrupted, InvalidInput, TooLarge: what is here was not put together by farlane.
    """
    return frozenset(_digests(blocks, version, manifest))


def dag_of(blocks: BlockSource, root: Cid, size_bytes: int) -> FileDag:
    """Return the DAG of a file that is here.

    Raises:
        NotFound: an inner node is not here.
        Corrupted, TooLarge: as `outline`.
    """
    found = outline(root, size_bytes, blocks.get)
    if isinstance(found, Lacking):  # `get` raises for what is not here, so nothing can be lacking
        raise NotFound(f"the file {root} is not here whole: pull the version again")
    return found


def _digests(blocks: BlockSource, version: Cid, manifest: Manifest) -> Iterator[bytes]:
    yield version.digest
    files = {file.ipfs_cid: file for file in manifest.files}
    directories = walk(
        lambda cid: None if cid in files else blocks.get(cid),
        [manifest.root],
        max_blocks=MAX_DIRECTORY_BLOCKS,
    )
    for cid, _ in directories:
        yield cid.digest
    for file in manifest.files:
        for root in {file.cid, file.ipfs_cid}:
            dag = dag_of(blocks, root, file.size)
            for cid in dag.nodes:
                yield cid.digest
            for leaf in range(len(dag.leaves)):
                yield dag.leaves.digest(leaf)
