"""What the node remembers of every attempt it held until the leaf of it comes: pure, a few microseconds a task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from farlane.domain.failures import FailureKind
from farlane.domain.ids import JobId, TaskId
from farlane.domain.jobs import JobSpec
from farlane.domain.prices import RateVector
from farlane.domain.records import Column
from farlane.domain.resources import GpuKind
from farlane.domain.served import Served
from farlane.ledger.leaf import NONE, Leaf
from farlane.ledger.leaf_maker import outcome_digest, payload_digest
from farlane.node.books.job_terms import JobTerms
from farlane.node.machine.attempts import HeldAttempt
from farlane.node.machine.backlog import ResultBatch
from farlane.node.machine.machine import InProgress

MAX_REMEMBERED = 200_000
"""Attempts remembered; beyond it the oldest tenth is forgotten: leaves of those can only be checked in themselves."""
MAX_BOOKED = 50_000
"""Keys of attempts whose leaves came, kept to find one that comes twice; two generations of so many."""


NOTHING = Served()


@dataclass(slots=True)
class Remembered:
    """One attempt. Times are monotonic seconds.

    input: SHA-256 of its payload; era: number of the unbroken connection on which it was granted; kind: GPU it held;
    revoked_s: when the hub took it back, 0 = it has not; ended: it was reported; failure, output, lease_ms,
    result_bytes, charged_nano: as reported; accepted: the hub acknowledged the report on the connection of the grant;
    part, part_ms, paid_nano: how many parts of it are in the book, their lease milliseconds and nano-credits;
    served: what it has answered, where it is a replica.
    """

    terms: JobTerms
    input: bytes
    payload_bytes: int
    granted_s: float
    era: int
    kind: GpuKind | None = None
    revoked_s: float = 0.0
    ended: bool = False
    accepted: bool = False
    failure: FailureKind | None = None
    output: bytes = NONE
    lease_ms: int = 0
    result_bytes: int = 0
    charged_nano: int = 0
    part: int = 0
    part_ms: int = 0
    paid_nano: int = 0
    served: Served = NOTHING

    @property
    def owed_nano(self) -> int:
        """Return what its end is to bring beyond the parts that are in the book."""
        return max(0, self.charged_nano - self.paid_nano)


@dataclass(frozen=True, slots=True)
class Settled:
    """A leaf that was taken into a book, and what was remembered of its attempt: enough to take it back."""

    task: int
    attempt: int
    part: int
    lease_ms: int
    amount_nano: int
    found: Remembered | None


class Memory:
    """Every attempt of this process whose leaf has not come.

    Args:
        rates: this node's prices.
        devices: its GPUs by index.
        limit: how many attempts are remembered.
    """

    def __init__(
        self,
        rates: RateVector,
        devices: Sequence[tuple[int, GpuKind]] = (),
        limit: int = MAX_REMEMBERED,
    ) -> None:
        self.rates = rates
        self.kinds = {kind for _, kind in devices}
        self.era = 0
        self.forgotten = 0
        """Attempts dropped because there were too many."""
        self.unbooked_nano: dict[str, int] = {}
        """What has ended and has no leaf yet, by organisation, in nano-credits."""
        self._lost_s: list[float] = []
        self._devices, self._limit, self._epoch = dict(devices), limit, 0
        self._jobs: dict[JobId, JobTerms] = {}
        self._held: dict[tuple[int, int], Remembered] = {}
        self._batches: dict[int, list[Remembered]] = {}
        self._booked: tuple[set[tuple[int, int]], set[tuple[int, int]]] = (set(), set())

    def __len__(self) -> int:
        """Return how many attempts are remembered."""
        return len(self._held)

    def join(self, epoch: int) -> None:
        """Hear of which store epoch the hub is; attempts of another one are void."""
        if self._epoch not in (0, epoch):
            self._jobs.clear()
            self._held.clear()
            self._batches.clear()
            self.unbooked_nano.clear()
            self._booked = (set(), set())
        self._epoch = epoch

    def interrupt(self, heard_s: float, *, new_stream: bool = True) -> None:
        """Hear that the connection broke or fell silent; the hub was last heard at `heard_s`."""
        self._lost_s.append(heard_s)
        self.era += 1
        if new_stream:
            self._jobs = {job: terms for job, terms in self._jobs.items() if terms.open}

    def lost_s(self, era: int) -> float:
        """Return when the hub was last heard on a connection that broke."""
        return self._lost_s[era]

    def grant(
        self,
        now: float,
        job: JobId,
        spec: JobSpec | None,
        tasks: Sequence[TaskId],
        attempts: Sequence[int],
        payloads: Column,
        gpu: GpuKind | None = None,
    ) -> None:
        """Remember leases of one job; without its specification nothing can be checked, nor will it run."""
        terms = self._jobs.get(job)
        if terms is None:
            if spec is None:
                return
            terms = self._jobs[job] = JobTerms(spec, self.rates, self.kinds)
        held, blobs, era, before = self._held, payloads.blobs, self.era, len(self._held)
        for row, (task, attempt, inline) in enumerate(zip(tasks, attempts, payloads.inline, strict=True)):
            key = task, attempt
            if key in held:
                continue
            blob = blobs.get(row) if blobs else None
            size = len(inline) if blob is None else blob.size_bytes
            held[key] = Remembered(terms, payload_digest(inline, blob), size, now, era, gpu)
        terms.open += len(held) - before
        if len(held) > self._limit:
            self._forget_oldest()

    def revoke(self, now: float, tasks: Sequence[TaskId], attempts: Sequence[int]) -> None:
        """Hear that the hub took attempts back."""
        for key in zip(tasks, attempts, strict=True):
            found = self._held.get(key)
            if found is not None and not found.revoked_s:
                found.revoked_s = now

    def answer(self, task: int, attempt: int, served: Served) -> None:
        """Hear of requests that a replica has answered."""
        found = self._held.get((task, attempt))
        if found is not None:
            found.served = found.served.plus(served)

    def end(self, batch: ResultBatch) -> None:
        """Hear what is being reported; a batch that is sent again changes nothing."""
        if batch.number in self._batches:
            return
        rows = batch.rows
        results, failures, outputs = rows.results, rows.failures, rows.outputs
        reported = self._batches[batch.number] = []
        for row, held in enumerate(rows.held):
            found = self._held.get((held.task, held.attempt))
            if found is None or found.ended:
                continue
            failure = failures.get(row) if failures else None
            files = outputs.get(row, ()) if outputs else ()
            self._end(found, held)
            if failure is None:
                blob = results.blobs.get(row)
                found.output = outcome_digest(found.terms.spec, results.inline[row], blob, files)
                found.result_bytes = results.moved_bytes(row) + sum(file.blob.size_bytes for file in files)
                self._owe(found)
            else:
                found.failure = failure.kind
                if failure.rule.paid:
                    self._owe(found)
            reported.append(found)

    def accept(self, number: int) -> None:
        """Hear that the hub has all batches up to this one."""
        for batch in [batch for batch in self._batches if batch <= number]:
            for found in self._batches.pop(batch):
                found.accepted = found.era == self.era

    def find(self, task: int, attempt: int) -> Remembered | None:
        """Return what is remembered of an attempt."""
        return self._held.get((task, attempt))

    def booked(self, task: int, attempt: int) -> bool:
        """Tell whether the leaf of an attempt came, as far back as that is kept."""
        key = task, attempt
        return key in self._booked[0] or key in self._booked[1]

    def settle(self, leaf: Leaf) -> Settled:
        """Forget an attempt whose last leaf is in the book, or note a part of it."""
        key = leaf.task, leaf.attempt
        part = leaf.part, leaf.lease_ms, leaf.amount_nano
        if leaf.part:
            found = self._held.get(key)
            if found is not None:
                self._note_part(found, *part)
            return Settled(*key, *part, found)
        new, old = self._booked
        if len(new) >= MAX_BOOKED:
            new, old = set(), new
            self._booked = new, old
        new.add(key)
        found = self._held.pop(key, None)
        if found is not None:
            self._let_go(found)
        return Settled(*key, *part, found)

    def restore(self, settled: Settled) -> None:
        """Take back `settle`: the leaf did not come to stay."""
        key, found = (settled.task, settled.attempt), settled.found
        if settled.part:
            if found is not None:
                self._note_part(found, settled.part - 1, -settled.lease_ms, -settled.amount_nano)
            return
        for generation in self._booked:
            generation.discard(key)
        if found is not None:
            self._held[key] = found
            found.terms.open += 1
            if found.owed_nano:
                self.unbooked_nano[found.terms.organisation] += found.owed_nano

    def running_nano(self, running: Iterable[InProgress]) -> dict[str, int]:
        """Return a bound for what runs now in the slots in use and is in no leaf, by organisation."""
        sums: dict[str, int] = {}
        for slot in running:
            terms = self._jobs.get(slot.job)
            if terms is not None:
                kind = self._devices[slot.devices[0]] if slot.devices else None
                held = self._held.get((slot.task, slot.attempt))
                paid = 0 if held is None else held.paid_nano
                cost = max(0, terms.meter(kind).charge_ceiling(slot.elapsed_ms, 0) - paid)
                sums[terms.organisation] = sums.get(terms.organisation, 0) + cost
        return sums

    def _end(self, found: Remembered, held: HeldAttempt) -> None:
        found.ended = True
        found.lease_ms = max(1, held.lease_ms)
        bundle = held.bundle
        if bundle is not None and bundle.devices:
            found.kind = self._devices[bundle.devices[0]]

    def _owe(self, found: Remembered) -> None:
        terms = found.terms
        found.charged_nano = terms.charge(found.kind, found.lease_ms, found.payload_bytes, found.result_bytes)
        sums = self.unbooked_nano
        sums[terms.organisation] = sums.get(terms.organisation, 0) + found.owed_nano

    def _note_part(self, found: Remembered, part: int, lease_ms: int, amount_nano: int) -> None:
        before = found.owed_nano
        found.part = part
        found.part_ms += lease_ms
        found.paid_nano += amount_nano
        if found.charged_nano:
            # It was reported as ended before the leaf of its part came.
            self.unbooked_nano[found.terms.organisation] += found.owed_nano - before

    def _let_go(self, found: Remembered) -> None:
        found.terms.open -= 1
        if found.owed_nano:
            self.unbooked_nano[found.terms.organisation] -= found.owed_nano

    def _forget_oldest(self) -> None:
        # A tenth at once: taking single items off the front of a dict costs more the more were taken.
        for key in list(islice(self._held, self._limit // 10 + 1)):
            self._let_go(self._held.pop(key))
            self.forgotten += 1
