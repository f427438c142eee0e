"""Records to rows and rows to records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from farlane.domain.bookkeeping import BookOpened, LeavesBooked, VoucherSigned
from farlane.domain.ids import JobId
from farlane.domain.jobs import JobState, TaskState
from farlane.domain.records import (
    AttemptsFailed,
    Column,
    JobEnded,
    JobOpened,
    JobSealed,
    LeasesMetered,
    NodeRegistered,
    RunTimeLearnt,
    TasksAdded,
    TasksEnded,
    TasksLeased,
    TasksRequeued,
    WorkRecord,
    payload_sizes,
)
from farlane.domain.usage import ModelUsage, month_of
from farlane.hub.store.book_history import count_ended
from farlane.hub.store.port import JobSummary
from farlane.hub.store.sqlite import encoding, queries

Row = tuple[Any, ...]


def _job_opened(record: JobOpened) -> Row:
    return record.job, record.spec.publisher, record.key, record.at, encoding.pack(record.spec)


def _tasks_added(record: TasksAdded) -> Row:
    count, sizes = len(record.payloads.inline), encoding.pack_sizes(payload_sizes(record))
    payloads = encoding.pack(encoding.PackedColumn(record.payloads.inline, record.payloads.blobs))
    return record.job, record.first, count, record.at, sizes, payloads


def _job_sealed(record: JobSealed) -> Row:
    return record.job, record.total


def _tasks_leased(record: TasksLeased) -> Row:
    details = encoding.pack(encoding.LeasedDetails(record.indices, record.attempts, record.gpu))
    return record.job, record.node, record.copy, record.at, details


def _tasks_ended(record: TasksEnded) -> Row:
    counts = [record.states.count(state) for state in (TaskState.DONE, TaskState.FAILED, TaskState.STOPPED)]
    details = encoding.EndedDetails(
        record.indices, record.attempts, record.states, record.failures, record.outputs, record.lease_ms,
        record.cpu_us, record.peak_bytes, record.amounts,
    )  # fmt: skip
    results = encoding.pack(encoding.PackedColumn(record.results.inline, record.results.blobs))
    return (
        record.job, record.seq, len(record.indices), record.node, record.at, *counts, sum(record.amounts),
        sum(record.lease_ms), encoding.pack(details), results,
    )  # fmt: skip


def _attempts_failed(record: AttemptsFailed) -> Row:
    details = encoding.FailedDetails(
        record.indices, record.attempts, record.failures, record.lease_ms, record.amounts
    )
    count, spent, lease_ms = len(record.indices), sum(record.amounts), sum(record.lease_ms)
    return record.job, count, record.node, record.at, spent, lease_ms, encoding.pack(details)


def _leases_metered(record: LeasesMetered) -> Row:
    details = encoding.pack(
        encoding.MeteredDetails(
            record.indices, record.attempts, record.parts, record.lease_ms, record.amounts
        )
    )
    return record.job, record.node, record.at, details


def _tasks_requeued(record: TasksRequeued) -> Row:
    return record.job, record.at, encoding.pack(encoding.RequeuedDetails(record.indices))


def _job_ended(record: JobEnded) -> Row:
    return record.job, record.state.value, record.at, record.reason


def _node_registered(record: NodeRegistered) -> Row:
    return record.spec.node, record.secret_sha256, record.at, encoding.pack(record.spec)


def _run_time_learnt(record: RunTimeLearnt) -> Row:
    return record.profile, record.mean_ms, record.count


def _book_opened(record: BookOpened) -> Row:
    return (
        record.book, record.organisation, record.node, record.node_organisation, record.payer, record.provider,
        record.signer, record.salt, record.at,
    )  # fmt: skip


def _leaves_booked(record: LeavesBooked) -> Row:
    leaves = encoding.pack_leaves(record.leaves)
    count = len(record.leaves)
    return (
        record.book, record.first, count, record.job, record.at, str(record.owed_nano), record.frontier, leaves,
    )  # fmt: skip


def _voucher_signed(record: VoucherSigned) -> Row:
    return (
        record.book, record.tasks, str(record.cumulative), record.root, record.signature, record.head_signature,
        record.node_key, record.expires, record.delegation_signature, record.at,
    )  # fmt: skip


def _model_usage(record: ModelUsage) -> Row:
    return *record.key, *record.figures


def read_book(row: Row) -> BookOpened:
    """Return a book's opening from `queries.BOOKS`."""
    return BookOpened(*row)


def read_voucher(row: Row) -> VoucherSigned:
    """Return a voucher from `queries.VOUCHERS`."""
    book, tasks, cumulative, *rest = row
    return VoucherSigned(book, tasks, int(cumulative), *rest)


def usage_row(record: LeavesBooked) -> Row:
    """Return what a batch of leaves adds to the usage."""
    return (
        month_of(record.at), record.organisation, record.project, record.publisher, record.node,
        record.node_organisation, count_ended(record.leaves), record.lease_ms, record.spent,
    )  # fmt: skip


