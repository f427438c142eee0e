"""The index of a store on a disk: which files it has, and where in them the leaves of their DAGs lie (SQLite)."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from farlane.errors import Corrupted, DiskFull, FarlaneError, Unavailable
from farlane.kit.sqlite_files import Fault, FileKind, fault_of, new_file, recognise
from farlane.models.cid import Cid
from farlane.models.unixfs.file_dag import FileDag, FileStamp

_ADVICE: Final = "move the store's directory away, make a new one and add or fetch the models again"
_KIND: Final = FileKind(0x66_72_6C_64, 1, "the block store's index", "a farlane block store's index", _ADVICE)
# A leaf that occurs in several files has a row for each: one of them may go. `stamp` is of a file referred to.
_SCHEMA: Final = """
CREATE TABLE files (
    id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, path TEXT NOT NULL,
    referenced INTEGER NOT NULL, stamp TEXT NOT NULL, damaged INTEGER NOT NULL, used_s REAL NOT NULL) STRICT;
CREATE TABLE roots (
    file INTEGER NOT NULL REFERENCES files ON DELETE CASCADE, position INTEGER NOT NULL, version INTEGER NOT NULL,
    codec INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (file, position)) STRICT, WITHOUT ROWID;
CREATE TABLE leaves (
    digest BLOB NOT NULL, file INTEGER NOT NULL REFERENCES files ON DELETE CASCADE, offset INTEGER NOT NULL,
    length INTEGER NOT NULL, wrapped INTEGER NOT NULL, PRIMARY KEY (digest, file)) STRICT, WITHOUT ROWID;
