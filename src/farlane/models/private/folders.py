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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from farlane.errors import Conflict, Corrupted, FarlaneError
from farlane.kit.files import disk_full_as_error, fsync_directory, open_regular, private_directory
from farlane.kit.hashing import DIGEST_BYTES
from farlane.models.folders import FoundFile, find_files
from farlane.models.manifest.paths import check_paths
from farlane.models.manifest.values import MAX_FILES
from farlane.models.private.sealed_file import MAX_SIZE_BYTES, open_file, read_header, seal_file
from farlane.models.private.wrapping import VersionKey

SUFFIX: Final = ".private"
MAX_LIST_BYTES: Final = 64 << 20
_KIND: Final = "farlane-private-files"


@dataclass(frozen=True, slots=True)
class _Listed:
    path: str
    size: int
    sha256: bytes


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
        text = _encoded(listed)
        with (target / sealed_name(0)).open("xb") as stream:
            seal_file(io.BytesIO(text), len(text), stream, key, 0)


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
    listed = _listed(sealed, key)
    if set(sealed) != {sealed_name(number) for number in range(len(listed) + 1)}:
        raise Corrupted(
            f"the private version lists {len(listed)} files, and others are there: fetch it again from its publisher"
        )
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


def _seal_one(file: FoundFile, target: Path, key: VersionKey, number: int) -> _Listed:
    with open(open_regular(file.source), "rb") as plain, target.open("xb") as sealed:
        hashed = _Hashed(plain)
        seal_file(hashed, file.size, sealed, key, number)  # type: ignore[arg-type]
    return _Listed(file.path, file.size, hashed.digest())


def _open_one(sealed: Path, target: Path, key: VersionKey, number: int, file: _Listed) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400)
    with open(descriptor, "wb") as plain:
        for data in _records(sealed, key, number):
            digest.update(data)
            size += len(data)
            plain.write(data)
    if (size, digest.digest()) != (file.size, file.sha256):
        raise Corrupted(
            f"{file.path} opens to other bytes than the version lists: fetch it again", path=file.path
        )


def _records(sealed: Path, key: VersionKey, number: int) -> Iterator[bytes]:
    with open(open_regular(sealed), "rb") as stream:
        yield from open_file(stream, os.fstat(stream.fileno()).st_size, key, number)


def _listed(sealed: Mapping[str, Path], key: VersionKey) -> list[_Listed]:
    """Return the version's files in their order, from the encrypted list."""
    place = sealed.get(sealed_name(0))
    if place is None:
        raise Corrupted(f"the private version has no {sealed_name(0)}, which lists its files: fetch it again")
    if read_header(place).size_bytes > MAX_LIST_BYTES:
        raise Corrupted(f"the list of a private version has more than {MAX_LIST_BYTES} bytes")
    return _decoded(b"".join(_records(place, key, 0)))


def _encoded(listed: list[_Listed]) -> bytes:
    import dag_cbor

    files: list[Any] = [{"path": one.path, "size": one.size, "sha256": one.sha256} for one in listed]
    return bytes(dag_cbor.encode({"kind": _KIND, "version": 1, "files": files}))


def _decoded(raw: bytes) -> list[_Listed]:
    """Read the list; whoever has the key wrote it, and yet its paths must not lead out of the folder."""
    import dag_cbor

    try:
        document: dict[str, Any] = dag_cbor.decode(raw)  # type: ignore[assignment]
        if document["kind"] != _KIND or document["version"] != 1 or len(document["files"]) > MAX_FILES:
            raise _bad_list()
        listed = [_read(one) for one in document["files"]]
        check_paths([one.path for one in listed])
    except FarlaneError as error:
        raise Corrupted(f"the list of a private version cannot be used: {error.message}") from error
    except Exception as error:  # the library raises its own, and what it decodes may be anything
        raise _bad_list() from error
    if not listed:
        raise _bad_list()
    return listed


def _read(entry: dict[str, Any]) -> _Listed:
    path, size, digest = entry["path"], entry["size"], entry["sha256"]
    if not isinstance(path, str) or type(size) is not int or not isinstance(digest, bytes):
        raise _bad_list()
    if not 0 <= size <= MAX_SIZE_BYTES or len(digest) != DIGEST_BYTES:
        raise _bad_list()
    return _Listed(path, size, digest)


def _bad_list() -> Corrupted:
    return Corrupted(
        "the list of a private version is not one: a newer farlane wrote it, or a faulty program"
    )


class _Hashed:
    """A stream that hashes what is read from it."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()

    def read(self, count: int) -> bytes:
        data = self._stream.read(count)
        self._digest.update(data)
        return data

    def digest(self) -> bytes:
        return self._digest.digest()
