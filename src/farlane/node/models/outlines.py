"""The outlines of a version's files on a node: read from its shelf, and what they lack of inner nodes brought first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from farlane.errors import Corrupted, NotFound
from farlane.models.blocks.port import BlockStore
from farlane.models.cid import Cid, Octets, verify_block
from farlane.models.manifest.values import Manifest, ModelFile
from farlane.models.transfer.carrier import Keep
from farlane.models.transfer.outline import Lacking, outline
from farlane.models.trees import Tree, tree
from farlane.models.unixfs.file_dag import FileDag

Bring = Callable[[Cid, Keep], Coroutine[None, None, int]]
"""Brings a block and hands it to who keeps it; raises as `Carrier.fetch`."""
AT_ONCE: Final = 64
"""Inner nodes asked for at a time."""


@dataclass(frozen=True, slots=True)
class Outlined:
    """A file by its DAGs, the one that is transferred first."""

    file: ModelFile
    dags: tuple[FileDag, ...]


async def bring_outlines(store: BlockStore, manifest: Manifest, bring: Bring) -> list[Outlined]:
    """Return the outlines of all files; inner nodes that are not here are fetched, verified and kept.

    Raises:
        Corrupted, TooLarge: they do not make up the files that the manifest names.
        NotFound, Unavailable: whoever brings them does not have them, or is away.
        DiskFull: no room.
    """
    found = []
    for file in manifest.files:
        dags = [
            await _bring(store, root, file.size, bring) for root in dict.fromkeys((file.cid, file.ipfs_cid))
        ]
        found.append(Outlined(file, tuple(dags)))
    directory = directory_of(found)
    if directory.root != manifest.root:
        raise Corrupted(
            "the directory of this version is not what its manifest says: it was not made by farlane"
        )
    await asyncio.to_thread(store.put_many, directory.nodes.items())
    return found


def directory_of(files: Sequence[Outlined]) -> Tree:
    """Return the IPFS directory of files."""
    return tree([(one.file.path, one.file.ipfs_cid, _plain_bytes(one.dags[-1])) for one in files])


def digests_of_outlines(version: Cid, files: Sequence[Outlined]) -> frozenset[bytes]:
    """Return the SHA-256 of every block of a version."""
    digests = {version.digest, *(cid.digest for cid in directory_of(files).nodes)}
    for one in files:
        for dag in one.dags:
            digests.update(cid.digest for cid in dag.nodes)
            digests.update(dag.leaves.digest(at) for at in range(len(dag.leaves)))
    return frozenset(digests)


async def _bring(store: BlockStore, root: Cid, size_bytes: int, bring: Bring) -> FileDag:
    def get(cid: Cid) -> bytes | None:
        try:
            return store.get(cid)
        except (NotFound, Corrupted):
            return None

    while isinstance(found := await asyncio.to_thread(outline, root, size_bytes, get), Lacking):
        for at in range(0, len(found.nodes), AT_ONCE):
            blocks = await bring_all(found.nodes[at : at + AT_ONCE], bring)
            await asyncio.to_thread(store.put_many, blocks.items())
    return found


async def bring_all(cids: Sequence[Cid], bring: Bring) -> dict[Cid, bytes]:
    """Return several blocks, verified and not kept, fetched at once: kept together they need one pass of syncs.

    Raises:
        FarlaneError: as the first that cannot be brought.
    """
    found: dict[Cid, bytes] = {}

    def keep(cid: Cid, data: Octets) -> None:
        verify_block(cid, data)
        found[cid] = bytes(data)

    try:
        async with asyncio.TaskGroup() as group:
            for cid in cids:
                group.create_task(bring(cid, partial(keep, cid)))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return found


def _plain_bytes(dag: FileDag) -> int:
    return dag.size_bytes + sum(len(block) for block in dag.nodes.values())
