"""What of a repository's blocks one who sends a version may count on; the rest must be sent, whether here or not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from farlane.errors import NotFound
from farlane.models.blocks.port import BlockStore, StoredFile
from farlane.models.cid import Cid, Octets


class Guard(Protocol):
    """Tells what of a repository somebody may not have; used from any thread, and true at every moment."""

    @property
    def hides(self) -> bool:
        """Whether there is anything that they may not have."""
        ...

    def file(self, sha256: str) -> bool:
        """Tell whether they may have a file, and all its leaves."""
        ...

    def node(self, digest: bytes) -> bool:
        """Tell whether they may have a block that is no leaf of a file."""
        ...


class UsableBlocks:
    """The blocks of a repository for one who sends a version: those they may have, and those they have sent.

    Args:
        blocks: of the repository.
        guard: says what they may not have; without it they may have everything.
    """

    def __init__(self, blocks: BlockStore, guard: Guard | None = None) -> None:
        self._blocks, self._guard = blocks, guard
        self._sent: set[bytes] = set()

    def may(self, cid: Cid) -> bool:
        """Tell whether a block, should it be here, is theirs to have."""
        if self._guard is None or not self._guard.hides or cid.digest in self._sent:
            return True
        if holders := self._blocks.holders(cid):
            return any(map(self._guard.file, holders))
        return self._guard.node(cid.digest)

    def has(self, cid: Cid) -> bool:
        """Tell whether a block is here for them."""
        return self._blocks.has(cid) and self.may(cid)

    def get(self, cid: Cid) -> bytes:
        """Return a block, verified.

        Raises:
            NotFound: it is not here for them.
            Corrupted: it is damaged.
        """
        if not self.may(cid):
            raise NotFound(f"block {cid} is not here", cid=cid.text)
        return self._blocks.get(cid)

    def file(self, sha256: str) -> StoredFile:
        """Return a file.

        Raises:
            NotFound: it is not here for them.
        """
        if self._guard is not None and not self._guard.file(sha256):
            raise NotFound(f"the file {sha256} is not here", sha256=sha256)
        return self._blocks.file(sha256)

    def put_many(self, blocks: Iterable[tuple[Cid, Octets]]) -> None:
        """Keep blocks that they sent; raises as `BlockStore.put_many`."""
        came = list(blocks)
        self._blocks.put_many(came)
        self._sent.update(cid.digest for cid, _ in came)
