"""Checking leaves: what the hub books for an attempt must be what this node saw of it; pure."""

from __future__ import annotations

from farlane.domain.billing import MAX_ATTEMPT_NANO
from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import TaskId, task_text
from farlane.domain.prices import RateVector, ceil_div, hourly_ceiling
from farlane.domain.resources import GpuKind, GpuRequest, Resources
from farlane.errors import InvalidInput
from farlane.ledger.leaf import BLAME_CODES, FAILURES, FIELDS, NONE, Leaf, Outcome, gpu_digest, unpack
from farlane.ledger.statement import statement_digest, unpack_statement
from farlane.node.books.memory import Memory, Remembered, Settled

REPORTED_SLACK_MS = 5
MEASURED_SLACK_MS = 1000
"""Leases that the hub ended are measured on both sides of a network."""
SLACK_DIVISOR = 100
_HOUR_MS = 3_600_000
_GOOD = (Outcome.DONE, Outcome.INTERIM)
_ENDED_BY_HUB_PAID = frozenset({FailureKind.CANCELLED, FailureKind.DEADLINE, FailureKind.PREEMPTED})
_ENDED_BY_HUB_UNPAID = frozenset({FailureKind.NODE_LOST, FailureKind.LOST, FailureKind.HANDED_BACK})
_WITHOUT_WORDS = {kind: Failure(kind, "") for kind in FailureKind}


