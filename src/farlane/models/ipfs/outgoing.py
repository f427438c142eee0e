"""What of a version goes out when it is published: which blocks, under which CID, and what must stay here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from farlane.errors import Corrupted, NotFound, PermissionRefused
from farlane.models.blocks.port import BlockSource, Location
from farlane.models.blocks.walking import links_of, walk
from farlane.models.catalog.values import Version
from farlane.models.cid import DAG_CBOR, RAW, Cid
from farlane.models.ipfs.signed_version import published_as
from farlane.models.manifest.licences import require_acceptance
from farlane.models.manifest.values import Manifest
from farlane.models.private.versions import require_public
from farlane.models.repository import Repository, read_manifest

MAX_ANCESTORS: Final = 1000
DOING: Final = "publish it to IPFS"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A version on its way out.

    root: under what it is published; size_bytes: of all blocks; left_out: parents that do not go with it, because they
    are private, not here, or under a licence that was not accepted.
    """

    root: Cid
    manifest: Manifest
    cids: Sequence[Cid] = field(repr=False)
    size_bytes: int
    left_out: tuple[Cid, ...]
    source: BlockSource = field(repr=False)

    def blocks(self) -> Iterator[tuple[Cid, bytes]]:
        """Yield every block, verified as it is read."""
        for cid in self.cids:
            yield cid, self.source.get(cid)


class SignedBlocks:
    """A source of blocks with a few more, made of what stands in the catalog."""

    def __init__(self, source: BlockSource, more: dict[bytes, bytes]) -> None:
        self._source, self._more = source, more

    def has(self, cid: Cid) -> bool:
        """Tell whether a block is here."""
        return cid.digest in self._more or self._source.has(cid)

    def size(self, cid: Cid) -> int:
        """Return a block's size in bytes; raises as the source."""
        block = self._more.get(cid.digest)
        return self._source.size(cid) if block is None else len(block)

    def get(self, cid: Cid) -> bytes:
        """Return a block, verified; raises as the source."""
        block = self._more.get(cid.digest)
        return self._source.get(cid) if block is None else block

    def locate(self, cid: Cid) -> Location | None:
        """Return where a block lies in a file; raises as the source."""
        return None if cid.digest in self._more else self._source.locate(cid)


def gather(repository: Repository, version: Version, manifest: Manifest) -> Outgoing:
    """Find all that must go out for a version to be whole elsewhere, its public ancestors among it.

    Raises:
        PermissionRefused: it is private, or its licence was not accepted.
        NotFound: a part of it is not here.
    """
    require_public(manifest, DOING)
    repository.require_acceptance(version, manifest)
    root, signed = published_as(version)
    source = SignedBlocks(repository.blocks, {root.digest: signed} if signed else {})
    cids: list[Cid] = [root] if signed else []
    size_bytes = len(signed or b"")
    left_out: list[Cid] = []
    seen: set[bytes] = set()
    waiting, asked = [(version.manifest, manifest)], {version.manifest}
    while waiting:
        cid, found = waiting.pop()
        try:
            part, part_bytes = own_blocks(source, cid, found, seen)
        except (NotFound, Corrupted):
            if cid == version.manifest:
                raise
            left_out.append(cid)
            continue
        cids += part
        size_bytes += part_bytes
        for parent in _parents(found):
            if parent in asked or len(asked) > MAX_ANCESTORS:
                continue
            asked.add(parent)
            ancestor = public_manifest(repository, parent)
            if ancestor is None:
                left_out.append(parent)
            else:
                waiting.append((parent, ancestor))
    return Outgoing(root, manifest, tuple(cids), size_bytes, tuple(left_out), source)


def public_manifest(repository: Repository, cid: Cid) -> Manifest | None:
    """Return the manifest that everybody may have, None for one that is private, missing, unaccepted or none at all."""
    try:
        manifest = read_manifest(repository.blocks, cid)
        require_public(manifest, DOING)
        require_acceptance(manifest, repository.catalog.accepted("", cid), "")
    except (NotFound, Corrupted, PermissionRefused):
        return None
    return manifest


def own_links(manifest: Manifest) -> list[Cid]:
    """Return what a version consists of: its directory and both DAGs of each file, and neither parents nor recipes."""
    links = [manifest.root]
    for one in manifest.files:
        links += [one.cid, one.ipfs_cid]
    return list(dict.fromkeys(links))


def _parents(manifest: Manifest) -> list[Cid]:
    recipes = [parent.recipe for parent in manifest.parents if parent.recipe is not None]
    return [*(parent.cid for parent in manifest.parents), *recipes]


def own_blocks(source: BlockSource, cid: Cid, manifest: Manifest, seen: set[bytes]) -> tuple[list[Cid], int]:
    """Return a version's blocks that were not seen, and their bytes; leaves are not read for it.

    Args:
        source: where they are.
        cid: of its manifest.
        manifest: what it says.
        seen: `visit_key` of blocks to leave out; those found are added.

    Raises:
        NotFound, Corrupted: a block is missing or damaged; nothing is added.
    """
    sizes: list[int] = []

    def read(block: Cid) -> bytes:
        if block.codec == RAW:
            sizes.append(source.size(block))
            return b""
        data = source.get(block)
        sizes.append(len(data))
        return data

    def links(block: Cid, data: bytes) -> list[Cid]:
        return own_links(manifest) if block.codec == DAG_CBOR else links_of(block, data)

    new = seen.copy()
    found = [block for block, _ in walk(read, [cid], links=links, seen=new)]
    seen.update(new)
    return found, sum(sizes)
