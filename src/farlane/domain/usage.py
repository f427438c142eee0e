"""Usage: what work cost, summed by who asked for it, who did it, and the month in which it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from farlane.domain.ids import NodeId

FIRST_MONTH, LAST_MONTH = "0000-00", "9999-12"
"""Around all months there are."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One sum.

    month: `YYYY-MM`, UTC; organisation, project, publisher: whose work it was; node, provider: which node did it and
    the organisation it belongs to; tasks: ended attempts; lease_ms: their lease time; spent: nano-credits.
    """

    month: str
    organisation: str
    project: str
    publisher: str
    node: NodeId
    provider: str
    tasks: int
    lease_ms: int
    spent: int


def month_of(at: float) -> str:
    """Return the UTC month of a time in unix seconds, as `YYYY-MM`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m")