CREATE INDEX leaves_of_file ON leaves (file);
"""
_FILE_COLUMNS: Final = "id, sha256, size, path, referenced, stamp, damaged, used_s"


class IndexedFile(NamedTuple):
    """A row of `files`; path: empty unless it is referred to; stamp: then, of the file as it was added."""

    number: int
    sha256: str
    size_bytes: int
    path: str
    referenced: bool
    stamp: str
    damaged: bool
    used_s: float


class Place(NamedTuple):
    """Where a leaf lies in a file, and whether its block is a node around the bytes."""

    file: IndexedFile
    offset: int
    length: int
    wrapped: bool


class Index:
    """One connection to the index, for all threads of this object; other processes have their own.

    Args:
        path: made if it is missing; its directory is private.

    Raises:
        Corrupted: the file is damaged.
        InvalidInput: it is some other database.
        Conflict: a newer farlane wrote it.
        DiskFull: there is no room.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        if not path.exists():
            with new_file(path) as temporary, self._errors():
                _write_schema(temporary)
        with self._errors():
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False
            )
            try:
                recognise(self._connection, path, _KIND)
                for pragma in (
                    "busy_timeout = 30000",
                    "journal_mode = WAL",
                    "synchronous = FULL",
                    "foreign_keys = ON",
                ):
                    self._connection.execute(f"PRAGMA {pragma}")
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def file(self, sha256: str) -> IndexedFile | None:
        """Return a file by its SHA-256."""
        rows = self._rows(f"SELECT {_FILE_COLUMNS} FROM files WHERE sha256 = ?", sha256)
        return _file(rows[0]) if rows else None

    def files(self) -> list[IndexedFile]:
        """Return all files."""
        return [_file(row) for row in self._rows(f"SELECT {_FILE_COLUMNS} FROM files")]

    def roots(self, number: int) -> tuple[Cid, ...]:
        """Return the roots of a file's DAGs, in order."""
        rows = self._rows("SELECT version, codec, digest FROM roots WHERE file = ? ORDER BY position", number)
        return tuple(Cid(*row) for row in rows)

    def places(self, digest: bytes) -> list[Place]:
        """Return where a leaf lies."""
        columns = ", ".join(f"files.{name}" for name in _FILE_COLUMNS.split(", "))
        rows = self._rows(
            f"SELECT {columns}, offset, length, wrapped FROM leaves JOIN files ON files.id = leaves.file "
            "WHERE digest = ? ORDER BY referenced",
            digest,
        )
        return [Place(_file(row[:-3]), row[-3], row[-2], bool(row[-1])) for row in rows]

    def leaves(self) -> Iterator[tuple[bytes, int]]:
        """Yield the SHA-256 of each leaf with its file's number, in the order of the former."""
        digest, number = b"", -1
        while rows := self._rows(
            "SELECT digest, file FROM leaves WHERE (digest, file) > (?, ?) ORDER BY digest, file LIMIT 4096",
            digest,
            number,
        ):
            yield from rows
            digest, number = rows[-1]

    def total_bytes(self) -> int:
        """Return the bytes of all files but those referred to."""
        return int(self._rows("SELECT coalesce(sum(size), 0) FROM files WHERE NOT referenced")[0][0])

    def enter(
        self,
        sha256: str,
        size_bytes: int,
        dags: Sequence[FileDag],
        now_s: float,
        referred: tuple[str, str] | None,
    ) -> None:
        """Enter a sound file with the leaves of its DAGs, on disk to stay when it returns.

        Args:
            sha256: of the file; DAGs known already are kept.
            size_bytes: of the file.
            dags: its DAGs.
            now_s: time of use, in Unix seconds.
            referred: path and stamp of a file referred to; None if it is the store's own.
        """
        path, stamp = referred or ("", "")
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO files (sha256, size, path, referenced, stamp, damaged, used_s) "
                "VALUES (?, ?, ?, ?, ?, 0, ?) "
                "ON CONFLICT (sha256) DO UPDATE SET path = excluded.path, referenced = excluded.referenced, "
                "stamp = excluded.stamp, damaged = 0, used_s = excluded.used_s",
                (sha256, size_bytes, path, referred is not None, stamp, now_s),
            )
            ((number,),) = connection.execute("SELECT id FROM files WHERE sha256 = ?", (sha256,))
            known = self.roots(number)
            new = [dag.root for dag in dags if dag.root not in known]
            connection.executemany(
                "INSERT INTO roots VALUES (?, ?, ?, ?, ?)",
                [(number, len(known) + at, *root) for at, root in enumerate(dict.fromkeys(new))],
            )
            for dag in dags:
                connection.executemany(
                    "INSERT OR REPLACE INTO leaves VALUES (?, ?, ?, ?, ?)", _rows_of(number, dag)
                )

    def note_use(self, number: int, now_s: float) -> None:
        """Write when a file was last used, in Unix seconds."""
        with self._transaction() as connection:
            connection.execute("UPDATE files SET used_s = ? WHERE id = ?", (now_s, number))

    def condemn(self, number: int, digest: bytes) -> None:
        """Put a leaf of a file out of sight, and mark the file."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM leaves WHERE file = ? AND digest = ?", (number, digest))
            connection.execute("UPDATE files SET damaged = 1 WHERE id = ?", (number,))

    def remove(self, number: int) -> None:
        """Remove a file and its leaves."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM files WHERE id = ?", (number,))

    def _rows(self, statement: str, *values: object) -> list[Any]:
        with self._lock, self._errors():
            return self._connection.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _meaning(error, self._path) from error


def stamp_text(stamp: FileStamp) -> str:
    """Return a stamp as the index keeps it."""
    return ":".join(map(str, stamp))


def _file(row: Sequence[Any]) -> IndexedFile:
    number, sha256, size_bytes, path, referenced, stamp, damaged, used_s = row
    return IndexedFile(number, sha256, size_bytes, path, bool(referenced), stamp, bool(damaged), used_s)


def _rows_of(number: int, dag: FileDag) -> Iterator[tuple[bytes, int, int, int, bool]]:
    leaves = dag.leaves
    for at, (offset, length) in enumerate(zip(leaves.offsets.tolist(), leaves.lengths.tolist(), strict=True)):
        yield leaves.digest(at), number, offset, length, leaves.wrapped


def _write_schema(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_KIND.application_id}")
        connection.execute(f"PRAGMA user_version = {_KIND.version}")
        connection.execute("COMMIT")


def _meaning(error: sqlite3.Error, path: Path) -> FarlaneError:
    fault = fault_of(error, path)
    if fault is Fault.FULL:
        return DiskFull(
            f"the block store's index {path} cannot grow: free space on that disk", path=str(path)
        )
    if fault is Fault.DAMAGED:
        return Corrupted(f"the block store's index {path} is damaged ({error}): {_ADVICE}", path=str(path))
    return Unavailable(
        f"the block store's index {path} cannot be used ({error}): check the disk and the file's permissions",
        path=str(path),
    )
