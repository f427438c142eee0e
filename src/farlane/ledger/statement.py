"""The statement: what a replica has served, in canonical bytes whose digest is the output of its attempt's leaf."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from struct import Struct, error

from farlane.domain.served import FIGURES, Served
from farlane.errors import InvalidInput

VERSION = 1
_PREFIX = b"farlane served\0"
"""Keeps its digest apart from those of results and files, which stand in the same place of a leaf."""
_LAYOUT = Struct(">B32sQQ6Q")
STATEMENT_BYTES = _LAYOUT.size


@dataclass(frozen=True, slots=True)
class Statement:
    """What one attempt has served, from its lease until its leaf.

    model: SHA-256 inside the CID of the version that answered, as in the leaf; from_ms, until_ms: unix milliseconds.
    """

    model: bytes
    from_ms: int
    until_ms: int
    served: Served


def pack_statement(statement: Statement) -> bytes:
    """Return a statement's canonical bytes.

    Raises:
        InvalidInput: a number does not fit its field.
    """
    figures = (getattr(statement.served, name) for name in FIGURES)
    try:
        return _LAYOUT.pack(VERSION, statement.model, statement.from_ms, statement.until_ms, *figures)
    except error as cause:
        raise InvalidInput(f"a statement has a value that does not fit its field: {cause}") from cause


def unpack_statement(raw: bytes) -> Statement:
    """Return the statement of canonical bytes.

    Raises:
        InvalidInput: another length or version.
    """
    if len(raw) != STATEMENT_BYTES:
        raise InvalidInput(
            f"a statement of what was served has {STATEMENT_BYTES} bytes; these are {len(raw)}"
        )
    version, model, from_ms, until_ms, *figures = _LAYOUT.unpack(raw)
    if version != VERSION:
        raise InvalidInput(
            f"the statement of what was served has version {version}; this farlane knows {VERSION}: upgrade it"
        )
    return Statement(model, from_ms, until_ms, Served(*figures))


def statement_digest(raw: bytes) -> bytes:
    """Return what stands in the leaf for a statement's canonical bytes."""
    return sha256(_PREFIX + raw).digest()
