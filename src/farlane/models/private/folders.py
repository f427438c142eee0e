"""A folder sealed as numbered files whose first is an encrypted list of the others, and opened again on a node.

Names, formats and contents are hidden; what remains visible is how many files there are and how long each is.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

from farlane.errors import Conflict, Corrupted
from farlane.kit.files import disk_full_as_error, fsync_directory, open_regular, private_directory
from farlane.models.folders import FoundFile, find_files
from farlane.models.private.listing import Listed, decode_list, encode_list
from farlane.models.private.sealed_file import open_file, read_header, seal_file
from farlane.models.private.wrapping import VersionKey

SUFFIX: Final = ".private"
MAX_LIST_BYTES: Final = 64 << 20


def sealed_name(number: int) -> str:
    """Return what a sealed file is called inside a version; 0 is the list."""
    return f"{number:06d}{SUFFIX}"


def seal_folder(source: Path, target: Path, key: VersionKey) -> None:
    """Encrypt a model's folder, or its one file, into a new folder of numbered files.

    Args:
        source: as it would be added.
        target: must not exist.
        key: of this version alone; it must never have sealed anything else.

    Raises:
        InvalidInput: a link, or a path that no model may have.
        Conflict: the target exists, or a file changes while it is read.
        DiskFull: no room.
    """
    if os.path.lexists(target):
        raise Conflict(f"{target} exists already: choose another folder", path=str(target))
    listed = []
    with disk_full_as_error(target):
        private_directory(target)
        for number, file in enumerate(find_files(source), start=1):
            listed.append(_seal_one(file, target / sealed_name(number), key, number))
        _seal_list(listed, target, key)


def reseal_folder(sealed: Mapping[str, Path], key: VersionKey, target: Path, new_key: VersionKey) -> None:
    """Encrypt a version again into a new folder, under another key; nothing of it lies in clear on any disk.

    Args:
        sealed: where each of the version's files lies, by its name in the version.
        key: of the version.
        target: must not exist.
        new_key: it must never have sealed anything else.

    Raises:
        PermissionRefused, Corrupted, Conflict, DiskFull: as `open_folder`.
    """
    listed = listed_files(sealed, key)
    with disk_full_as_error(target):
        private_directory(target)
        for number, file in enumerate(listed, start=1):
            plain = _Hashed(_Joined(_records(sealed[sealed_name(number)], key, number)))
            with (target / sealed_name(number)).open("xb") as stream:
                seal_file(plain, file.size, stream, new_key, number)  # type: ignore[arg-type]
            _require_listed(file, file.size, plain.digest())
        _seal_list(listed, target, new_key)


def listed_files(sealed: Mapping[str, Path], key: VersionKey) -> list[Listed]:
    """Return a version's files as they were before they were sealed, in their order.

    Args:
        sealed: where each of the version's files lies, by its name in the version.
        key: of the version.

    Raises:
        PermissionRefused: another key.
        Corrupted: the list was changed or is missing, or others than the listed files are there.
    """
    place = sealed.get(sealed_name(0))
    if place is None:
        raise Corrupted(f"the private version has no {sealed_name(0)}, which lists its files: fetch it again")
    if read_header(place).size_bytes > MAX_LIST_BYTES:
        raise Corrupted(f"the list of a private version has more than {MAX_LIST_BYTES} bytes")
    listed = decode_list(b"".join(_records(place, key, 0)))
    if set(sealed) != {sealed_name(number) for number in range(len(listed) + 1)}:
        raise Corrupted(
            f"the private version lists {len(listed)} files, and others are there: fetch it again from its publisher"
        )
    return listed


def open_folder(sealed: Mapping[str, Path], key: VersionKey, target: Path) -> None:
    """Decrypt a version into a new folder that only this user can enter; its files are read-only (0400).

    The folder appears when everything in it is complete and right.

    Args:
        sealed: where each of the version's files lies, by its name in the version.
        key: of the version.
        target: must not exist; its parent must.

    Raises:
        PermissionRefused: another key.
        Corrupted: something was changed, is missing, or does not belong to it.
        Conflict: the target exists.
        DiskFull: no room.
    """
    if os.path.lexists(target):
        raise Conflict(f"{target} exists already: choose another folder", path=str(target))
    listed = listed_files(sealed, key)
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        with disk_full_as_error(target):
            private_directory(unfinished)
            for number, file in enumerate(listed, start=1):
                _open_one(sealed[sealed_name(number)], unfinished / file.path, key, number, file)
            os.rename(unfinished, target)
            fsync_directory(target.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _seal_one(file: FoundFile, target: Path, key: VersionKey, number: int) -> Listed:
    with open(open_regular(file.source), "rb") as plain, target.open("xb") as sealed:
        hashed = _Hashed(plain)
        seal_file(hashed, file.size, sealed, key, number)  # type: ignore[arg-type]
    return Listed(file.path, file.size, hashed.digest())


def _open_one(sealed: Path, target: Path, key: VersionKey, number: int, file: Listed) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400)
    with open(descriptor, "wb") as plain:
        for data in _records(sealed, key, number):
            digest.update(data)
            size += len(data)
            plain.write(data)
    _require_listed(file, size, digest.digest())


def _require_listed(file: Listed, size: int, digest: bytes) -> None:
    if (size, digest) != (file.size, file.sha256):
        raise Corrupted(
            f"{file.path} opens to other bytes than the version lists: fetch it again", path=file.path
        )


def _seal_list(listed: list[Listed], target: Path, key: VersionKey) -> None:
    text = encode_list(listed)
    with (target / sealed_name(0)).open("xb") as stream:
        seal_file(io.BytesIO(text), len(text), stream, key, 0)


def _records(sealed: Path, key: VersionKey, number: int) -> Iterator[bytes]:
    with open(open_regular(sealed), "rb") as stream:
        yield from open_file(stream, os.fstat(stream.fileno()).st_size, key, number)


class _Reader(Protocol):
    def read(self, count: int, /) -> bytes: ...


class _Hashed:
    """A stream that hashes what is read from it."""

    def __init__(self, stream: _Reader) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def read(self, count: int) -> bytes:
        data = self._stream.read(count)
        self._digest.update(data)
        return data

    def digest(self) -> bytes:
        return self._digest.digest()


class _Joined:
    """Pieces as one stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def read(self, count: int) -> bytes:
        found = bytearray()
        while len(found) < count:
            self._rest = self._rest or next(self._pieces, b"")
            if not self._rest:
                break
            taken = self._rest[: count - len(found)]
            found += taken
            self._rest = self._rest[len(taken) :]
        return bytes(found)
