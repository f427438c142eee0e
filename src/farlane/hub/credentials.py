"""Credentials: which token secret belongs to whom, kept as digests in one private file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from farlane.errors import Corrupted
from farlane.kit.files import atomic_write
from farlane.wire.serving import Identity
from farlane.wire.tokens import secret_digest


class Credentials:
    """The hub's list of known secrets.

    Args:
        path: a JSON file; it is created when the first secret is added.

    Raises:
        Corrupted: the file is not one of ours.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[bytes, Identity] = {}
        self._read_at = 0
        self._load_if_changed()

    def lookup(self, digest: bytes) -> Identity | None:
        """Return who a secret's digest belongs to; one that was added by another process meanwhile is found too.

        Raises:
            Corrupted: the file has become something else.
        """
        if digest not in self._known:
            self._load_if_changed()
        return self._known.get(digest)

    def add(self, secret: str, role: Literal["client", "node"], organisation: str, publisher: str) -> None:
        """Admit a secret, durably."""
        self._load_if_changed()
        self._known[secret_digest(secret)] = Identity(
            role=role, organisation=organisation, publisher=publisher
        )
        rows = [
            {
                "digest": digest.hex(),
                "role": who.role,
                "organisation": who.organisation,
                "publisher": who.publisher,
            }
            for digest, who in self._known.items()
        ]
        atomic_write(self._path, json.dumps({"version": 1, "secrets": rows}, indent=1).encode(), mode=0o600)

    def _load_if_changed(self) -> None:
        try:
            changed_at = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if changed_at != self._read_at:
            self._read_at = changed_at
            self._load()

    def _load(self) -> None:
        try:
            for row in json.loads(self._path.read_bytes())["secrets"]:
                who = Identity(role=row["role"], organisation=row["organisation"], publisher=row["publisher"])
                self._known[bytes.fromhex(row["digest"])] = who
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupted(
                f"{self._path} does not hold the hub's credentials; restore it from a backup, "
                "or delete it and run `farlane up` again to make new tokens"
            ) from error
