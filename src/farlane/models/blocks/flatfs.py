"""Single blocks as files, laid out as kubo's flatfs lays them out.

    <root>/blocks/<two characters before the last of the name>/<name>.data     mode 0400, complete and verified
    <root>/temporary/<random>                                                  unfinished writes, locked by their writer
    <root>/quarantine/<name>.data                                              blocks whose bytes changed, for a look

A name is the block's multihash (0x12, 0x20 and the SHA-256) in upper-case base32 without padding. A file's modification
time is when the block was last used. Source: https://github.com/ipfs/go-ds-flatfs (README, "next-to-last").
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from farlane.errors import InvalidInput
from farlane.kit.files import (
    atomic_write,
    disk_full_as_error,
    fsync_directory,
    open_regular,
    private_directory,
    write_all,
)
from farlane.kit.hashing import DIGEST_BYTES
from farlane.models.cid import Octets
from farlane.models.temporary import TemporaryFiles

log = logging.getLogger(__name__)

_HEAD: Final = bytes((0x12, DIGEST_BYTES))
_SUFFIX: Final = ".data"
_SHARDING: Final = b"/repo/flatfs/shard/v1/next-to-last/2\n"
_NAME_CHARACTERS: Final = 55
_SETTLED_NS: Final = 100_000_000
"""A directory changed more recently than this may change again without its time telling."""


class BlockEntry(NamedTuple):
    """One single block: its SHA-256, size in bytes, and when it was last used, in Unix seconds."""

    digest: bytes
    size_bytes: int
    used_s: float


class FlatBlocks:
    """The single blocks of one store.

    Args:
        root: the store's directory.

    Raises:
        PermissionRefused: a directory is open to others.
        DiskFull: there is no room for the directories.
    """

    def __init__(self, root: Path) -> None:
        self.temporary = TemporaryFiles(root / "temporary")
        self._blocks = private_directory(root / "blocks")
        self._quarantine = private_directory(root / "quarantine")
        if not (self._blocks / "SHARDING").exists():
            atomic_write(self._blocks / "SHARDING", _SHARDING)
        self._durable_shards: set[str] = set()
        self._totals: dict[str, tuple[int, int]] = {}

    def file(self, digest: bytes) -> Path:
        """Return where a block lies, or would lie."""
        name = base64.b32encode(_HEAD + digest).decode("ascii").rstrip("=")
        return self._blocks / name[-3:-1] / (name + _SUFFIX)

    def size(self, digest: bytes) -> int | None:
        """Return a block's size in bytes, or None if no plain file is in its place."""
        try:
            status = self.file(digest).lstat()
        except FileNotFoundError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def read(self, digest: bytes) -> bytes | None:
        """Return a block's bytes, unverified, or None if it is not here.

        Raises:
            InvalidInput: something else than a plain file is in its place.
        """
        try:
            with open(open_regular(self.file(digest)), "rb", buffering=0) as stream:
                return stream.readall()
        except FileNotFoundError:
            return None

    def write(self, blocks: Iterable[tuple[bytes, Octets]], now_s: float) -> None:
        """Write blocks, verified by the caller, with one pass of syncs.

        All are written, then synced, then renamed, then their directories are synced.

        Args:
            blocks: SHA-256 and bytes. Those here already, at their size, are not written again.
            now_s: time of first use, in Unix seconds.

        Raises:
            DiskFull: there is no room; none of them is kept.
        """
        unfinished: list[tuple[int, Path, Path]] = []
        shards: set[Path] = set()
        try:
            with disk_full_as_error(self._blocks):
                for digest, data in blocks:
                    target = self.file(digest)
                    shards.add(target.parent)
                    if self.size(digest) == memoryview(data).nbytes:
                        self.note_use(digest, now_s)
                        continue
                    descriptor, path = self.temporary.create()
                    unfinished.append((descriptor, path, target))
                    write_all(descriptor, data)
                    os.fchmod(descriptor, 0o400)
                    os.utime(descriptor, (now_s, now_s))
                for descriptor, _, _ in unfinished:
                    os.fsync(descriptor)
                for shard in shards:
                    shard.mkdir(mode=0o700, exist_ok=True)
                for _, path, target in unfinished:
                    if target.is_dir() and not target.is_symlink():
                        self.quarantine_file(target)
                    os.rename(path, target)
                self._sync(shards)
        finally:
            for descriptor, path, _ in unfinished:
                path.unlink(missing_ok=True)
                os.close(descriptor)

    def note_use(self, digest: bytes, now_s: float) -> None:
        """Write the time of last use, in Unix seconds."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.file(digest), (now_s, now_s), follow_symlinks=False)

    def used_s(self, digest: bytes) -> float:
        """Return when a block was last used, in Unix seconds; 0 if it is not here."""
        try:
            return self.file(digest).lstat().st_mtime
        except FileNotFoundError:
            return 0.0

    def remove(self, digest: bytes) -> bool:
        """Remove a block and tell whether it was here."""
        try:
            self.file(digest).unlink()
        except FileNotFoundError:
            return False
        return True

    def quarantine(self, digest: bytes) -> None:
        """Move a block out of sight, so that nobody is given it again and a good copy can be put."""
        self.quarantine_file(self.file(digest))

    def quarantine_file(self, file: Path) -> None:
        """Move what is in a block's place out of sight."""
        # One place for each: a bad disk must not fill itself with damaged copies.
        place = self._quarantine / file.name
        if os.path.lexists(place) and not (place.is_file() and file.is_file()):
            place = place.with_name(f"{file.name}.{secrets.token_hex(4)}")
        with contextlib.suppress(FileNotFoundError), disk_full_as_error(place):
            os.replace(file, place)
        log.error("block file %s is damaged; moved to %s", file.name, place)

    def entries(self) -> Iterator[BlockEntry]:
        """Yield the blocks here, shard by shard; files with other names are passed over."""
        for shard in self._shards():
            yield from self._entries(shard)

    def total_bytes(self) -> int:
        """Return the bytes of all blocks; only directories that changed since the last time are read again."""
        total = 0
        for shard in self._shards():
            changed_ns = (self._blocks / shard).stat().st_mtime_ns
            known = self._totals.get(shard)
            if known is None or known[0] != changed_ns:
                known = (changed_ns, sum(entry.size_bytes for entry in self._entries(shard)))
                if time.time_ns() - changed_ns > _SETTLED_NS:
                    self._totals[shard] = known
            total += known[1]
        return total

    def _shards(self) -> list[str]:
        with os.scandir(self._blocks) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]

    def _entries(self, shard: str) -> Iterator[BlockEntry]:
        with os.scandir(self._blocks / shard) as entries:
            for entry in entries:
                digest = _digest_of(entry.name)
                with contextlib.suppress(FileNotFoundError):
                    if digest is not None and entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        yield BlockEntry(digest, status.st_size, status.st_mtime)

    def _sync(self, shards: Iterable[Path]) -> None:
        names = set()
        for shard in shards:
            fsync_directory(shard)
            names.add(shard.name)
        if not names <= self._durable_shards:
            fsync_directory(self._blocks)
            self._durable_shards |= names


def _digest_of(name: str) -> bytes | None:
    text = name.removesuffix(_SUFFIX)
    if len(text) != _NAME_CHARACTERS or text == name:
        return None
    try:
        octets = base64.b32decode(text + "=" * (-len(text) % 8))
    except binascii.Error:
        return None
    return octets[2:] if octets.startswith(_HEAD) else None


def read_part(path: Path, offset: int, length: int) -> bytes | None:
    """Return bytes of a file, fewer if it is shorter, or None if no plain file is there."""
    try:
        descriptor = open_regular(path)
    except (FileNotFoundError, NotADirectoryError, InvalidInput):
        return None
    try:
        parts = []
        while length and (part := os.pread(descriptor, length, offset)):
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(descriptor)
