"""Records of several tables in the order in which they were written."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator, Mapping
from itertools import repeat
from typing import Any

from farlane.domain.records import WorkRecord
from farlane.hub.store.sqlite import rows


def merged(
    connection: sqlite3.Connection, statements: Mapping[str, str], parameters: tuple[Any, ...] = ()
) -> Iterator[WorkRecord]:
    """Yield the records that statements select from their tables, by their place in the history."""
    tables = [
        zip(connection.execute(statement, parameters), repeat(rows.READERS[table]), strict=False)
        for table, statement in statements.items()
    ]
    for row, read in heapq.merge(*tables, key=lambda pair: pair[0][0]):
        yield read(row)
