"""What a catalog keeps: models, versions, moves of aliases, deltas between versions, whose private files are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from farlane.models.cid import Cid
from farlane.models.manifest.signature import Signature

MAX_VERSIONS: Final = 1_000_000
MAX_ALIASES: Final = 256
MAX_DELTAS: Final = 16
"""Of one version; each is from another base."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes a catalog: an organisation, empty for whoever has it on their disk, and a name or account in it."""

    organisation: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """A name: the organisation that owns it, and the account whose versions are trusted.

    publisher: None while the first version has not come, empty where versions are not signed; created in Unix seconds.
    """

    name: str
    organisation: str
    publisher: str | None
    created: float


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a name: number from 1, its manifest's CID, the publisher's signature; added in Unix seconds."""

    name: str
    number: int
    manifest: Cid
    signature: Signature | None
    added: float


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One move of an alias.

    sequence: of all moves of a catalog, rising; target: None where the alias was taken away; before: where it stood;
    at: Unix seconds; back: whether it was a rollback.
    """

    sequence: int
    name: str
    alias: str
    target: Cid | None
    before: Cid | None
    author: Author
    at: float
    back: bool = False


@dataclass(frozen=True, slots=True)
class DeltaRow:
    """A delta that is here.

    target: manifest of the version that it makes; base: of the one whose files it needs; root: the delta's own CID;
    size_bytes: of all its blocks.
    """

    target: Cid
    base: Cid
    root: Cid
    size_bytes: int


class PrivateFile(NamedTuple):
    """A file of a private version, whose it is, and the roots of its DAGs; sha256: 64 hex digits."""

    organisation: str
    sha256: str
    cid: Cid
    ipfs_cid: Cid
