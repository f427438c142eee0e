"""Figures of the books at one moment, for metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from farlane.ledger.claim_count import ClaimCount
from farlane.node.books.credit import Exposure


@dataclass(slots=True)
class BooksReading:
    """Figures of the books. Counters begin with the process; exposures and stopped are by organisation."""

    leaves: int = 0
    unremembered: int = 0
    forfeited: int = 0
    unstated: int = 0
    refused_leaves: int = 0
    objections: int = 0
    heads: int = 0
    vouchers: int = 0
    books: int = 0
    disputed: int = 0
    remembered: int = 0
    forgotten: int = 0
    writable: bool = True
    claimed: ClaimCount = field(default_factory=ClaimCount)
    exposures: Mapping[str, Exposure] = field(default_factory=dict)
    stopped: Mapping[str, str] = field(default_factory=dict)
