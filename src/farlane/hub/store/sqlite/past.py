"""The past of a network read from its store's file, while a hub uses it or not: nothing is locked or changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from farlane.domain.records import NodeRegistered, WorkRecord
from farlane.errors import NotFound
from farlane.hub.store.sqlite import queries, rows
from farlane.hub.store.sqlite.connections import open_reader
from farlane.hub.store.sqlite.faults import store_errors
from farlane.hub.store.sqlite.history_rows import merged
from farlane.hub.store.sqlite.schema import STORE, check_sqlite
from farlane.kit.sqlite_files import recognise


@dataclass(frozen=True, slots=True)
class Past:
    """Nodes as they last described themselves; records of all jobs, in order; how many jobs' tasks are forgotten."""

    nodes: list[NodeRegistered]
    records: list[WorkRecord]
    forgotten: int


def read_past(path: Path) -> Past:
    """Read what a store's file, or a backup of one, keeps of all jobs, without payloads and results.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is no store.
        Conflict: a newer farlane wrote it.
        Corrupted: it is damaged.
    """
    check_sqlite()
    if not path.is_file():
        raise NotFound(
            f"there is no store {path}: name that of a hub (`hub/store.db` below its directory) or a backup"
        )
    with store_errors(path), closing(open_reader(path)) as connection:
        recognise(connection, path, STORE)
        connection.execute(queries.BEGIN_READ)
        nodes = list(map(rows.read_node, connection.execute(queries.NODES)))
        (forgotten,) = connection.execute(queries.FORGOTTEN_JOBS).fetchone()
        records: Iterator[WorkRecord] = merged(connection, queries.HISTORY_OF_ALL_JOBS)
        return Past(nodes, list(records), int(forgotten))
