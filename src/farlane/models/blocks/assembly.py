"""Files that arrive leaf by leaf on a disk, and go on after the death of their process.

    <root>/partial/<key>          the file, at its full length, locked (flock) by its writer; see `partial_name`
    <root>/partial/<key>.done     32 bytes that name this boot and these leaves, then a bit for each leaf written

A bit is set when its leaf is with the kernel, so it outlives the process. After a power cut the boot is another one,
and every leaf found is verified again; so it is if the leaves are others.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from farlane.errors import Conflict, Corrupted, NotFound
from farlane.kit.files import disk_full_as_error, start_writeback
from farlane.kit.hashing import DIGEST_BYTES
from farlane.kit.passes import cores
from farlane.models.blocks.port import Location, May, StoredFile
from farlane.models.blocks.running_checks import RunningChecks
from farlane.models.cid import Octets, verify_block
from farlane.models.unixfs.file_dag import FileDag, Leaf, Leaves

if TYPE_CHECKING:
    from farlane.models.blocks.disk import DiskBlockStore

COPIERS: Final = 4
"""Leaves that are here already are copied by so many threads at most."""
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class DiskAssembly:
    """A file on its way into a store on a disk; made by `DiskBlockStore.begin_file`.

    Raises:
        Conflict: somebody else is assembling the same file.
        DiskFull: there is no room.
    """

    def __init__(
        self, store: DiskBlockStore, path: Path, dags: Sequence[FileDag], sha256: str | None
    ) -> None:
        self._store = store
        self._path = path
        self._done_path = path.with_name(f"{path.name}.done")
        self._dags = dags
        self._sha256 = sha256
        self._lock = threading.RLock()
        self._indices = {self.leaves.digest(index): index for index in range(len(self.leaves))}
        self._checks = RunningChecks(dags)
        self._descriptor = _open_locked(path)
        self._open = True
        self._done_descriptor = -1
        try:
            with disk_full_as_error(path):
                self._done_descriptor = os.open(
                    self._done_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
                )
                self._resume()
            self._checks.start(self._descriptor)
        except BaseException:
            self.close()
            raise

    @property
    def leaves(self) -> Leaves:
        """The leaves to write."""
        return self._dags[0].leaves

    @property
    def name(self) -> str:
        """Name of its file among those on their way."""
        return self._path.name

    @property
    def key(self) -> str:
        """SHA-256 of the file, or the CID of its root where that is not known."""
        return self._sha256 or self._dags[0].root.text

    def missing(self) -> Sequence[int]:
        """Return the indices of the leaves not written yet, in order."""
        with self._lock:
            return [index for index in range(len(self.leaves)) if not self._is_done(index)]

    def write(self, index: int, data: Octets) -> None:
        """Write one leaf, verified first."""
        verify_block(self.leaves.cid(index), data)
        self._keep(index, data)

    def copy_local(self, may: May | None = None) -> int:
        """Fill the leaves that are in the store already and may be taken; return how many bytes that saved."""
        copy = partial(self._copy_leaf, may)
        with ThreadPoolExecutor(min(COPIERS, cores()), thread_name_prefix="leaves of a file") as threads:
            return sum(threads.map(copy, self.missing()))

    def commit(self) -> StoredFile:
        """Check the whole file and make it visible, on disk to stay."""
        with self._store.adders.shared(), self._lock:
            self._require_open()
            if missing := self.missing():
                raise Conflict(
                    f"file {self._path.name} lacks {len(missing)} of {len(self.leaves)} leaves: write them first"
                )
            try:
                found = self._checks.finish(self._sha256)
            except Corrupted:
                self.abort()
                raise
            stored = self._store.enter_file(self._path, self._descriptor, found, self._dags)
            self.abort()
            return stored

    def close(self) -> None:
        """Stop and keep what was written for the next time; nothing happens if it is done."""
        with self._lock:
            if self._open:
                self._open = False
                self._store.forget_assembly(self)
                self._checks.stop()
                if self._done_descriptor >= 0:
                    os.close(self._done_descriptor)
                os.close(self._descriptor)

    def abort(self) -> None:
        """Stop and drop what was written; nothing happens if it is done."""
        with self._lock:
            if self._open:
                self._done_path.unlink(missing_ok=True)
                self._path.unlink(missing_ok=True)
                self.close()

    def has(self, digest: bytes) -> bool:
        """Tell whether a leaf is here and written."""
        return self.place(digest) is not None

    def place(self, digest: bytes) -> Location | None:
        """Return where a leaf lies that is written, or None."""
        index = self._indices.get(digest)
        with self._lock:
            if index is None or not self._open or not self._is_done(index):
                return None
        leaf = self.leaves[index]
        return Location(self._path, leaf.offset, leaf.length)

    def drop(self, digest: bytes) -> None:
        """Let a leaf be written again, since its bytes changed on the disk."""
        with self._lock:
            if self._open:
                self._mark(self._indices[digest], done=False)
                self._checks.restart()

    def _copy_leaf(self, may: May | None, index: int) -> int:
        leaf = self.leaves[index]
        if may is not None and not may(leaf.cid):
            return 0
        try:
            data = self._store.get(leaf.cid)
        except (NotFound, Corrupted):
            return 0
        self._keep(index, data)  # the store has verified it
        return leaf.length

    def _keep(self, index: int, data: Octets) -> None:
        leaf = self.leaves[index]
        with self._store.adders.shared(), self._lock:
            self._require_open()
            if not self._is_done(index):
                with disk_full_as_error(self._path):
                    _write_at(self._descriptor, memoryview(data).cast("B"), leaf.offset)
                    self._mark(index)
                start_writeback(self._descriptor, leaf.offset, leaf.length)
        self._checks.advance(self._is_done)

    def _resume(self) -> None:
        name = _name_of(self.leaves)
        length = DIGEST_BYTES + (len(self.leaves) + 7) // 8
        found = os.pread(self._done_descriptor, length + 1, 0)
        here_bytes = os.fstat(self._descriptor).st_size
        self._done = bytearray(length - DIGEST_BYTES)
        if found[:DIGEST_BYTES] == name and len(found) == length and here_bytes == self._dags[0].size_bytes:
            self._done[:] = found[DIGEST_BYTES:]
        elif here_bytes:
            for index in range(len(self.leaves)):
                if self._is_sound(self.leaves[index]):
                    self._set(index, done=True)
        os.ftruncate(self._descriptor, self._dags[0].size_bytes)
        os.ftruncate(self._done_descriptor, length)
        _write_at(self._done_descriptor, memoryview(name + self._done), 0)

    def _is_sound(self, leaf: Leaf) -> bool:
        return hashlib.sha256(_read_at(self._descriptor, leaf)).digest() == leaf.cid.digest

    def _is_done(self, index: int) -> bool:
        return bool(self._done[index >> 3] >> (index & 7) & 1)

    def _set(self, index: int, *, done: bool) -> None:
        bit = 1 << (index & 7)
        self._done[index >> 3] = self._done[index >> 3] | bit if done else self._done[index >> 3] & ~bit

    def _mark(self, index: int, *, done: bool = True) -> None:
        self._set(index, done=done)
        at = index >> 3
        os.pwrite(self._done_descriptor, self._done[at : at + 1], DIGEST_BYTES + at)

    def _require_open(self) -> None:
        if not self._open:
            raise Conflict(
                f"the assembly of {self._path.name} is done (committed, closed or aborted): begin it again"
            )


def partial_name(key: str, whose: str) -> str:
    """Return the name of a file on its way: its SHA-256 or root, and whose it is."""
    return f"{key}-{hashlib.sha256(whose.encode()).hexdigest()[:32]}" if whose else key


def drop_abandoned(directory: Path, keep: Collection[str], before_s: float) -> None:
    """Remove files on their way that nobody has open; no assembly may be begun meanwhile.

    Args:
        directory: of the files on their way.
        keep: names to leave.
        before_s: Unix seconds; those written to since stay.
    """
    for path in directory.iterdir():
        if path.suffix or path.name in keep or path.stat().st_mtime >= before_s:
            continue
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            path.with_name(f"{path.name}.done").unlink(missing_ok=True)
            path.unlink()
        finally:
            os.close(descriptor)


def _open_locked(path: Path) -> int:
    """Open the file of an assembly and lock it."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            _part_from_store(path)
        with disk_full_as_error(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        _lock(path, descriptor)
        # Its last writer may have removed or replaced it between these two lines.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.lstat()):
                return descriptor
        os.close(descriptor)


def _part_from_store(path: Path) -> None:
    """Undo what a process that died in `commit` left: a second name of a file in the store, or a read-only one."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    _lock(path, descriptor)
    status = os.fstat(descriptor)
    if status.st_nlink > 1:
        path.unlink()
    elif not status.st_mode & 0o200:
        os.fchmod(descriptor, 0o600)
    os.close(descriptor)


def _lock(path: Path, descriptor: int) -> None:
    """Lock an open file, which is closed if that fails."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Conflict(
            f"file {path.name} is being assembled already: wait for it or close it first"
        ) from error


def _name_of(leaves: Leaves) -> bytes:
    digest = hashlib.sha256(_BOOT.read_bytes() if _BOOT.exists() else os.urandom(DIGEST_BYTES))
    digest.update(leaves.digests)
    digest.update(leaves.lengths.astype("<i8").tobytes())
    return digest.digest()


def _read_at(descriptor: int, leaf: Leaf) -> bytes:
    return os.pread(descriptor, leaf.length, leaf.offset)


def _write_at(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        count = os.pwrite(descriptor, data, offset)
        data, offset = data[count:], offset + count
