"""SQLite files: made whole or not at all, recognised, and what kind of fault one of SQLite's result codes is."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, Protocol

from farlane.errors import Conflict, Corrupted, InvalidInput
from farlane.kit.files import disk_full_as_error, free_bytes, fsync_directory

_PRIMARY = 0xFF
"""The low byte of an extended result code is its kind."""
# Numbers, since this room does without sqlite3. Source: SQLite, Result and Error Codes.
_READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _NOTADB = 8, 10, 11, 13, 14, 26
_DISK = frozenset({_IOERR, _CANTOPEN, _READONLY})
_SPARE_BYTES = 1 << 20
"""With less free space than this, an I/O error is taken for a full disk."""


class Fault(Enum):
    """What went wrong with an SQLite file."""

    FULL = auto()
    """Its disk, or its own limit, is used up."""
    DAMAGED = auto()
    """It is no database, or not any more."""
    DISK = auto()
    """It cannot be read or written."""
    REFUSED = auto()
    """A statement broke a rule: a fault of its writer."""


def fault_of(error: Exception, path: Path) -> Fault:
    """Return what an `sqlite3.Error` means for a file.

    Args:
        error: it has an `sqlite_errorcode`, unless Python's own module raised it.
        path: the file; an I/O error on a full disk counts as FULL.
    """
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
    if code == _FULL or (code in _DISK and _is_full(path)):
        return Fault.FULL
    if code in (_CORRUPT, _NOTADB):
        return Fault.DAMAGED
    return Fault.DISK if code in _DISK else Fault.REFUSED


class Connection(Protocol):
    """The part of `sqlite3.Connection` that recognising needs."""

    def execute(self, statement: str, /) -> Any:
        """Run one statement and return its cursor."""
        ...


@dataclass(frozen=True, slots=True)
class FileKind:
    """One of farlane's kinds of SQLite file.

    application_id: in the header of the file; version: the newest schema this farlane knows; what: the file, for
    people (`the store`); a: what it would be (`a farlane store`); mend: what to do about a damaged one; newer: what to
    do about one of a newer farlane.
    """

    application_id: int
    version: int
    what: str
    a: str
    mend: str
    newer: str = "install that version again"


def recognise(connection: Connection, path: Path | None, kind: FileKind) -> int:
    """Return the schema version of a file that should be of a kind.

    Raises:
        Corrupted: it is empty, which none ever is.
        InvalidInput: it is some other database.
        Conflict: a newer farlane wrote it.
    """
    (identity,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not identity and not tables:
        raise Corrupted(f"{kind.what} {path} is empty, and never should be: {kind.mend}", path=str(path))
    if identity != kind.application_id:
        raise InvalidInput(
            f"{path} is a database, but not {kind.a}: choose another file or directory, or move it away",
            path=str(path),
        )
    if version > kind.version:
        raise Conflict(
            f"{kind.what} {path} was written by a newer farlane (schema {version}; this one knows up to "
            f"{kind.version}): {kind.newer}",
            path=str(path),
            version=version,
        )
    return int(version)


def _is_full(path: Path) -> bool:
    try:
        return free_bytes(path.parent) < _SPARE_BYTES
    except OSError:
        return False


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Lend a temporary file, for the owner alone, that becomes `target`, durably, if the block succeeds.

    Raises:
        DiskFull: no room; nothing is left behind.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    with disk_full_as_error(target):
        try:
            # Made before SQLite opens it, for the mode: its journal files inherit it.
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            yield temporary
            _sync(temporary)
            os.rename(temporary, target)
            fsync_directory(target.parent)
        finally:
            for suffix in ("", "-journal", "-wal", "-shm"):
                Path(f"{temporary}{suffix}").unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
