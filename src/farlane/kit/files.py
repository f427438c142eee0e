"""Files that survive a power cut and stay private: atomic writes, private directories, disk-full mapping."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from farlane.errors import DiskFull, InvalidInput, PermissionRefused

# EFBIG: the file-size limit of the process or file system; to the writer it is one more full disk.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_OPEN_TO_OTHERS = 0o077
_BALLAST_BLOCK_BYTES = 1 << 20


@contextlib.contextmanager
def disk_full_as_error(path: Path) -> Iterator[None]:
    """Turn ENOSPC, EDQUOT and EFBIG into `DiskFull`; other errors pass.

    Args:
        path: what is being written, for the message.

    Raises:
        DiskFull: the disk, the quota or the file-size limit is used up.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFull(
            f"cannot write {path}: {os.strerror(error.errno)}. Free space on that disk (or raise the quota "
            "or file-size limit) and try again",
            path=str(path),
        ) from error


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """Write every byte of `data`; one `os.write` may write fewer."""
    rest = memoryview(data).cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def start_writeback(descriptor: int, offset: int, length: int) -> None:
    """Let the kernel begin to put a range of a file on the disk, so that a sync later has less to wait for.

    Nothing is promised by it: it is a hint, on systems that know it.

    Args:
        descriptor: of the file.
        offset: the range's first byte.
        length: bytes of it that were just written.
    """
    # "Not needed" is how Linux is told: it starts to write dirty pages, and drops only those that were clean before.
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)


def fsync_directory(path: Path) -> None:
    """Make renames, creations and deletions in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def atomic_write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file's content: after a power cut it holds all of the old or all of the new.

    Args:
        path: the file; its directory must exist. A symbolic link is replaced, not followed.
        data: the new content.
        mode: permission bits of the new file, whatever the umask.

    Raises:
        DiskFull: if there is no room; the old content stays.
        OSError: if the directory cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with disk_full_as_error(path):
        try:
            _write_new(temporary, data, mode)
            os.replace(temporary, path)
            fsync_directory(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(descriptor, data)
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_regular(path: Path) -> int:
    """Open a regular file for reading, refusing what a stranger may have planted in its place.

    Only the last part of the path is checked: its directories are trusted.

    Returns:
        A file descriptor for the caller to close.

    Raises:
        FileNotFoundError: if there is nothing.
        InvalidInput: if it is a symbolic link, directory, pipe or device.
    """
    try:
        # O_NONBLOCK: opening a planted pipe must not wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        raise _not_regular(path) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_regular(path)
    return descriptor


def _not_regular(path: Path) -> InvalidInput:
    return InvalidInput(
        f"{path} is not a regular file but a link, directory, pipe or device: expected a plain file",
        path=str(path),
    )


def read_private(path: Path) -> bytes:
    """Read a secret, refusing one that others could have read or replaced.

    Raises:
        FileNotFoundError: if there is nothing.
        InvalidInput: if it is not a regular file.
        PermissionRefused: if it belongs to another user, or others may open it.
    """
    descriptor = open_regular(path)
    with open(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or status.st_mode & _OPEN_TO_OTHERS:
            raise PermissionRefused(
                f"{path} holds a secret but is open to other users (owner {status.st_uid}, mode "
                f"{stat.S_IMODE(status.st_mode):04o}): expected mode 0600 and owner {os.geteuid()}; run "
                f"`chmod 600 {path}`, and replace the secret if others may have read it",
                path=str(path),
            )
        return stream.read()


def private_directory(path: Path) -> Path:
    """Return a directory that only this user can enter (0700), made if it is missing, as are its parents.

    An empty directory of ours is closed to others; one with content is not touched but refused, because
    it may be anything (a home, /tmp).

    Raises:
        InvalidInput: if something else than a directory is there.
        PermissionRefused: if it belongs to another user, or has content and is open to others.
        DiskFull: if there is no room for it.
    """
    with disk_full_as_error(path):
        for parent in reversed(path.parents):
            parent.mkdir(mode=0o700, exist_ok=True)
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            _close_to_others(path)
    return path


def _close_to_others(path: Path) -> None:
    if not path.is_dir():
        raise InvalidInput(f"{path} is not a directory: choose another path or remove it", path=str(path))
    status = path.stat()
    if status.st_uid != os.geteuid():
        raise PermissionRefused(
            f"directory {path} belongs to user {status.st_uid}, not to {os.geteuid()}: "
            "choose a directory of your own",
            path=str(path),
        )
    if not status.st_mode & _OPEN_TO_OTHERS:
        return
    if any(path.iterdir()):
        raise PermissionRefused(
            f"directory {path} has content and is open to other users "
            f"(mode {stat.S_IMODE(status.st_mode):04o}): choose a new or empty directory, or run "
            f"`chmod 700 {path}` if it is meant for this alone",
            path=str(path),
        )
    path.chmod(0o700)


def free_bytes(path: Path) -> int:
    """Return how many bytes this user may still write to the disk that holds `path` (which must exist)."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


class Ballast:
    """A file that keeps bytes back, so that a full disk leaves room to shut down in order.

    Args:
        path: the ballast file.
        size_bytes: how much to keep back.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes

    @property
    def held_bytes(self) -> int:
        """Bytes kept back at present."""
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def reserve(self) -> None:
        """Make the file, with real blocks behind it; nothing happens if it is there already.

        Raises:
            DiskFull: if there is no room; nothing is left behind.
        """
        if self.held_bytes == self._size_bytes:
            return
        with disk_full_as_error(self._path):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                self._fill(descriptor)
            except OSError:
                self._path.unlink(missing_ok=True)
                raise
            finally:
                os.close(descriptor)

    def _fill(self, descriptor: int) -> None:
        # Random bytes: a sparse file reserves nothing, and a compressing file system makes nothing of zeros.
        block = os.urandom(min(_BALLAST_BLOCK_BYTES, self._size_bytes))
        for written in range(0, self._size_bytes, _BALLAST_BLOCK_BYTES):
            write_all(descriptor, block[: self._size_bytes - written])
        os.fsync(descriptor)

    def release(self) -> int:
        """Remove the file and return how many bytes that freed."""
        freed = self.held_bytes
        self._path.unlink(missing_ok=True)
        return freed
