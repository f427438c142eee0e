"""Failures: every way an attempt can end badly, who is to blame, what is paid and whether it runs again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Blame(StrEnum):
    """Who caused a failure; the pay rule follows from it."""

    PUBLISHER = "publisher"
    PROVIDER = "provider"
    NETWORK = "network"
    HUB = "hub"


class FailureKind(StrEnum):
    """How an attempt ended without a result."""

    EXCEPTION = "exception"
    EXIT_CODE = "exit-code"
    WORKER_EXIT = "worker-exit"
    SIGNAL = "signal"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    DISK = "disk"
    BAD_PAYLOAD = "bad-payload"
    RESULT_TOO_LARGE = "result-too-large"
    RESULT_UNPICKLABLE = "result-unpicklable"
    ENVIRONMENT = "environment"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    BUDGET = "budget"
    NODE_LOST = "node-lost"
    REFUSED = "refused"
    HANDED_BACK = "handed-back"
    LOST = "lost"
    BLOB = "blob"
    PREEMPTED = "preempted"


@dataclass(frozen=True, slots=True)
class FailureRule:
    """What follows from a failure.

    paid: the provider is paid for the lease; again: "free" (runs elsewhere without using up a retry),
    "counted" (uses one of the job's retries), "moved" (made room for others and uses up neither) or "never".
    """

    blame: Blame
    paid: bool
    again: str

    def words(self) -> str:
        """Return who is to blame and what follows for the pay, for people: `publisher, paid`."""
        return f"{self.blame.value}, {'paid' if self.paid else 'not paid'}"


_OWN_FAULT = FailureRule(Blame.PUBLISHER, paid=True, again="counted")
_PROVIDER_FAULT = FailureRule(Blame.PROVIDER, paid=False, again="free")

RULES: dict[FailureKind, FailureRule] = {
    FailureKind.EXCEPTION: _OWN_FAULT,
    FailureKind.EXIT_CODE: _OWN_FAULT,
    FailureKind.WORKER_EXIT: _OWN_FAULT,
    FailureKind.SIGNAL: _OWN_FAULT,
    FailureKind.TIMEOUT: _OWN_FAULT,
    FailureKind.MEMORY: _OWN_FAULT,
    FailureKind.DISK: _OWN_FAULT,
    FailureKind.BAD_PAYLOAD: FailureRule(Blame.PUBLISHER, paid=True, again="never"),
    FailureKind.RESULT_TOO_LARGE: FailureRule(Blame.PUBLISHER, paid=True, again="never"),
    FailureKind.RESULT_UNPICKLABLE: FailureRule(Blame.PUBLISHER, paid=True, again="never"),
    FailureKind.ENVIRONMENT: FailureRule(Blame.PUBLISHER, paid=False, again="counted"),
    FailureKind.CANCELLED: FailureRule(Blame.PUBLISHER, paid=True, again="never"),
    FailureKind.DEADLINE: FailureRule(Blame.PUBLISHER, paid=True, again="never"),
    FailureKind.BUDGET: FailureRule(Blame.PUBLISHER, paid=False, again="never"),
    FailureKind.NODE_LOST: _PROVIDER_FAULT,
    FailureKind.REFUSED: _PROVIDER_FAULT,
    FailureKind.HANDED_BACK: _PROVIDER_FAULT,
    FailureKind.LOST: _PROVIDER_FAULT,
    FailureKind.BLOB: FailureRule(Blame.NETWORK, paid=False, again="free"),
    FailureKind.PREEMPTED: FailureRule(Blame.HUB, paid=True, again="moved"),
}

MAX_FREE_ATTEMPTS = 10
"""After this many attempts lost without the publisher's fault a task fails rather than circle for ever."""
MAX_MOVES = 2
"""How often one task may lose its lease to work of higher priority; after that it is left in peace."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure as people and programs see it; `exception` holds the pickled remote exception, if any."""

    kind: FailureKind
    message: str
    traceback: str = ""
    exception: bytes = b""

    @property
    def rule(self) -> FailureRule:
        """Return blame, pay and retry rule of this kind."""
        return RULES[self.kind]
