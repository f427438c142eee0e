"""Disputes: what the node objected to is kept as a file of its own, and lasts until somebody removes that."""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from farlane.errors import FarlaneError
from farlane.kit.files import atomic_write, private_directory
from farlane.node.books.node_book import NodeBook
from farlane.wire.books import LeavesAppended

log = logging.getLogger(__name__)
MAX_EVIDENCE = 100
"""Files of evidence; a hub that causes more fills no disk."""


class Disputes:
    """Keeps evidence below a directory.

    Args:
        directory: made when the first file is written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, book: NodeBook, objection: str, sent: Mapping[str, object], at: float) -> str:
        """Write what a hub sent and why it was refused; returns the file, "" where it could not be written.

        Args:
            book: what it was for.
            objection: what is wrong.
            sent: the message, as JSON can hold it.
            at: unix seconds.
        """
        terms = asdict(book.terms) | {"salt": book.terms.salt.hex()}
        content = {
            "objection": objection,
            "at": at,
            "network": book.network,
            "terms": terms,
            "durable": {"size": book.durable.size, "root": book.durable.root.hex()},
            "size": book.book.size,
            "root": book.book.frontier.root().hex(),
            "sent": sent,
        }
        try:
            return self._write(f"{book.network[:16]}-{book.terms.book}", json.dumps(content, indent=1))
        except (FarlaneError, OSError) as error:
            log.error("the evidence against book %d cannot be written: %s", book.terms.book, error)
            return ""

    def lasts(self, book: NodeBook) -> bool:
        """Tell whether a dispute over a book is still on: its evidence lies where it was put."""
        return bool(book.objection) and (not book.evidence or Path(book.evidence).exists())

    def _write(self, name: str, content: str) -> str:
        private_directory(self._directory)
        if len(list(self._directory.iterdir())) >= MAX_EVIDENCE:
            log.error(
                "%s holds %d files of evidence already: nothing is added", self._directory, MAX_EVIDENCE
            )
            return ""
        path = self._directory / f"book-{name}.json"
        atomic_write(path, content.encode())
        return str(path)


def leaves_as_evidence(appended: LeavesAppended) -> dict[str, object]:
    """Return a batch of leaves as JSON can hold it."""
    found: dict[str, object] = {
        "first": appended.first, "leaves": b64encode(b"".join(appended.leaves)).decode(),
    }  # fmt: skip
    if appended.statements:
        found["statements"] = {str(row): raw.hex() for row, raw in appended.statements.items()}
    return found
