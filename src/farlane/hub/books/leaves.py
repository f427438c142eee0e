"""From records to leaves: what a node reported, or the hub had to conclude, as packed leaves of its book."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from farlane.domain.failures import Failure
from farlane.domain.ids import JobId, task_id
from farlane.domain.jobs import JobSpec, TaskState
from farlane.domain.prices import RateVector
from farlane.domain.records import AttemptsFailed, LeasesMetered, TasksEnded
from farlane.domain.resources import GpuKind
from farlane.hub.reactor.state import Lease
from farlane.ledger.leaf import NONE, Outcome
from farlane.ledger.leaf_maker import LeafMaker, outcome_digest
from farlane.ledger.statement import statement_digest

Ended = TasksEnded | AttemptsFailed
"""Attempts that are over."""
Bookable = Ended | LeasesMetered


class LeafWriter:
    """Makes leaves of records; what a job's leaves at one price have in common is kept until the job is forgotten."""

    def __init__(self) -> None:
        self._makers: dict[JobId, dict[tuple[RateVector, GpuKind | None], LeafMaker]] = {}

    def forget(self, job: JobId) -> None:
        """Drop what is kept of a job."""
        self._makers.pop(job, None)

    def leaves(
        self,
        record: Bookable,
        spec: JobSpec,
        rates: RateVector,
        leases: Sequence[Lease],
        inputs: Sequence[bytes],
        statements: Mapping[int, bytes],
    ) -> list[bytes]:
        """Return one packed leaf a row.

        Args:
            record: attempts of one job that ended on one node, or parts of some that go on.
            spec: the job's.
            rates: the node's prices.
            leases: the attempts' leases. A leaf says what its attempt costs beyond the parts booked before.
            inputs: SHA-256 of each task's payload.
            statements: what replicas have served, packed, by row.
        """
        makers = self._makers.setdefault(record.job, {})
        ended_ms = int(record.at * 1000)
        parts = record.parts if isinstance(record, LeasesMetered) else None
        lease_ms, amounts = unbooked(record, leases)
        leaves = []
        for row, index in enumerate(record.indices):
            gpu = leases[row].gpu
            maker = makers.get((rates, gpu))
            if maker is None:
                maker = makers[rates, gpu] = LeafMaker(spec, rates, gpu)
            outcome, failure, output = _ending(record, spec, row)
            if row in statements:
                output = statement_digest(statements[row])
            leaves.append(
                maker.pack(
                    task_id(record.job, index), record.attempts[row], outcome, failure, inputs[row], output,
                    lease_ms[row], amounts[row], ended_ms, 0 if parts is None else parts[row],
                )
            )  # fmt: skip
        return leaves


def unbooked(record: Bookable, leases: Sequence[Lease]) -> tuple[Sequence[int], Sequence[int]]:
    """Return lease milliseconds and nano-credits of each row that no earlier leaf has."""
    if isinstance(record, LeasesMetered) or not sum([lease.part for lease in leases]):
        return record.lease_ms, record.amounts
    return (
        [ms - lease.part_ms for ms, lease in zip(record.lease_ms, leases, strict=True)],
        [amount - lease.paid for amount, lease in zip(record.amounts, leases, strict=True)],
    )


def _ending(record: Bookable, spec: JobSpec, row: int) -> tuple[Outcome, Failure | None, bytes]:
    if isinstance(record, LeasesMetered):
        return Outcome.INTERIM, None, NONE
    if isinstance(record, AttemptsFailed):
        return Outcome.RUNS_AGAIN, record.failures[row], NONE
    if record.states[row] != TaskState.DONE:
        return Outcome.FAILED, record.failures.get(row), NONE
    results = record.results
    output = outcome_digest(spec, results.inline[row], results.blobs.get(row), record.outputs.get(row, ()))
    return Outcome.DONE, None, output