WRITERS: dict[type, tuple[str, Callable[[Any], Row]]] = {
    JobOpened: (queries.ADD_JOB, _job_opened),
    TasksAdded: (queries.ADD_TASKS_ADDED, _tasks_added),
    JobSealed: (queries.ADD_JOB_SEALED, _job_sealed),
    TasksLeased: (queries.ADD_TASKS_LEASED, _tasks_leased),
    TasksEnded: (queries.ADD_TASKS_ENDED, _tasks_ended),
    AttemptsFailed: (queries.ADD_ATTEMPTS_FAILED, _attempts_failed),
    LeasesMetered: (queries.ADD_LEASES_METERED, _leases_metered),
    TasksRequeued: (queries.ADD_TASKS_REQUEUED, _tasks_requeued),
    JobEnded: (queries.ADD_JOB_ENDED, _job_ended),
    NodeRegistered: (queries.SET_NODE, _node_registered),
    RunTimeLearnt: (queries.SET_RUN_TIME, _run_time_learnt),
    BookOpened: (queries.ADD_BOOK, _book_opened),
    LeavesBooked: (queries.ADD_LEAVES, _leaves_booked),
    VoucherSigned: (queries.ADD_VOUCHER, _voucher_signed),
    ModelUsage: (queries.ADD_MODEL_USAGE, _model_usage),
}
"""Kind of record -> (statement, its parameters without the last one, `pos`)."""


def _read_job_opened(row: Row) -> JobOpened:
    _, job, key, at, spec = row
    return JobOpened(job, key, encoding.unpack_spec(spec), at)


def _read_tasks_added(row: Row) -> TasksAdded:
    _, job, first, count, at, sizes = row
    return TasksAdded(job, first, blank_column(count), at, encoding.unpack_sizes(sizes, count))


def _read_job_sealed(row: Row) -> JobSealed:
    return JobSealed(*row[1:])


def _read_tasks_leased(row: Row) -> TasksLeased:
    _, job, node, copy, at, details = row
    found = encoding.unpack_leased(details)
    return TasksLeased(job, node, found.indices, found.attempts, at, copy, found.gpu)


def _read_tasks_ended(row: Row) -> TasksEnded:
    _, job, seq, node, at, details = row
    return tasks_ended(job, (seq, node, at), details, None)


def _read_attempts_failed(row: Row) -> AttemptsFailed:
    _, job, node, at, details = row
    found = encoding.unpack_failed(details)
    return AttemptsFailed(
        job, node, at, found.indices, found.attempts, found.failures, found.lease_ms, found.amounts
    )


def _read_leases_metered(row: Row) -> LeasesMetered:
    _, job, node, at, details = row
    found = encoding.unpack_metered(details)
    return LeasesMetered(
        job, node, at, found.indices, found.attempts, found.parts, found.lease_ms, found.amounts
    )


def _read_tasks_requeued(row: Row) -> TasksRequeued:
    _, job, at, details = row
    return TasksRequeued(job, encoding.unpack_requeued(details).indices, at)


def _read_job_ended(row: Row) -> JobEnded:
    _, job, state, at, reason = row
    return JobEnded(job, JobState(state), at, reason)


READERS: dict[str, Callable[[Row], WorkRecord]] = {
    "jobs": _read_job_opened,
    "tasks_added": _read_tasks_added,
    "jobs_sealed": _read_job_sealed,
    "tasks_leased": _read_tasks_leased,
    "tasks_ended": _read_tasks_ended,
    "attempts_failed": _read_attempts_failed,
    "leases_metered": _read_leases_metered,
    "tasks_requeued": _read_tasks_requeued,
    "jobs_ended": _read_job_ended,
}
"""Table -> how a row with the columns of `queries.HISTORY_COLUMNS` becomes a record."""


def tasks_ended(job: JobId, head: Row, details: bytes, results: bytes | None) -> TasksEnded:
    """Build an ended record from (seq, node, at) and its blobs; without `results` that column is blank."""
    seq, node, at = head
    found = encoding.unpack_ended(details)
    return TasksEnded(
        job, seq, node, at, found.indices, found.attempts, found.states,
        blank_column(len(found.indices)) if results is None else read_column(results),
        found.failures, found.outputs, found.lease_ms, found.cpu_us, found.peak_bytes, found.amounts,
    )  # fmt: skip


def blank_column(count: int) -> Column:
    """Return a column of `count` rows whose content was left out."""
    return Column([b""] * count, {})


def read_column(blob: bytes) -> Column:
    """Return the column of a packed blob."""
    found = encoding.unpack_column(blob)
    return Column(found.inline, found.blobs)


def read_node(row: Row) -> NodeRegistered:
    """Return a registered node from (spec, secret, at)."""
    spec, secret_sha256, at = row
    return NodeRegistered(encoding.unpack_node(spec), secret_sha256, at)


def read_summary(row: Row) -> JobSummary:
    """Return a summary from the columns of `queries.SUMMARY_OF_JOB`."""
    job, key, spec, state, *rest = row
    return JobSummary(job, key, encoding.unpack_spec(spec), JobState(state), *rest)
