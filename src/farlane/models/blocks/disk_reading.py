"""The reading half of a block store on a disk: finding blocks and files, and putting damaged ones out of sight."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from farlane.errors import FarlaneError, InvalidInput
from farlane.kit.clock import Clock
from farlane.kit.hashing import sha256 as digest_of
from farlane.models.blocks.assembly import DiskAssembly
from farlane.models.blocks.checks import damaged, missing_block, missing_file
from farlane.models.blocks.flatfs import FlatBlocks, read_part
from farlane.models.blocks.index import Index, IndexedFile, Place
from farlane.models.blocks.port import Location, StoredFile
from farlane.models.blocks.whole_files import WholeFiles
from farlane.models.cid import RAW, Cid
from farlane.models.unixfs.nodes import wrap_leaf

_FILE_USE_RESOLUTION_S: Final = 60.0
_BLOCK_USE_RESOLUTION_S: Final = 1.0
"""A use is written to disk only if the last one there is older: reading must not mean writing."""

log = logging.getLogger(__name__)


class DiskReading:
    """What is in a store's directory.

    Args:
        blocks: its single blocks.
        files: its whole files.
        index: of these.
        clock: tells when something was used.
    """

    def __init__(self, blocks: FlatBlocks, files: WholeFiles, index: Index, clock: Clock) -> None:
        self._blocks = blocks
        self._files = files
        self._index = index
        self._clock = clock
        self._lock = threading.RLock()
        self._assemblies: list[DiskAssembly] = []
        self._used_s: dict[int, float] = {}

    @property
    def total_bytes(self) -> int:
        """Bytes of all files and single blocks here; referenced files count nothing."""
        return self._blocks.total_bytes() + self._index.total_bytes()

    def has(self, cid: Cid) -> bool:
        """Tell whether a block is here; counts as a use of it."""
        return self._find_size(cid) is not None

    def size(self, cid: Cid) -> int:
        """Return a block's size in bytes."""
        size_bytes = self._find_size(cid)
        if size_bytes is None:
            raise missing_block(cid)
        return size_bytes

    def get(self, cid: Cid) -> bytes:
        """Return a block, verified; what is damaged is put out of sight."""
        bad = False
        try:
            data = self._blocks.read(cid.digest)
            bad = data is not None and digest_of(data) != cid.digest
        except InvalidInput:
            data, bad = None, True
        if bad:
            self._blocks.quarantine(cid.digest)
        elif data is not None:
            self._note_block_use(cid.digest)
            return data
        for place in self._places(cid):
            block = self._read(place)
            if block is not None and digest_of(block) == cid.digest:
                return block
            if self._files.is_here(place.file):
                log.error("block %s is damaged in file %s", cid, place.file.sha256)
                self._index.condemn(place.file.number, cid.digest)
                bad = True
        for assembly, where in self._arrived(cid):
            block = read_part(*where)
            if block is not None and digest_of(block) == cid.digest:
                return block
            assembly.drop(cid.digest)
            bad = True
        raise damaged(cid) if bad else missing_block(cid)

    def locate(self, cid: Cid) -> Location | None:
        """Return where a block's bytes lie; None for a leaf whose block is a node around them."""
        size_bytes = self._blocks.size(cid.digest)
        if size_bytes is not None:
            self._note_block_use(cid.digest)
            return Location(self._blocks.file(cid.digest), 0, size_bytes)
        places = self._places(cid)
        for place in places:
            if not place.wrapped:
                return Location(self._files.path(place.file), place.offset, place.length)
        if places:
            return None
        for _, where in self._arrived(cid):
            return where
        raise missing_block(cid)

    def holders(self, cid: Cid) -> frozenset[str]:
        """Return the SHA-256 of all files, whole or under way, that have a block as a leaf."""
        whole = (place.file.sha256 for place in self._index.places(cid.digest))
        return frozenset((*whole, *(assembly.key for assembly, _ in self._arrived(cid))))

    def file(self, sha256: str) -> StoredFile:
        """Return a file by its SHA-256; one with a damaged leaf is out of sight."""
        file = self._sound_file(sha256)
        if file is None:
            raise missing_file(sha256)
        return self._stored(file)

    def file_path(self, sha256: str) -> Path:
        """Return a local read-only file with this content, unverified."""
        file = self._sound_file(sha256)
        if file is None:
            raise missing_file(sha256)
        self._note_file_use(file)
        return self._files.path(file)

    def files(self) -> Iterator[StoredFile]:
        """Yield the files here; those with a damaged leaf are out of sight."""
        for file in self._index.files():
            if not file.damaged and self._files.is_here(file):
                yield self._stored(file)

    def iterate(self) -> Iterator[Cid]:
        """Yield a raw CID for each block here."""
        here = {file.number for file in self._index.files() if self._files.is_here(file)}
        seen = set()
        for entry in self._blocks.entries():
            seen.add(entry.digest)
            yield Cid(1, RAW, entry.digest)
        last = b""
        for digest, number in self._index.leaves():
            if number in here and digest != last and digest not in seen:
                last = digest
                yield Cid(1, RAW, digest)

    def _find_size(self, cid: Cid) -> int | None:
        size_bytes = self._blocks.size(cid.digest)
        if size_bytes is not None:
            self._note_block_use(cid.digest)
            return size_bytes
        for place in self._places(cid):
            return len(wrap_leaf(bytes(place.length))) if place.wrapped else place.length
        for _, where in self._arrived(cid):
            return where.length
        return None

    def _places(self, cid: Cid) -> list[Place]:
        places = [place for place in self._index.places(cid.digest) if self._files.is_here(place.file)]
        for place in places[:1]:
            self._note_file_use(place.file)
        return places

    def _arrived(self, cid: Cid) -> Iterator[tuple[DiskAssembly, Location]]:
        with self._lock:
            assemblies = list(self._assemblies)
        for assembly in assemblies:
            if (where := assembly.place(cid.digest)) is not None:
                yield assembly, where

    def _read(self, place: Place) -> bytes | None:
        part = read_part(self._files.path(place.file), place.offset, place.length)
        return wrap_leaf(part) if part is not None and place.wrapped else part

    def _sound_file(self, sha256: str) -> IndexedFile | None:
        file = self._index.file(sha256)
        return file if file and not file.damaged and self._files.is_here(file) else None

    def _stored(self, file: IndexedFile) -> StoredFile:
        return StoredFile(
            file.sha256, file.size_bytes, self._files.path(file), self._index.roots(file.number)
        )

    def _note_file_use(self, file: IndexedFile) -> None:
        now_s = self._clock.now()
        self._used_s[file.number] = now_s
        if now_s - file.used_s > _FILE_USE_RESOLUTION_S:
            with contextlib.suppress(FarlaneError):  # a full disk must not keep anybody from reading
                self._index.note_use(file.number, now_s)

    def _note_block_use(self, digest: bytes) -> None:
        now_s = self._clock.now()
        if now_s - self._blocks.used_s(digest) > _BLOCK_USE_RESOLUTION_S:
            self._blocks.note_use(digest, now_s)
