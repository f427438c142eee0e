"""What one leaf must say of itself, whatever book it stands in."""

from __future__ import annotations

from farlane.domain.failures import RULES
from farlane.domain.ids import TaskId, task_text
from farlane.domain.prices import ceil_div
from farlane.ledger.audit.deviations import Deviations
from farlane.ledger.leaf import BLAME_CODES, FAILURES, NONE, Leaf, Outcome

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
EARLIEST_MS = 1_577_836_800_000
"""Start of 2020: no farlane ran before."""

_RULES = {code: RULES[kind] for code, kind in FAILURES.items()}
_GOOD = (Outcome.DONE, Outcome.INTERIM)


def lease_price_ceiling(leaf: Leaf) -> int:
    """Return the most that the reserved resources can cost for the lease, in nano-credits, rounded up."""
    return ceil_div(leaf.hourly_nano * leaf.lease_ms, HOUR_MS)


def check_leaf(leaf: Leaf, place: str, now_ms: int, moved_nano: int, into: Deviations) -> None:
    """Check one leaf.

    Args:
        leaf: the leaf.
        place: where it stands.
        now_ms: the time of the audit, unix milliseconds.
        moved_nano: what a leaf may cost for bytes moved, in nano-credits; the leaf does not say how many.
        into: takes what is wrong.
    """
    where = f"{place} ({attempt_text(leaf)})"
    good = leaf.outcome in _GOOD
    if (leaf.part > 0) != (leaf.outcome == Outcome.INTERIM) or (good and leaf.failure):
        into.add(
            "leaf-outcome", where, "a failure only where it failed, parts only in between", _ending(leaf)
        )
    if leaf.outcome == Outcome.RUNS_AGAIN and not leaf.failure:
        into.add("leaf-outcome", where, "the failure after which it runs again", _ending(leaf))
    rule = _RULES.get(leaf.failure)
    blame = 0 if rule is None else BLAME_CODES[rule.blame]
    if leaf.blame != blame:
        into.add("leaf-blame", where, f"blame {blame}", f"blame {leaf.blame}")
    if rule is not None and not rule.paid and leaf.amount_nano:
        into.add("leaf-unpaid-charged", where, "0 nano-credits", leaf.amount_nano)
    most = lease_price_ceiling(leaf) + moved_nano
    if leaf.amount_nano > most:
        into.add("leaf-moved", where, f"at most {most} nano-credits", leaf.amount_nano)
    if leaf.ended_ms - leaf.lease_ms < EARLIEST_MS or leaf.ended_ms > now_ms + DAY_MS:
        into.add(
            "leaf-time",
            where,
            f"{EARLIEST_MS} to {now_ms + DAY_MS} ms",
            f"{leaf.lease_ms} ms until {leaf.ended_ms} ms",
        )
    if (leaf.gpu_count > 0) and leaf.gpu == NONE:
        into.add("leaf-gpu", where, "a kind of GPU", f"{leaf.gpu_count} GPUs of no kind")


def attempt_text(leaf: Leaf) -> str:
    """Return which attempt a leaf is of, for people."""
    part = f" part {leaf.part}" if leaf.part else ""
    copy = f" copy {leaf.copy}" if leaf.copy else ""
    return f"{task_text(TaskId(leaf.task))} attempt {leaf.attempt}{copy}{part}"


def _ending(leaf: Leaf) -> str:
    return f"outcome {Outcome(leaf.outcome).name.lower()}, failure {leaf.failure}, part {leaf.part}"
