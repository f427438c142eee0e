"""A content store in a directory: power-cut safe, within a byte budget, suspicious of what it finds there."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from farlane.errors import Conflict, Corrupted, NotFound
from farlane.kit.cid import cid_of, parse
from farlane.kit.clock import Clock, SystemClock
from farlane.kit.files import disk_full_as_error, open_regular, write_all
from farlane.kit.hashing import CHUNK_BYTES, sha256, sha256_stream
from farlane.models.blob_files import BlobFiles
from farlane.models.inventory import Inventory
from farlane.models.store import Collected
from farlane.models.writer import Writer

USE_RESOLUTION_S = 60.0
"""A use is written to disk only if the last one there is older: reading must not mean writing."""

log = logging.getLogger(__name__)


class DiskStore:
    """Blobs as files. One object decides about eviction and collection; others may put and read beside it.

    Args:
        root: the store's directory, made with mode 0700 if it is missing.
        max_bytes: budget, or None for no limit but the disk's.
        evict: whether least recently used blobs make room when the budget is spent (a cache); otherwise that is
            a full disk (a store of record).
        clock: tells when blobs were used.

    Raises:
        PermissionRefused: if the directory is open to others.
        DiskFull: if there is no room for its directories.
    """

    def __init__(
        self, root: Path, *, max_bytes: int | None = None, evict: bool = True, clock: Clock | None = None
    ) -> None:
        self._files = BlobFiles(root)
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._inventory = Inventory(max_bytes, evict=evict)
        self._files.temporary.sweep()
        self._take_stock()

    @property
    def total_bytes(self) -> int:
        """Bytes of all blobs here, as far as this object knows."""
        return self._inventory.total_bytes

    def put(self, data: bytes | bytearray | memoryview) -> str:
        """Keep `data` and return its CID; what is here already is not written again."""
        cid = cid_of(data)
        if not self._already_here(cid, memoryview(data).nbytes):
            sink = _DiskSink(self)
            try:
                sink.write(data)
                sink.publish(cid)
            except BaseException:
                sink.discard()
                raise
        return cid

    def put_file(self, path: Path, *, move: bool = False) -> str:
        """Keep a file's content and return its CID; with `move` by renaming it where that is possible."""
        with open(open_regular(path), "rb", buffering=0) as stream:
            cid = self._adopt(path, stream.fileno()) if move else None
            if cid is not None:
                return cid
            with self.begin() as writer:
                while chunk := stream.read(CHUNK_BYTES):
                    writer.write(chunk)
                cid = writer.commit()
        if move:
            path.unlink()
        return cid

    def begin(self, expected: str | None = None) -> Writer:
        """Start a blob that arrives in pieces; nothing is visible before its `commit`."""
        return Writer(_DiskSink(self), expected)

    def has(self, cid: str) -> bool:
        """Tell whether a blob is here; counts as a use of it."""
        with contextlib.suppress(NotFound, Corrupted):
            self._use(cid)
            return True
        return False

    def size(self, cid: str) -> int:
        """Return a blob's size in bytes."""
        return self._use(cid).st_size

    def read(self, cid: str, *, verify: bool = True) -> bytes:
        """Return a blob's bytes."""
        with self.open(cid) as stream:
            data = stream.read()
        if verify and sha256(data) != parse(cid):
            raise self._condemn(cid)
        return data

    def open(self, cid: str) -> BinaryIO:
        """Open a blob for reading, unverified."""
        self._use(cid)
        return self._files.open(cid)

    def path(self, cid: str) -> Path:
        """Return the blob's own file, read-only and unverified; it stays while the blob is held."""
        self._use(cid)
        return self._files.file(cid)

    def verify(self, cid: str) -> None:
        """Read a blob and compare its hash."""
        with self.open(cid) as stream:
            digest = sha256_stream(stream)
        if digest != parse(cid):
            raise self._condemn(cid)

    @contextlib.contextmanager
    def hold(self, cid: str) -> Iterator[None]:
        """Keep a blob from being evicted, collected or deleted inside the block."""
        with self._lock:
            self._use(cid)
            self._inventory.hold(cid)
        try:
            yield
        finally:
            with self._lock:
                self._inventory.release(cid)

    def delete(self, cid: str) -> bool:
        """Remove a blob and tell whether it was here."""
        with self._lock:
            if self._inventory.held(cid):
                raise Conflict(f"blob {cid} is in use and cannot be deleted: try again when it is released")
            return self._remove(cid)

    def iterate(self) -> Iterator[str]:
        """Yield the CIDs here, shard by shard."""
        return self._files.iterate()

    def collect(self, keep: Callable[[str], bool], older_than_s: float) -> Collected:
        """Remove blobs that are not kept, not held and not used lately."""
        blobs = size_bytes = 0
        for cid in self.iterate():
            if keep(cid):
                continue
            with self._lock, contextlib.suppress(NotFound, Corrupted):
                status, entry = self._files.status(cid), self._inventory.get(cid)
                used_s = max(status.st_mtime, entry.used_s if entry else 0.0)
                if not self._inventory.held(cid) and self._clock.now() - used_s >= older_than_s:
                    self._remove(cid)
                    blobs, size_bytes = blobs + 1, size_bytes + status.st_size
        return Collected(blobs, size_bytes)

    def _take_stock(self) -> None:
        found: list[tuple[float, str, int]] = []
        for cid in self.iterate():
            with contextlib.suppress(NotFound, Corrupted):
                status = self._files.status(cid)
                found.append((status.st_mtime, cid, status.st_size))
        for used_s, cid, size_bytes in sorted(found):
            self._inventory.add(cid, size_bytes, used_s)
        for cid in self._inventory.excess():
            self._remove(cid)

    def _use(self, cid: str) -> os.stat_result:
        """Note a use; also takes blobs into the books that another process put."""
        with self._lock:
            try:
                status = self._files.status(cid)
            except (NotFound, Corrupted):
                self._inventory.remove(cid)
                raise
            now_s = self._clock.now()
            if cid in self._inventory:
                self._inventory.touch(cid, now_s)
            else:
                self._inventory.add(cid, status.st_size, now_s)
            if now_s - status.st_mtime > USE_RESOLUTION_S:
                self._files.note_use(cid, now_s)
            return status

    def _already_here(self, cid: str, size_bytes: int) -> bool:
        """Tell whether a blob is here to stay; the fast path of every put."""
        # Another size is damage: let the put replace it.
        with contextlib.suppress(NotFound, Corrupted), self._lock:
            if self._use(cid).st_size == size_bytes:
                self._files.make_durable(cid)
                return True
        return False

    def _adopt(self, path: Path, descriptor: int) -> str | None:
        size_bytes = os.fstat(descriptor).st_size
        self._reserve(size_bytes, size_bytes)
        try:
            with disk_full_as_error(path):
                cid = self._files.adopt(path, descriptor, self._clock.now())
            if cid is not None:
                self._enter(cid, size_bytes)
            return cid
        finally:
            self._unreserve(size_bytes)

    def _enter(self, cid: str, size_bytes: int) -> None:
        with self._lock:
            self._inventory.add(cid, size_bytes, self._clock.now())

    def _reserve(self, size_bytes: int, blob_bytes: int) -> None:
        with self._lock:
            for victim in self._inventory.reserve(size_bytes, blob_bytes):
                log.debug("evicted blob %s", victim)
                self._remove(victim)

    def _unreserve(self, size_bytes: int) -> None:
        with self._lock:
            self._inventory.unreserve(size_bytes)

    def _remove(self, cid: str) -> bool:
        self._inventory.remove(cid)
        return self._files.remove(cid)

    def _condemn(self, cid: str) -> Corrupted:
        with self._lock:
            self._inventory.remove(cid)
            return self._files.quarantine(cid, "its bytes changed on the disk")


class _DiskSink:
    """The temporary file of one unfinished blob, made with its first piece or at the end."""

    def __init__(self, store: DiskStore) -> None:
        self._store = store
        self._descriptor: int | None = None
        self._path: Path | None = None
        self._size_bytes = 0

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        size_bytes = memoryview(chunk).nbytes
        self._store._reserve(size_bytes, self._size_bytes + size_bytes)
        self._size_bytes += size_bytes
        with disk_full_as_error(self._store._files.root):
            write_all(self._create()[0], chunk)

    def publish(self, cid: str) -> None:
        if not self._store._already_here(cid, self._size_bytes):
            with disk_full_as_error(self._store._files.root):
                descriptor, path = self._create()
                self._store._files.publish(path, descriptor, cid, self._store._clock.now())
            self._store._enter(cid, self._size_bytes)
            self._path = None
        self.discard()

    def discard(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._store._unreserve(self._size_bytes)
        self._path, self._descriptor, self._size_bytes = None, None, 0

    def _create(self) -> tuple[int, Path]:
        if self._descriptor is None or self._path is None:
            self._descriptor, self._path = self._store._files.temporary.create()
        return self._descriptor, self._path
