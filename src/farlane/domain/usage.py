"""Usage: what work cost and what served models were asked, summed by who asked, who did it, and when."""

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


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What a served model was asked, in one sum.

    day: `YYYY-MM-DD`, UTC, on which the requests ended; organisation: who asked; project, deployment: what was asked,
    `organisation/name`, and what that is charged to inside its organisation; version: CID of a manifest;
    requests: all that ended; failed: those of them that ended with an error, clients that went away not counted;
    request_bytes, reply_bytes: of bodies.
    """

    day: str
    organisation: str
    project: str
    deployment: str
    version: str
    requests: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    request_bytes: int = 0
    reply_bytes: int = 0

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What it is a sum of."""
        return self.day, self.organisation, self.project, self.deployment, self.version

    @property
    def figures(self) -> tuple[int, ...]:
        """The sums, in the order of the fields."""
        return (
            self.requests, self.failed, self.prompt_tokens, self.completion_tokens, self.request_bytes,
            self.reply_bytes,
        )  # fmt: skip

    def plus(self, other: ModelUsage) -> ModelUsage:
        """Return both sums as one; the key is this one's."""
        return ModelUsage(*self.key, *(a + b for a, b in zip(self.figures, other.figures, strict=True)))


def day_of(at: float) -> str:
    """Return the UTC day of a time in unix seconds, as `YYYY-MM-DD`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
