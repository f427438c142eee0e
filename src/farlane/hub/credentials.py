"""Credentials: which token secret belongs to whom, kept as digests in one private file."""

from __future__ import annotations

import json
from pathlib import Path

from farlane.errors import Corrupted, NotFound
from farlane.kit.files import atomic_write
from farlane.wire.serving import Identity
from farlane.wire.tokens import Role, secret_digest

SHOWN_CHARS = 12
"""As many characters of a digest name it for people; fewer will do where they are nobody else's."""


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
        self._read: tuple[int, int] | None = None
        self._load_if_changed()

    def lookup(self, digest: bytes) -> Identity | None:
        """Return who a secret's digest belongs to, by what another process has added or withdrawn meanwhile.

        Raises:
            Corrupted: the file has become something else.
        """
        self._load_if_changed()
        return self._known.get(digest)

    def listed(self) -> list[tuple[str, Identity]]:
        """Return every digest, in hexadecimal, with whose secret it is of; the oldest first."""
        self._load_if_changed()
        return [(digest.hex(), who) for digest, who in self._known.items()]

    def owners(self) -> frozenset[str]:
        """Return the organisations of the hub's owners."""
        return frozenset(who.organisation for _, who in self.listed() if who.owner)

    def add(
        self,
        secret: str,
        role: Role,
        organisation: str,
        publisher: str,
        *,
        admin: bool = False,
        owner: bool = False,
    ) -> None:
        """Admit a secret, durably.

        Args:
            secret: what its holder proves itself by.
            role: what the holder may be.
            organisation: whose it is.
            publisher: who submits with it; empty for a node.
            admin: whether it may set what its organisation spends.
            owner: whether it may set what every organisation spends.
        """
        self._load_if_changed()
        who = Identity(role, organisation, publisher, admin, owner)
        self._write({**self._known, secret_digest(secret): who})

    def find(self, named: str) -> tuple[str, Identity]:
        """Return the digest that begins so, in hexadecimal, and whose secret it is of.

        Raises:
            NotFound: no digest begins so, or several do.
        """
        found = [row for row in self.listed() if named and row[0].startswith(named.lower())]
        if len(found) != 1:
            what = "no token" if not found else f"{len(found)} tokens"
            raise NotFound(f"{what} by the name {named!r}; `farlane token ls` lists their names")
        return found[0]

    def withdraw(self, digest: str) -> None:
        """Forget a secret, durably, by its whole digest."""
        self._load_if_changed()
        self._write({known: who for known, who in self._known.items() if known.hex() != digest})

    def _write(self, known: dict[bytes, Identity]) -> None:
        rows = [
            {
                "digest": digest.hex(),
                "role": who.role,
                "organisation": who.organisation,
                "publisher": who.publisher,
                "admin": who.admin,
                "owner": who.owner,
            }
            for digest, who in known.items()
        ]
        atomic_write(self._path, json.dumps({"version": 1, "secrets": rows}, indent=1).encode(), mode=0o600)
        self._load_if_changed()

    def _load_if_changed(self) -> None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return
        # A file is never written twice: each change is another one.
        if (found.st_mtime_ns, found.st_ino) != self._read:
            self._load()
            self._read = found.st_mtime_ns, found.st_ino

    def _load(self) -> None:
        try:
            rows = json.loads(self._path.read_bytes())["secrets"]
            self._known = {
                bytes.fromhex(row["digest"]): _identity(row, first=not at) for at, row in enumerate(rows)
            }
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupted(
                f"{self._path} does not hold the hub's credentials; restore it from a backup, "
                "or delete it and run `farlane up` again to make new tokens"
            ) from error


def _identity(row: dict[str, str | bool], *, first: bool) -> Identity:
    role: Role = "node" if row["role"] == "node" else "client"
    # Before there were administrators, every client could do everything.
    admin = bool(row.get("admin", role == "client"))
    # A file from before the hub's owner had a role begins with the owner's own token.
    owner = bool(row.get("owner", first and role == "client"))
    return Identity(role, str(row["organisation"]), str(row["publisher"]), admin, owner)
