"""The node's shelf: blocks and files of versions within a budget; whole versions are listed, the least used go first.

<directory>/blocks         see `farlane.models.blocks.disk`
<directory>/whole/<cid>    empty; says that a version is here whole, and by its time when it was last used
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Final

from farlane.errors import Corrupted, FarlaneError, InvalidInput, NotFound
from farlane.kit.clock import Clock
from farlane.kit.files import atomic_write, private_directory
from farlane.models.blocks.collection import collect
from farlane.models.blocks.disk import DiskBlockStore
from farlane.models.blocks.walking import links_of
from farlane.models.cid import DAG_CBOR, Cid, parse_cid
from farlane.models.manifest.codec import decode
from farlane.models.manifest.values import Manifest
from farlane.models.repository import read_manifest

log = logging.getLogger(__name__)
ABANDONED_S: Final = 6 * 3600.0
"""A file that nobody goes on with for so long goes before any whole version."""


class ModelShelf:
    """Versions on this node's disk. Every method blocks, and may be called from any thread.

    Args:
        directory: made with mode 0700 if it is missing.
        max_bytes: budget of everything.
        clock: tells when a version was used.

    Raises:
        PermissionRefused, Corrupted, DiskFull: as `DiskBlockStore`.
    """

    def __init__(self, directory: Path, max_bytes: int, clock: Clock) -> None:
        self.blocks = DiskBlockStore(
            private_directory(directory) / "blocks", max_bytes=max_bytes, clock=clock
        )
        self._list = private_directory(directory / "whole")
        self._max_bytes, self._clock = max_bytes, clock
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the store."""
        self.blocks.close()

    def whole(self) -> tuple[Cid, ...]:
        """Return the versions that are here whole, those used last first."""
        found: list[tuple[float, Cid]] = []
        for path in self._list.iterdir():
            with contextlib.suppress(InvalidInput, FileNotFoundError):
                found.append((path.stat().st_mtime, parse_cid(path.name)))
        return tuple(cid for _, cid in sorted(found, reverse=True))

    def manifest_of_whole(self, version: Cid) -> Manifest | None:
        """Return the manifest of a version that is here whole, None for one that is not (any more)."""
        if not (self._list / version.text).exists():
            return None
        try:
            manifest = read_manifest(self.blocks, version)
            for file in manifest.files:
                self.blocks.file(file.sha256.hex())
        except (NotFound, Corrupted) as error:
            log.warning("version %s is not whole any more: %s", version, error.message)
            self._unlist(version)
            return None
        return manifest

    def list_whole(self, version: Cid) -> None:
        """Note that a version is here whole, and used now."""
        atomic_write(self._list / version.text, b"")
        self.note_use(version)

    def note_use(self, version: Cid) -> None:
        """Note that a whole version is used now."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._list / version.text, (self._clock.now(),) * 2)

    def hold(self, version: Cid) -> contextlib.AbstractContextManager[None]:
        """Keep a version from being evicted inside the block."""
        return self.blocks.hold(version)

    def make_room(self, manifest: Manifest, last: Cid | None = None, more_bytes: int = 0) -> tuple[Cid, ...]:
        """Make room for what is missing of a version, as far as it can be had; what is held stays.

        Args:
            manifest: of that version.
            last: a version that goes after all others.
            more_bytes: that are needed beside the version.

        Returns:
            The versions that had to go.
        """
        files = {file.sha256.hex(): file.size for file in manifest.files}
        with self._lock:
            for sha256 in list(files):
                with contextlib.suppress(NotFound):
                    self.blocks.file(sha256)
                    del files[sha256]
            needed = sum(files.values()) + more_bytes
            # Beside leaves there are inner nodes: 44 bytes and a link for each, in each of two DAGs.
            limit = self._max_bytes - needed - needed // 1000 - len(files) * 4096
            return self._evict(limit, files, last)

    def _evict(self, limit: int, arriving: Collection[str], last: Cid | None) -> tuple[Cid, ...]:
        gone: list[Cid] = []
        if self._fits(limit, arriving):
            return ()
        self._collect(limit, arriving)
        self.blocks.drop_partial(arriving, before_s=self._clock.now() - ABANDONED_S)
        held, whole = self.blocks.held(), self.whole()
        for version in [
            *reversed([one for one in whole if one != last]),
            *(one for one in whole if one == last),
        ]:
            if self._fits(limit, arriving):
                return tuple(gone)
            if version not in held:
                log.info("version %s goes: room is needed for another", version)
                self._unlist(version)
                gone.append(version)
                self._collect(limit, arriving)
        if not self._fits(limit, arriving):
            self.blocks.drop_partial(arriving, before_s=self._clock.now())
        return tuple(gone)

    def _fits(self, limit: int, arriving: Collection[str]) -> bool:
        return self.blocks.total_bytes + self.blocks.partial_bytes(arriving) <= limit

    def _collect(self, limit: int, arriving: Collection[str]) -> None:
        room = max(0, limit - self.blocks.partial_bytes(arriving))
        collect(self.blocks, self.whole, max_bytes=room, spare_s=0.0, links=_links)

    def _unlist(self, version: Cid) -> None:
        (self._list / version.text).unlink(missing_ok=True)


def _links(cid: Cid, block: bytes) -> list[Cid]:
    """Return what a block leads to; of a manifest its files, not its parents."""
    if cid.codec == DAG_CBOR:
        with contextlib.suppress(FarlaneError):
            manifest = decode(block, cid)
            return [manifest.root, *(root for file in manifest.files for root in (file.cid, file.ipfs_cid))]
    return list(links_of(cid, block))
