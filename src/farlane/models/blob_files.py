"""Blobs as files: where they lie, how they become durable, and how damaged ones are put out of sight.

    <root>/blobs/<two characters before the last of the CID>/<CID>     mode 0400, complete and verified
    <root>/temporary/<random>                                          unfinished writes, locked by their writer
    <root>/quarantine/<CID>                                            blobs whose bytes changed, for a look

The shards are those of kubo's flatfs `next-to-last/2`. A blob's modification time is when it was last used.
Source: https://github.com/ipfs/go-ds-flatfs (README, "next-to-last").
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from farlane.errors import Conflict, Corrupted, InvalidInput, NotFound
from farlane.kit.cid import cid_of_digest, parse
from farlane.kit.files import disk_full_as_error, fsync_directory, open_regular, private_directory
from farlane.kit.hashing import CHUNK_BYTES
from farlane.models.temporary import TemporaryFiles

log = logging.getLogger(__name__)

_NO_PLAIN_FILE = "it was replaced by something that is not a plain file"


class BlobFiles:
    """The files of one store.

    Args:
        root: made with mode 0700 if it is missing.

    Raises:
        PermissionRefused: if the directory is open to others.
        DiskFull: if there is no room for its directories.
    """

    def __init__(self, root: Path) -> None:
        self.root = private_directory(root)
        self.temporary = TemporaryFiles(root / "temporary")
        self._blobs = private_directory(root / "blobs")
        self._quarantine = private_directory(root / "quarantine")
        # Whose directory entries are known to survive a power cut; another process may have made the others.
        self._durable_shards: set[str] = set()
        self._durable_blobs: set[str] = set()

    def file(self, cid: str) -> Path:
        """Return where a blob lies, or would lie.

        Raises:
            InvalidInput: if `cid` is none.
        """
        parse(cid)
        return self._blobs / cid[-3:-1] / cid

    def status(self, cid: str) -> os.stat_result:
        """Return a blob's file status.

        Raises:
            NotFound: if it is not here.
            Corrupted: if something else lies in its place; that is quarantined.
        """
        try:
            status = self.file(cid).lstat()
        except FileNotFoundError:
            raise _missing(cid) from None
        if not stat.S_ISREG(status.st_mode):
            raise self.quarantine(cid, _NO_PLAIN_FILE)
        return status

    def open(self, cid: str) -> BinaryIO:
        """Open a blob for reading.

        Raises:
            NotFound: if it is not here.
            Corrupted: if something else lies in its place; that is quarantined.
        """
        file = self.file(cid)
        try:
            return open(open_regular(file), "rb")
        except FileNotFoundError:
            raise _missing(cid) from None
        except InvalidInput:
            raise self.quarantine(cid, _NO_PLAIN_FILE) from None

    def iterate(self) -> Iterator[str]:
        """Yield the CIDs here, shard by shard; files with other names are passed over."""
        for shard in os.listdir(self._blobs):
            with contextlib.suppress(NotADirectoryError):
                for name in os.listdir(self._blobs / shard):
                    if _is_cid(name):
                        yield name

    def publish(self, source: Path, descriptor: int, cid: str, now_s: float) -> None:
        """Make a complete file visible as a blob: read-only, synced, renamed, and its directory synced.

        Args:
            source: the file, on the same file system.
            descriptor: the same file, opened.
            cid: verified by the caller.
            now_s: time of first use, in Unix seconds.
        """
        os.fchmod(descriptor, 0o400)
        os.utime(descriptor, (now_s, now_s))
        os.fsync(descriptor)
        file = self.file(cid)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        os.rename(source, file)
        self.make_durable(cid)

    def make_durable(self, cid: str) -> None:
        """Sync the directories above a blob, once: its first writer may have died before it did."""
        if cid in self._durable_blobs:
            return
        shard = self.file(cid).parent
        fsync_directory(shard)
        if shard.name not in self._durable_shards:
            fsync_directory(self._blobs)
            self._durable_shards.add(shard.name)
        self._durable_blobs.add(cid)

    def adopt(self, path: Path, descriptor: int, now_s: float) -> str | None:
        """Make somebody's file a blob by renaming it.

        Args:
            path: the file.
            descriptor: the same file, opened for reading.
            now_s: time of first use, in Unix seconds.

        Returns:
            Its CID, or None if it cannot be renamed into the store; then it is as it was.

        Raises:
            Conflict: if it was changed or replaced meanwhile.
        """
        before = os.fstat(descriptor)
        # Through a second name, or by its owner, the file could be changed behind our back.
        ours = before.st_nlink == 1 and before.st_uid == os.geteuid()
        if not ours or before.st_dev != self._blobs.stat().st_dev:
            return None
        try:
            cid = cid_of_digest(_hash_descriptor(descriptor))
            after = os.fstat(descriptor)
            if (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, before.st_size):
                raise Conflict(f"{path} was changed while it was being stored: stop its writer first")
            self.publish(path, descriptor, cid, now_s)
        except BaseException as error:
            os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
            os.utime(descriptor, ns=(before.st_atime_ns, before.st_mtime_ns))
            if isinstance(error, OSError) and error.errno == errno.EXDEV:
                return None  # a bind mount: one file system, and yet no rename
            raise
        if not os.path.samestat(os.fstat(descriptor), self.status(cid)):
            self.remove(cid)
            raise Conflict(f"{path} was replaced while it was being stored: stop its writer first")
        return cid

    def note_use(self, cid: str, now_s: float) -> None:
        """Write the time of last use, in Unix seconds."""
        os.utime(self.file(cid), (now_s, now_s), follow_symlinks=False)

    def remove(self, cid: str) -> bool:
        """Remove a blob and tell whether it was here."""
        self._durable_blobs.discard(cid)
        try:
            self.file(cid).unlink()
        except FileNotFoundError:
            return False
        return True

    def quarantine(self, cid: str, reason: str) -> Corrupted:
        """Move a blob out of sight, so that nobody is given it again and a good copy can be put.

        Returns:
            The error to raise.
        """
        self._durable_blobs.discard(cid)
        place = (
            self._quarantine / cid
        )  # one place for each: a bad disk must not fill itself with damaged copies
        if os.path.lexists(place) and not place.is_file():
            place = place.with_name(f"{cid}.{secrets.token_hex(4)}")
        with contextlib.suppress(FileNotFoundError), disk_full_as_error(place):
            os.replace(self.file(cid), place)
        log.error("blob %s is corrupted: %s; moved to %s", cid, reason, place)
        return Corrupted(
            f"blob {cid} is corrupted: {reason}. It was moved to {place}; put or fetch it again, and check the disk",
            cid=cid,
        )


def _missing(cid: str) -> NotFound:
    return NotFound(f"blob {cid} is not in this store: put or fetch it first", cid=cid)


def _hash_descriptor(descriptor: int) -> bytes:
    digest, offset = hashlib.sha256(), 0
    while chunk := os.pread(descriptor, CHUNK_BYTES, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.digest()


def _is_cid(name: str) -> bool:
    try:
        parse(name)
    except InvalidInput:
        return False
    return True
