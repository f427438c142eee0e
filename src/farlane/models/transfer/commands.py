"""What a transfer's session wants done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a source for a block."""

    source: str
    index: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Take back a request: the block has come from elsewhere, or its source is gone."""

    source: str
    index: int


@dataclass(frozen=True, slots=True)
class Ban:
    """Never speak to a source again in this transfer."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Lacking:
    """No usable source has these blocks: whoever keeps the swarm may let the origin send them."""

    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """Every block is here."""


Command = Ask | Cancel | Ban | Lacking | Done
