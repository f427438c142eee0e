"""A content store in memory: the shipped fake, for tests and throw-away networks."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from farlane.errors import Conflict, Corrupted, NotFound
from farlane.kit import cid as cids
from farlane.kit.clock import Clock, SystemClock
from farlane.kit.files import open_regular
from farlane.models.inventory import Inventory
from farlane.models.store import Collected
from farlane.models.writer import Writer


class MemoryStore:
    """Blobs in a dict. Only `path` touches the disk, in a directory that goes with the store.

    Args:
        max_bytes: budget, or None for no limit.
        evict: whether least recently used blobs make room when the budget is spent.
        clock: tells when blobs were used.
    """

    def __init__(
        self, *, max_bytes: int | None = None, evict: bool = True, clock: Clock | None = None
    ) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._inventory = Inventory(max_bytes, evict=evict)
        self._blobs: dict[str, bytes] = {}
        self._files: Path | None = None

    @property
    def total_bytes(self) -> int:
        """Bytes of all blobs here."""
        return self._inventory.total_bytes

    def put(self, data: bytes | bytearray | memoryview) -> str:
        """Keep `data` and return its CID."""
        with self.begin() as writer:
            writer.write(data)
            return writer.commit()

    def put_file(self, path: Path, *, move: bool = False) -> str:
        """Keep a file's content and return its CID; `move` removes the file."""
        with open(open_regular(path), "rb") as stream:
            cid = self.put(stream.read())
        if move:
            path.unlink()
        return cid

    def begin(self, expected: str | None = None) -> Writer:
        """Start a blob that arrives in pieces."""
        return Writer(_MemorySink(self), expected)

    def has(self, cid: str) -> bool:
        """Tell whether a blob is here; counts as a use of it."""
        with contextlib.suppress(NotFound):
            self._use(cid)
            return True
        return False

    def size(self, cid: str) -> int:
        """Return a blob's size in bytes."""
        return len(self._use(cid))

    def read(self, cid: str, *, verify: bool = True) -> bytes:
        """Return a blob's bytes."""
        data = self._use(cid)
        if verify:
            self._check(cid, data)
        return data

    def open(self, cid: str) -> BinaryIO:
        """Open a blob for reading, unverified."""
        return io.BytesIO(self._use(cid))

    def path(self, cid: str) -> Path:
        """Return a local read-only file with the blob's bytes, unverified."""
        data = self._use(cid)
        with self._lock:
            if self._files is None:
                self._files = Path(tempfile.mkdtemp(prefix="farlane-blobs-"))
                weakref.finalize(self, shutil.rmtree, self._files, ignore_errors=True)
            path = self._files / cid
            if not path.exists():
                path.write_bytes(data)
                path.chmod(0o400)
        return path

    def verify(self, cid: str) -> None:
        """Compare a blob's hash."""
        self._check(cid, self._use(cid))

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
        cids.parse(cid)
        with self._lock:
            if self._inventory.held(cid):
                raise Conflict(f"blob {cid} is in use and cannot be deleted: try again when it is released")
            here = cid in self._blobs
            self._remove(cid)
        return here

    def iterate(self) -> Iterator[str]:
        """Yield the CIDs here."""
        with self._lock:
            here = list(self._blobs)
        yield from here

    def collect(self, keep: Callable[[str], bool], older_than_s: float) -> Collected:
        """Remove blobs that are not kept, not held and not used lately."""
        blobs = size_bytes = 0
        for cid in self.iterate():
            if keep(cid):
                continue
            with self._lock:
                entry = self._inventory.get(cid)
                if entry is None or self._inventory.held(cid):
                    continue
                if self._clock.now() - entry.used_s < older_than_s:
                    continue
                blobs, size_bytes = blobs + 1, size_bytes + entry.size_bytes
                self._remove(cid)
        return Collected(blobs, size_bytes)

    def _use(self, cid: str) -> bytes:
        cids.parse(cid)
        with self._lock:
            if cid not in self._blobs:
                raise NotFound(f"blob {cid} is not in this store: put or fetch it first", cid=cid)
            self._inventory.touch(cid, self._clock.now())
            return self._blobs[cid]

    def _check(self, cid: str, data: bytes) -> None:
        try:
            cids.verify(cid, data)
        except Corrupted:
            with self._lock:
                self._remove(cid)
            raise

    def _remove(self, cid: str) -> None:
        self._blobs.pop(cid, None)
        self._inventory.remove(cid)
        if self._files is not None:
            (self._files / cid).unlink(missing_ok=True)


class _MemorySink:
    """The pieces of one unfinished blob."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._pieces = bytearray()

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        store, size = self._store, memoryview(chunk).nbytes
        with store._lock:
            for victim in store._inventory.reserve(size, len(self._pieces) + size):
                store._remove(victim)
        self._pieces += chunk

    def publish(self, cid: str) -> None:
        store, data = self._store, bytes(self._pieces)
        with store._lock:
            self.discard()
            store._blobs[cid] = data
            store._inventory.add(cid, len(data), store._clock.now())

    def discard(self) -> None:
        with self._store._lock:
            self._store._inventory.unreserve(len(self._pieces))
            self._pieces = bytearray()