class LeafChecker:
    """Judges leaves.

    Args:
        memory: what the node remembers.
        prices: every price list this node has ever had: leaves of attempts from before a restart are at old ones.
    """

    def __init__(self, memory: Memory, prices: tuple[RateVector, ...]) -> None:
        self._memory, self._prices = memory, prices

    def judge(self, raw: bytes, statement: bytes = b"") -> tuple[Leaf | None, str | None]:
        """Return a packed leaf as it was read, and what is wrong with it, None where it may be signed.

        Args:
            raw: the leaf.
            statement: what a replica has served, packed, as the hub states it beside the leaf.
        """
        try:
            leaf = unpack(raw)
        except InvalidInput as error:
            return None, error.message
        problem = self._problem(leaf, raw, statement)
        if problem is None:
            return leaf, None
        return leaf, f"{task_text(TaskId(leaf.task))} attempt {leaf.attempt}: {problem}"

    def _problem(self, leaf: Leaf, raw: bytes, statement: bytes) -> str | None:
        found = self._memory.find(leaf.task, leaf.attempt)
        if statement and (problem := statement_problem(found, leaf, statement)):
            return problem
        if found is not None:
            return check_leaf(self._memory, found, leaf, raw, statement)
        if self._memory.booked(leaf.task, leaf.attempt):
            return "its leaf is in a book already"
        return self._unremembered(leaf)

    def _unremembered(self, leaf: Leaf) -> str | None:
        """Check a leaf of an attempt that this process never held, in itself and against this node's prices."""
        shape = _shape_problem(leaf)
        if shape is not None:
            return shape
        request, kind = None, None
        if leaf.gpu_count:
            request = GpuRequest(leaf.gpu_count)
            kind = next((own for own in self._memory.kinds if gpu_digest(own.model) == leaf.gpu), None)
            if kind is None:
                return "it names a GPU that this node does not have"
        elif leaf.gpu != NONE:
            return "it names a GPU and counts none"
        return self._price_problem(leaf, request, kind)

    def _price_problem(self, leaf: Leaf, request: GpuRequest | None, kind: GpuKind | None) -> str | None:
        try:
            reserved = Resources(leaf.cpu_milli, leaf.memory_bytes, leaf.disk_bytes, request)
        except InvalidInput as error:
            return error.message
        own = {hourly_ceiling(rates, reserved, kind): rates for rates in self._prices}
        rates = own.get(leaf.hourly_nano)
        if rates is None:
            return f"an hour costs {leaf.hourly_nano} nano-credits; this node asks {min(own)} to {max(own)}"
        # Less one: prices of the time before and behind a part were both rounded up.
        least = min(MAX_ATTEMPT_NANO, leaf.lease_ms * max(0, leaf.hourly_nano - 1) // _HOUR_MS - 1)
        if leaf.outcome in _GOOD and leaf.amount_nano < least:
            return f"it owes {leaf.amount_nano} nano-credits; the lease alone costs {least}"
        most = ceil_div(leaf.lease_ms * leaf.hourly_nano, _HOUR_MS)
        if not rates.gib_moved and leaf.amount_nano > most:
            return f"it owes {leaf.amount_nano} nano-credits; the lease costs at most {most}"
        return None


def statement_problem(found: Remembered | None, leaf: Leaf, raw: bytes) -> str | None:
    """Return what is wrong with what the hub states beside a leaf of a replica, None where nothing is.

    Less than the node has counted is no reason to object: requests under way when a stream broke are counted by the
    node alone, and a hub that starts anew goes on from its last leaf.
    """
    try:
        statement = unpack_statement(raw)
    except InvalidInput as error:
        return error.message
    if statement_digest(raw) != leaf.output:
        return "its output is not the digest of what the hub says was served"
    if (statement.model, statement.until_ms) != (leaf.model, leaf.ended_ms) or leaf.model == NONE:
        return "what the hub says was served is of another version, or until another time"
    if found is None:
        return None
    name = statement.served.beyond(found.served)
    if not name:
        return None
    stated, counted = getattr(statement.served, name), getattr(found.served, name)
    return f"the hub says that it has served {stated} {name}; the node counted {counted}"


def unstated_requests(settled: Settled, statement: bytes) -> int:
    """Return how many requests a node counted of an attempt that has ended, beyond what its last leaf states."""
    if settled.found is None or settled.part:
        return 0
    stated = unpack_statement(statement).served.requests if statement else 0
    return max(0, settled.found.served.requests - stated)


def check_leaf(
    memory: Memory, found: Remembered, leaf: Leaf, raw: bytes, statement: bytes = b""
) -> str | None:
    """Return what in a leaf differs from what is remembered of its attempt, None where nothing does.

    More lease time, and so more money, than the node saw is no reason to object.
    """
    stated = statement_digest(statement) if statement else None
    if leaf.outcome == Outcome.INTERIM or leaf.part:
        return _part_problem(found, leaf, raw, stated or NONE)
    kind = FAILURES.get(leaf.failure)
    as_reported = found.ended and kind == found.failure
    if as_reported:
        problem = _reported_problem(found, leaf)
    else:
        problem = _ended_by_hub_problem(memory, found, leaf, kind)
    output = stated or (found.output if as_reported else NONE)
    return problem or _bytes_problem(found, leaf, raw, kind, output, as_reported=as_reported)


def _part_problem(found: Remembered, leaf: Leaf, raw: bytes, output: bytes) -> str | None:
    """Check a part of an attempt: the next one, at the price of the whole time so far less what was booked."""
    if leaf.outcome != Outcome.INTERIM or leaf.part != found.part + 1:
        return f"it is part {leaf.part} ({_outcome(leaf)}); expected part {found.part + 1} (interim)"
    gpu, problem = _gpu_of(found, leaf)
    if problem is not None:
        return problem
    total = found.terms.charge_time(gpu, found.part_ms + leaf.lease_ms, found.payload_bytes)
    expected = found.terms.maker(gpu).pack(
        TaskId(leaf.task), leaf.attempt, Outcome.INTERIM, None, found.input, output, leaf.lease_ms,
        max(0, total - found.paid_nano), leaf.ended_ms, leaf.part,
    )  # fmt: skip
    return None if expected == raw else _difference(unpack(expected), leaf)


def _reported_problem(found: Remembered, leaf: Leaf) -> str | None:
    done = found.failure is None
    if done != (leaf.outcome == Outcome.DONE):
        return f"its outcome is {_outcome(leaf)}; it ended {_ending(found.failure)}"
    least = found.lease_ms - max(REPORTED_SLACK_MS, found.lease_ms // SLACK_DIVISOR)
    if found.part_ms + leaf.lease_ms < least:
        return f"its lease is {leaf.lease_ms} ms{_beside(found)}; the node reported {found.lease_ms} ms"
    return None


def _ended_by_hub_problem(
    memory: Memory, found: Remembered, leaf: Leaf, kind: FailureKind | None
) -> str | None:
    """Check an ending that the node did not report: one by the hub itself, or by a broken connection."""
    reported = f"the node reported {_ending(found.failure)}" if found.ended else "the node reported no end"
    if kind is None or leaf.outcome == Outcome.DONE:
        return f"it says {_ending(kind)}; {reported}"
    broken = found.era != memory.era and not (found.accepted and found.terms.durable)
    if kind in _ENDED_BY_HUB_UNPAID and broken:
        return None
    if kind in _ENDED_BY_HUB_PAID and (found.revoked_s or broken):
        return _measured_problem(memory, found, leaf)
    return f"it says {kind.value}; {reported}, and neither was the lease revoked nor the connection lost"


def _measured_problem(memory: Memory, found: Remembered, leaf: Leaf) -> str | None:
    until_s = found.revoked_s or memory.lost_s(found.era)
    measured_ms = int((until_s - found.granted_s) * 1000)
    least = measured_ms - max(MEASURED_SLACK_MS, measured_ms // SLACK_DIVISOR)
    if found.part_ms + leaf.lease_ms < least:
        return f"its lease is {leaf.lease_ms} ms{_beside(found)}; the node held it for {measured_ms} ms"
    return None


def _bytes_problem(
    found: Remembered, leaf: Leaf, raw: bytes, kind: FailureKind | None, output: bytes, *, as_reported: bool
) -> str | None:
    terms = found.terms
    gpu, problem = _gpu_of(found, leaf)
    if problem is not None:
        return problem
    total_ms = found.part_ms + leaf.lease_ms
    failure = None if kind is None else _WITHOUT_WORDS[kind]
    amount = 0
    if as_reported and (failure is None or failure.rule.paid):
        amount = terms.charge(gpu, total_ms, found.payload_bytes, found.result_bytes)
    elif failure is not None and failure.rule.paid:
        amount = terms.charge_time(gpu, total_ms, found.payload_bytes)
    expected = terms.maker(gpu).pack(
        TaskId(leaf.task), leaf.attempt, Outcome(leaf.outcome), failure, found.input, output,
        leaf.lease_ms, max(0, amount - found.paid_nano), leaf.ended_ms,
    )  # fmt: skip
    return None if expected == raw else _difference(unpack(expected), leaf)


def _gpu_of(found: Remembered, leaf: Leaf) -> tuple[GpuKind | None, str | None]:
    """Return the kind of GPU a leaf names, and what is wrong with it."""
    if leaf.gpu not in found.terms.kinds:
        return None, "it names a GPU that this node does not have, or that the job does not accept"
    kind = found.terms.kinds[leaf.gpu]
    if found.kind is not None and kind != found.kind:
        return None, f"it names another GPU than the {found.kind.model} that was leased"
    return kind, None


def _difference(expected: Leaf, leaf: Leaf) -> str:
    for name in FIELDS:
        wanted, there = getattr(expected, name), getattr(leaf, name)
        if wanted != there:
            return f"its {name} is {_shown(there)}; expected {_shown(wanted)}"
    return "it differs from what the node would write"


def _shape_problem(leaf: Leaf) -> str | None:
    kind = FAILURES.get(leaf.failure)
    if leaf.copy:
        return "it is a copy's leaf, which this version does not know"
    if (leaf.part > 0) != (leaf.outcome == Outcome.INTERIM):
        return f"it is part {leaf.part} and {_outcome(leaf)}: parts alone are interim"
    if (leaf.outcome in _GOOD) != (kind is None):
        return f"its outcome {_outcome(leaf)} does not fit {_ending(kind)}"
    rule = None if kind is None else _WITHOUT_WORDS[kind].rule
    if leaf.blame != (0 if rule is None else BLAME_CODES[rule.blame]):
        return f"its blame {leaf.blame} is not the one that follows from {_ending(kind)}"
    if rule is not None and not rule.paid and leaf.amount_nano:
        return f"it owes {leaf.amount_nano} nano-credits for {_ending(kind)}, which is not paid"
    return None


def _ending(kind: FailureKind | None) -> str:
    return "done" if kind is None else kind.value


def _outcome(leaf: Leaf) -> str:
    return Outcome(leaf.outcome).name.lower()


def _beside(found: Remembered) -> str:
    return f" beside {found.part_ms} ms booked before" if found.part_ms else ""


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
