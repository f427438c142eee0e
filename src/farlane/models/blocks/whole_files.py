"""The whole files of a store on a disk: how one comes in, from where it is read, and what an interruption leaves.

<root>/files/<sha256>       mode 0400, complete and verified
<root>/files/.<random>      a second name of a file on its way in
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Final

from farlane.errors import Conflict
from farlane.kit.files import (
    disk_full_as_error,
    fsync_directory,
    private_directory,
    start_writeback,
    write_all,
)
from farlane.kit.hashing import CHUNK_BYTES
from farlane.models.blocks.describing import stamp_of
from farlane.models.blocks.index import IndexedFile, stamp_text
from farlane.models.unixfs.file_dag import FileStamp

_CLONE: Final = 0x40049409
"""FICLONE: makes a file share another one's content. Source: linux/fs.h."""
_COPY_BYTES: Final = 16 << 20
_NO_SECOND_NAME: Final = frozenset(
    {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES}
)
_NO_KERNEL_COPY: Final = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}
)


class WholeFiles:
    """The files of one store.

    Args:
        root: the store's directory.
    """

    def __init__(self, root: Path) -> None:
        self._directory = private_directory(root / "files")

    def path(self, file: IndexedFile) -> Path:
        """Return where a file lies."""
        return Path(file.path) if file.referenced else self._directory / file.sha256

    def is_here(self, file: IndexedFile) -> bool:
        """Tell whether a file lies where it should, at its size; one referred to, unchanged since it was added."""
        try:
            status = self.path(file).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        if file.referenced and stamp_text(stamp_of(status)) != file.stamp:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == file.size_bytes

    def has_any(self) -> bool:
        """Tell whether there is any complete file."""
        return any(not path.name.startswith(".") for path in self._directory.iterdir())

    def is_ours_to_take(self, descriptor: int) -> bool:
        """Tell whether a file can become the store's own as it is: one name, this user, this disk."""
        status = os.fstat(descriptor)
        # Through a second name, or by its owner, the file could be changed behind our back.
        ours = status.st_nlink == 1 and status.st_uid == os.geteuid()
        return ours and status.st_dev == self._directory.stat().st_dev

    def publish(self, source: Path, descriptor: int, sha256: str, *, temporary: bool) -> bool:
        """Make a complete file visible, on disk to stay: read-only, synced, named, its directory synced.

        It keeps its old name too, so that until the index knows the new one nothing is lost.

        Args:
            source: the file, on the same file system.
            descriptor: the same file, opened.
            sha256: of the file.
            temporary: whether its old name may be lost where a file cannot have two.

        Returns:
            Whether it could be done; if not, the file is as it was.

        Raises:
            Conflict: it was replaced meanwhile.
            DiskFull: there is no room.
        """
        before = stat.S_IMODE(os.fstat(descriptor).st_mode)
        target = self._directory / sha256
        second = self._directory / f".{secrets.token_hex(16)}"
        done = False
        try:
            with disk_full_as_error(target):
                os.fchmod(descriptor, 0o400)
                os.fsync(descriptor)
                if not _give_second_name(source, second, temporary):
                    return False
                if not os.path.samestat(os.fstat(descriptor), second.lstat()):
                    raise Conflict(f"{source} was replaced while it was being stored: stop its writer first")
                os.rename(second, target)
                fsync_directory(self._directory)
            done = True
        finally:
            if not done:
                os.fchmod(descriptor, before)
                second.unlink(missing_ok=True)
        return done

    def remove(self, sha256: str) -> None:
        """Remove a file of the store's own."""
        (self._directory / sha256).unlink(missing_ok=True)

    def tidy(self, known: Collection[str]) -> None:
        """Remove what an interrupted process left: files that the index does not know.

        Args:
            known: SHA-256 of the files that it knows. Nobody may be adding meanwhile.
        """
        for path in self._directory.iterdir():
            if path.name not in known:
                with contextlib.suppress(OSError):
                    path.unlink()


def copy_content(source: int, target: int) -> None:
    """Copy one open file into another, empty one, sharing its content where the file system can."""
    try:
        fcntl.ioctl(target, _CLONE, source)
        return
    except OSError:
        os.lseek(source, 0, os.SEEK_SET)
    try:
        copied = 0
        while count := os.copy_file_range(source, target, _COPY_BYTES):
            start_writeback(target, copied, count)
            copied += count
        if os.lseek(source, 0, os.SEEK_CUR) == os.fstat(source).st_size:
            return
    except OSError as error:
        if error.errno not in _NO_KERNEL_COPY:
            raise
    while chunk := os.read(source, CHUNK_BYTES):
        write_all(target, chunk)


def check_unchanged(path: Path, descriptor: int, stamp: FileStamp) -> None:
    """Check that a file is still the one that was described.

    Raises:
        Conflict: it was changed.
    """
    if stamp_of(os.fstat(descriptor)) != stamp:
        raise Conflict(f"{path} was changed since it was described: describe it again", path=str(path))


def _give_second_name(source: Path, second: Path, temporary: bool) -> bool:
    try:
        os.link(source, second, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_SECOND_NAME:
            raise
        if not temporary:
            return False
        os.rename(source, second)
    return True
