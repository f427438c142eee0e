"""A catalog's rows in one SQLite file that several processes may change."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from farlane.errors import Corrupted, DiskFull, Unavailable
from farlane.kit.sqlite_files import Fault, FileKind, fault_of, recognise
from farlane.models.catalog import queries
from farlane.models.catalog.values import AliasMove, Author, DeltaRow, Model, PrivateFile, Version
from farlane.models.cid import Cid, cid_from_bytes
from farlane.models.manifest.signature import Signature

APPLICATION_ID = 0x66_72_6C_6D
"""`frlm` in the header of the file."""
SCHEMA_VERSION = 3
CATALOG = FileKind(
    APPLICATION_ID, SCHEMA_VERSION, "the catalog", "a catalog of models",
    "put a backup in its place; blocks and manifests are kept apart and can be added again",
)  # fmt: skip


class SqliteRows:
    """Rows in a file, new if there is none; used from any thread, one at a time.

    Args:
        path: the file; its directory must exist.

    Raises:
        InvalidInput: it is some other database.
        Conflict: a newer farlane wrote it.
        Corrupted: it is damaged.
        DiskFull: no room.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        with self._errors():
            # Made before SQLite opens it, for the mode: its journal files inherit it.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                for pragma in queries.PRAGMAS:
                    self._connection.execute(pragma)
                _write_schema(self._connection)
                recognise(self._connection, path, CATALOG)
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """See one state of the rows."""
        with self._lock, self._errors(), self._transaction(queries.BEGIN_READING):
            yield

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Be the only writer, of this and every other process; durable at the end, undone by an error."""
        with self._lock, self._errors(), self._transaction(queries.BEGIN_CHANGING):
            yield

    def models(self) -> list[Model]:
        """Return all models by name."""
        return [Model(*row) for row in self._rows(queries.MODELS)]

    def model(self, name: str) -> Model | None:
        """Return one model."""
        return next((Model(*row) for row in self._rows(queries.MODEL, name)), None)

    def put_model(self, model: Model) -> None:
        """Add or replace a model."""
        self._rows(queries.PUT_MODEL, model.name, model.organisation, model.publisher, model.created)

    def remove_model(self, name: str) -> None:
        """Remove a model with its versions, moves, aliases and deltas."""
        self._rows(queries.REMOVE_MODEL, name)
        self._rows(queries.REMOVE_LOOSE_DELTAS)

    def versions(self, name: str) -> list[Version]:
        """Return the versions of a name, oldest first."""
        return [_version(row) for row in self._rows(queries.VERSIONS, name)]

    def version(self, name: str, number: int) -> Version | None:
        """Return a version by number."""
        return next((_version(row) for row in self._rows(queries.VERSION, name, number)), None)

    def newest(self, name: str) -> Version | None:
        """Return the version with the highest number."""
        return next((_version(row) for row in self._rows(queries.NEWEST, name)), None)

    def next_number(self, name: str) -> int:
        """Return one more than any number ever was."""
        return next((int(numbers) + 1 for (numbers,) in self._rows(queries.NUMBERS, name)), 1)

    def version_of(self, name: str, manifest: Cid) -> Version | None:
        """Return a version by its manifest."""
        return next((_version(row) for row in self._rows(queries.VERSION_OF, name, manifest.bytes)), None)

    def add_version(self, version: Version) -> None:
        """Add a version."""
        signer, value = (None, None) if version.signature is None else (
            version.signature.signer, version.signature.value)  # fmt: skip
        self._rows(
            queries.ADD_VERSION, version.name, version.number, version.manifest.bytes, signer, value, version.added
        )  # fmt: skip
        self._rows(queries.NOTE_NUMBER, version.number, version.name)

    def remove_version(self, name: str, number: int) -> None:
        """Remove a version, and the deltas that make it or need it."""
        self._rows(queries.REMOVE_VERSION, name, number)
        self._rows(queries.REMOVE_LOOSE_DELTAS)

    def alias(self, name: str, alias: str) -> Cid | None:
        """Return where an alias stands."""
        return next((cid_from_bytes(target) for (target,) in self._rows(queries.ALIAS, name, alias)), None)

    def aliases(self, name: str) -> dict[str, Cid]:
        """Return all aliases of a name."""
        return {alias: cid_from_bytes(target) for alias, target in self._rows(queries.ALIASES, name)}

    def next_sequence(self) -> int:
        """Return the sequence of the next move."""
        return int(self._rows(queries.SEQUENCE)[0][0]) + 1

    def add_move(self, move: AliasMove) -> None:
        """Record a move and put the alias where it points."""
        target, before = (None if one is None else one.bytes for one in (move.target, move.before))
        self._rows(
            queries.ADD_MOVE, move.sequence, move.name, move.alias, target, before, move.author.organisation,
            move.author.name, move.at, int(move.back),
        )  # fmt: skip
        if target is None:
            self._rows(queries.REMOVE_ALIAS, move.name, move.alias)
        else:
            self._rows(queries.PUT_ALIAS, move.name, move.alias, target)

    def moves(self, name: str) -> list[AliasMove]:
        """Return the moves of a name's aliases, oldest first."""
        return [_move(row) for row in self._rows(queries.MOVES, name)]

    def moves_after(self, sequence: int, limit: int) -> list[AliasMove]:
        """Return the moves of all names behind a sequence, oldest first."""
        return [_move(row) for row in self._rows(queries.MOVES_AFTER, sequence, limit)]

    def accept(self, who: str, expression: str, manifest: Cid, at: float) -> None:
        """Record that somebody accepted the licence of a version."""
        self._rows(queries.ACCEPT, who, manifest.bytes, expression, at)

    def accepted(self, who: str, manifest: Cid) -> str:
        """Return the expression that was accepted for a version, empty for none."""
        return next((text for (text,) in self._rows(queries.ACCEPTED, who, manifest.bytes)), "")

    def all_manifests(self) -> list[Cid]:
        """Return the manifests of all versions of all names."""
        return [cid_from_bytes(manifest) for (manifest,) in self._rows(queries.ALL_MANIFESTS)]

    def has_manifest(self, manifest: Cid) -> bool:
        """Tell whether a version of any name has a manifest."""
        return bool(self._rows(queries.HAS_MANIFEST, manifest.bytes))

    def put_delta(self, delta: DeltaRow) -> None:
        """Add a delta, or replace the one between the same versions."""
        cids = (delta.target.bytes, delta.base.bytes, delta.root.bytes)
        self._rows(queries.PUT_DELTA, *cids, delta.size_bytes)

    def deltas(self, target: Cid) -> list[DeltaRow]:
        """Return the deltas that make a version, smallest first."""
        found = self._rows(queries.DELTAS, target.bytes)
        return [
            DeltaRow(cid_from_bytes(target), cid_from_bytes(base), cid_from_bytes(root), size_bytes)
            for target, base, root, size_bytes in found
        ]

    def remove_delta(self, target: Cid, base: Cid) -> None:
        """Remove the delta between two versions."""
        self._rows(queries.REMOVE_DELTA, target.bytes, base.bytes)

    def all_deltas(self) -> list[Cid]:
        """Return the roots of all deltas."""
        return [cid_from_bytes(root) for (root,) in self._rows(queries.ALL_DELTAS)]

    def put_private(self, file: PrivateFile) -> None:
        """Note a file of a private version, once."""
        self._rows(queries.PUT_PRIVATE, file.organisation, file.sha256, file.cid.bytes, file.ipfs_cid.bytes)

    def private(self) -> list[PrivateFile]:
        """Return the files of private versions that are noted."""
        return [
            PrivateFile(organisation, sha256, cid_from_bytes(cid), cid_from_bytes(ipfs_cid))
            for organisation, sha256, cid, ipfs_cid in self._rows(queries.PRIVATE)
        ]

    def remove_private(self, file: PrivateFile) -> None:
        """Forget a file of a private version."""
        self._rows(
            queries.REMOVE_PRIVATE, file.organisation, file.sha256, file.cid.bytes, file.ipfs_cid.bytes
        )

    def _rows(self, statement: str, *values: Any) -> list[Any]:
        return self._connection.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        self._connection.execute(begin)
        try:
            yield
            self._connection.execute(queries.COMMIT)
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute(queries.ROLLBACK)
            raise

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            fault = fault_of(error, self._path)
            if fault is Fault.FULL:
                raise DiskFull(
                    f"no room for the catalog {self._path}: free some space", path=str(self._path)
                ) from error
            if fault is Fault.DAMAGED:
                raise Corrupted(
                    f"the catalog {self._path} is damaged: {CATALOG.mend}", path=str(self._path)
                ) from error
            raise Unavailable(
                f"the catalog {self._path} cannot be used now ({error}): is another process busy with it? Try again",
                path=str(self._path),
            ) from error


def _write_schema(connection: sqlite3.Connection) -> None:
    """Make the tables of an empty file, or those that an older one lacks; of two processes at once, one."""
    connection.execute(queries.BEGIN_CHANGING)
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (identity,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    lacking: tuple[str, ...] = ()
    if not tables and not identity:
        lacking = (*queries.SCHEMA, *queries.DELTAS_SCHEMA, *queries.PRIVATE_SCHEMA)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    elif identity == APPLICATION_ID and version < SCHEMA_VERSION:
        lacking = (*(queries.DELTAS_SCHEMA if version < 2 else ()), *queries.PRIVATE_SCHEMA)
    for statement in lacking:
        connection.execute(statement)
    if lacking:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute(queries.COMMIT)


def _version(row: Any) -> Version:
    name, number, manifest, signer, value, added = row
    signature = None if signer is None else Signature(signer, value)
    return Version(name, number, cid_from_bytes(manifest), signature, added)


def _move(row: Any) -> AliasMove:
    sequence, name, alias, target, before, organisation, author, at, back = row
    places = [None if one is None else cid_from_bytes(one) for one in (target, before)]
    return AliasMove(
        sequence, name, alias, places[0], places[1], Author(organisation, author), at, bool(back)
    )
