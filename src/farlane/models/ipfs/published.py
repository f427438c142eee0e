"""The public versions of a repository as what a gateway may give to everybody: their blocks, and no others."""

from __future__ import annotations

from dataclasses import dataclass, field

from farlane.errors import Corrupted, NotFound
from farlane.models.blocks.port import BlockSource
from farlane.models.catalog.values import Version
from farlane.models.cid import Cid
from farlane.models.ipfs.outgoing import SignedBlocks, own_blocks, public_manifest
from farlane.models.ipfs.signed_version import published_as
from farlane.models.repository import Repository


@dataclass(frozen=True, slots=True)
class _Served:
    version: Version
    digests: frozenset[bytes] = field(repr=False)
    signed: dict[bytes, bytes] = field(repr=False)


class PublishedVersions:
    """Which blocks everybody may have: `refresh` looks into the catalog, `admit` may be called from any thread.

    Left out are private versions, those under a licence that the owner of this repository has not accepted, and those
    that are not whole here. A version's parents are there if they are versions of this repository themselves.

    Args:
        repository: whose versions.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._served: dict[Cid, _Served] = {}
        self._digests: frozenset[bytes] = frozenset()
        self._signed: dict[bytes, bytes] = {}
        self.left_out = 0
        """Versions that are not given to anybody."""
        self.refresh()

    @property
    def source(self) -> BlockSource:
        """Where the blocks are, those that lead to signed versions among them."""
        return SignedBlocks(self._repository.blocks, self._signed)

    @property
    def versions(self) -> tuple[tuple[Version, Cid], ...]:
        """The versions that are served, and under which CID each is published."""
        return tuple((one.version, published_as(one.version)[0]) for one in self._served.values())

    def refresh(self) -> None:
        """Take in what has been added, accepted or removed since."""
        known, now, left_out = self._served, {}, 0
        for version in self._repository.versions():
            found = known.get(version.manifest) or self._look_at(version)
            if found is None:
                left_out += 1
            else:
                now[version.manifest] = found
        self.left_out = left_out
        if now.keys() != known.keys():
            for one in now.values():
                self._signed.update(one.signed)
            self._digests = frozenset().union(*(one.digests for one in now.values()))
            self._served = now

    def admit(self, ticket: str, cid: Cid) -> bool:
        """Let everybody have a block of a public version.

        Raises:
            NotFound: it is of none.
        """
        if cid.digest not in self._digests:
            raise NotFound(f"block {cid} is of no public version here", cid=cid.text)
        return True

    def _look_at(self, version: Version) -> _Served | None:
        manifest = public_manifest(self._repository, version.manifest)
        if manifest is None:
            return None
        try:
            cids, _ = own_blocks(self._repository.blocks, version.manifest, manifest, set())
        except (NotFound, Corrupted):
            return None
        root, signed = published_as(version)
        digests = frozenset((root.digest, *(cid.digest for cid in cids)))
        return _Served(version, digests, {root.digest: signed} if signed else {})
