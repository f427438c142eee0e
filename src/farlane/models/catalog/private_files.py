"""Which files are or were part of private versions, and whose: known as long as anything of them may be here."""

from __future__ import annotations

from collections.abc import Iterable

from farlane.models.catalog.rows import Rows
from farlane.models.catalog.values import PrivateFile


class PrivateFileNotes:
    """Files of private versions, noted before they come; every method may be called from any thread.

    Args:
        rows: the catalog's storage.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def change(self, add: Iterable[PrivateFile] = (), remove: Iterable[PrivateFile] = ()) -> None:
        """Note files, and forget others; on disk to stay when it returns."""
        with self._rows.changing():
            for file in add:
                self._rows.put_private(file)
            for file in remove:
                self._rows.remove_private(file)

    def all(self) -> frozenset[PrivateFile]:
        """Return the files that are noted."""
        with self._rows.reading():
            return frozenset(self._rows.private())
