"""From records to leaves: what a node reported, or the hub had to conclude, as packed leaves of its book."""

from __future__ import annotations

from collections.abc import Sequence

from farlane.domain.failures import Failure
from farlane.domain.ids import JobId, task_id
from farlane.domain.jobs import JobSpec, TaskState
from farlane.domain.prices import RateVector
from farlane.domain.records import AttemptsFailed, TasksEnded
from farlane.domain.resources import GpuKind
from farlane.ledger.leaf import NONE, Outcome
from farlane.ledger.leaf_maker import LeafMaker, outcome_digest

Ended = TasksEnded | AttemptsFailed


class LeafWriter:
    """Makes leaves of records; what a job's leaves at one price have in common is kept until the job is forgotten."""

    def __init__(self) -> None:
        self._makers: dict[JobId, dict[tuple[RateVector, GpuKind | None], LeafMaker]] = {}

    def forget(self, job: JobId) -> None:
        """Drop what is kept of a job."""
        self._makers.pop(job, None)

    def leaves(
        self,
        record: Ended,
        spec: JobSpec,
        rates: RateVector,
        gpus: Sequence[GpuKind | None],
        inputs: Sequence[bytes],
    ) -> list[bytes]:
        """Return one packed leaf a row.

        Args:
            record: attempts of one job that ended on one node.
            spec: the job's.
            rates: the node's prices.
            gpus: kind of GPU each attempt held.
            inputs: SHA-256 of each task's payload.
        """
        makers = self._makers.setdefault(record.job, {})
        ended_ms = int(record.at * 1000)
        leaves = []
        for row, index in enumerate(record.indices):
            maker = makers.get((rates, gpus[row]))
            if maker is None:
                maker = makers[rates, gpus[row]] = LeafMaker(spec, rates, gpus[row])
            outcome, failure, output = _ending(record, spec, row)
            leaves.append(
                maker.pack(
                    task_id(record.job, index), record.attempts[row], outcome, failure, inputs[row], output,
                    record.lease_ms[row], record.amounts[row], ended_ms,
                )
            )  # fmt: skip
        return leaves


def _ending(record: Ended, spec: JobSpec, row: int) -> tuple[Outcome, Failure | None, bytes]:
    if isinstance(record, AttemptsFailed):
        return Outcome.RUNS_AGAIN, record.failures[row], NONE
    if record.states[row] != TaskState.DONE:
        return Outcome.FAILED, record.failures.get(row), NONE
    results = record.results
    output = outcome_digest(spec, results.inline[row], results.blobs.get(row), record.outputs.get(row, ()))
    return Outcome.DONE, None, output
