"""Completion: results of attempts are accepted by their fence, exactly once; failures run again or end the task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from farlane.domain.failures import MAX_FREE_ATTEMPTS, MAX_MOVES, Failure, FailureKind
from farlane.domain.ids import JobId, NodeId, TaskId, index_of, job_of
from farlane.domain.jobs import TaskState
from farlane.domain.records import AttemptsFailed, Column, OutputFile, RunTimeLearnt, TasksEnded
from farlane.hub.reactor.commands import AcceptEnded, Append, Command, Deliver
from farlane.hub.reactor.ending import charged, elapsed_ms, give_back, pay, settle
from farlane.hub.reactor.queues import enqueue_again
from farlane.hub.reactor.state import HubState, Job, Lease, Node, RunTime, Tally
from farlane.hub.reactor.submission import finish_if_ended

T = TypeVar("T")

LEARNING_WEIGHT = 0.2
"""Weight of the newest batch in a profile's exponentially weighted mean run time."""
LEAST_RUN_MS = 0.1
"""Run times are not believed to be shorter than this, so that a task that only waits is not queued too deep."""
STRIKE_CAP = 8
STRIKE_KINDS = frozenset({"refused", "lost", "node-lost"})
"""Failures that count against a node; being drained or a lost blob do not."""


@dataclass(frozen=True, slots=True)
class EndedBatch:
    """Ended attempts as a node reports them; columns parallel to `tasks`, failures and outputs sparse by row."""

    batch: int
    epoch: int
    tasks: Sequence[int]
    attempts: Sequence[int]
    states: bytes
    results: Column
    failures: dict[int, Failure]
    outputs: dict[int, tuple[OutputFile, ...]]
    lease_ms: Sequence[int]
    cpu_us: Sequence[int]
    peak_bytes: Sequence[int]


def accept_batch(state: HubState, out: list[Command], now: float, node_id: NodeId, batch: EndedBatch) -> None:
    """Take a node's batch: rows whose fence is not the one in force change nothing but are acknowledged."""
    node = state.nodes[node_id]
    _disbelieve(batch)
    stale = state.stale_results
    current = _take_current(state, node, batch)
    # A stale row may repeat one whose record is not durable yet: its acknowledgement waits for that.
    relaxed = state.stale_results == stale
    for job_id, (rows, leases) in current.items():
        job = state.jobs[job_id]
        relaxed = relaxed and job.relaxed
        _accept_job(state, out, now, node, job, batch, rows, leases)
    out.append(AcceptEnded(node_id, node.session, batch.batch, relaxed))


def _disbelieve(batch: EndedBatch) -> None:
    """Take for lost what a node says was preempted: only the hub preempts, and is not told of it."""
    for row, failure in batch.failures.items():
        if failure.kind is FailureKind.PREEMPTED:
            batch.failures[row] = Failure(FailureKind.LOST, failure.message)


def _take_current(
    state: HubState, node: Node, batch: EndedBatch
) -> dict[JobId, tuple[list[int], list[Lease]]]:
    """Take the leases in force out of `node.leases`, by job with their rows; all other rows are counted as stale."""
    found: dict[JobId, tuple[list[int], list[Lease]]] = {}
    if batch.epoch != state.epoch:
        state.stale_results += len(batch.tasks)
        return found
    held = node.leases
    for row, (task, attempt) in enumerate(zip(batch.tasks, batch.attempts, strict=True)):
        lease = held.get(TaskId(task))
        if lease is None or lease.attempt != attempt:
            state.stale_results += 1
            continue
        # Taken at once: a batch that names a task twice answers for it once.
        del held[TaskId(task)]
        rows, leases = found.setdefault(job_of(TaskId(task)), ([], []))
        rows.append(row)
        leases.append(lease)
    return found


def _accept_job(
    state: HubState, out: list[Command], now: float, node: Node, job: Job, batch: EndedBatch,
    rows: list[int], leases: list[Lease],
) -> None:  # fmt: skip
    tally = job.running[node.spec.node]
    give_back(state, node, job, leases)
    lease_ms, amounts = _prices(job, tally, batch, rows, leases, now)
    again = {pos for pos, row in enumerate(rows) if row in batch.failures and _runs_again(job, batch, row)}
    ended = [pos for pos in range(len(rows)) if pos not in again] if again else list(range(len(rows)))
    if ended:
        _end_rows(out, now, node, job, batch, rows, leases, ended, lease_ms, amounts)
    if again:
        order = sorted(again)
        failures = [batch.failures[rows[pos]] for pos in order]
        indices = [index_of(TaskId(batch.tasks[rows[pos]])) for pos in order]
        queue_again(
            state, out, now, node, job, indices, [leases[pos] for pos in order], failures,
            [lease_ms[pos] for pos in order], [amounts[pos] for pos in order],
        )  # fmt: skip
    _learn(state, out, job, batch, rows, lease_ms)
    finish_if_ended(out, now, job)


def _prices(
    job: Job, tally: Tally, batch: EndedBatch, rows: list[int], leases: list[Lease], now: float
) -> tuple[list[int], list[int]]:
    """Return observed lease milliseconds and amounts; unpaid failures cost no more, no amount passes its reserve."""
    lease_ms, amounts = [], []
    meters, failures, results, sizes = tally.meters, batch.failures, batch.results, job.sizes
    for row, lease in zip(rows, leases, strict=True):
        elapsed = elapsed_ms(lease, now, batch.lease_ms[row])
        lease_ms.append(elapsed)
        failure = failures.get(row)
        if failure is not None and not failure.rule.paid:
            amounts.append(lease.paid)
            continue
        moved = sizes[index_of(TaskId(batch.tasks[row]))] + results.moved_bytes(row)
        if row in batch.outputs:
            moved += sum(file.blob.size_bytes for file in batch.outputs[row])
        amounts.append(charged(lease, meters[lease.gpu].charge_ceiling(elapsed, moved)))
    return lease_ms, amounts


def _runs_again(job: Job, batch: EndedBatch, row: int) -> bool:
    return runs_again(job, index_of(TaskId(batch.tasks[row])), batch.failures[row])


def runs_again(job: Job, index: int, failure: Failure) -> bool:
    """Tell whether a failed attempt is followed by another, counting it against its allowance."""
    rule = failure.rule.again
    if rule == "never" or job.state.final:
        return False
    counts = counts_of(job, failure)
    allowed = {"counted": job.spec.retries, "free": MAX_FREE_ATTEMPTS, "moved": MAX_MOVES}[rule]
    so_far = counts.get(index, 0)
    if so_far >= allowed:
        return False
    counts[index] = so_far + 1
    return True


def counts_of(job: Job, failure: Failure) -> dict[int, int]:
    """Return what counts failures that are followed by another attempt, by task."""
    return {"counted": job.counted, "free": job.free, "moved": job.moved}[failure.rule.again]


def queue_again(
    state: HubState, out: list[Command], now: float, node: Node, job: Job, indices: list[int],
    leases: list[Lease], failures: list[Failure], lease_ms: list[int], amounts: list[int],
) -> None:  # fmt: skip
    """Queue tasks again after failed attempts, elsewhere if there is an elsewhere."""
    attempts = [lease.attempt for lease in leases]
    record = AttemptsFailed(job.id, node.spec.node, now, indices, attempts, failures, lease_ms, amounts)
    out.append(Append(record, leases))
    return_failed(job, node, record, leases)
    if any(failure.kind in STRIKE_KINDS for failure in failures):
        strike(node, now)
    enqueue_again(state, job)


def return_failed(job: Job, node: Node, record: AttemptsFailed, leases: Sequence[Lease]) -> None:
    """Put tasks back into their job's queue, remembering where they failed, and book the failed attempts."""
    how = [failure.rule.again for failure in record.failures]
    for index, again in zip(record.indices, how, strict=True):
        job.states[index] = TaskState.QUEUED
        job.returned.append(index)
        if again != "moved":  # the node did nothing wrong: the task may come back
            job.avoid[index] = job.avoid.get(index, frozenset()) | {record.node}
    moved, lost = how.count("moved"), how.count("free")
    job.retried += len(how) - moved
    node.lost += lost
    node.failed += len(how) - lost - moved
    pay(job, node, record, leases)


def strike(node: Node, now: float) -> None:
    """Suspend a node that lost work: 2, 4, 8 ... at most 256 seconds, cleared by its next success."""
    node.strikes = min(STRIKE_CAP, node.strikes + 1)
    node.suspended_until = now + 2.0**node.strikes


def _end_rows(
    out: list[Command], now: float, node: Node, job: Job, batch: EndedBatch, rows: list[int],
    leases: list[Lease], ended: list[int], lease_ms: list[int], amounts: list[int],
) -> None:  # fmt: skip
    picked = [rows[pos] for pos in ended]
    record = TasksEnded(
        job.id, job.seq, node.spec.node, now,
        [index_of(TaskId(batch.tasks[row])) for row in picked], [batch.attempts[row] for row in picked],
        bytes([batch.states[row] for row in picked]), _rows_of(batch.results, picked),
        _sparse(batch.failures, picked), _sparse(batch.outputs, picked),
        [lease_ms[pos] for pos in ended], [batch.cpu_us[row] for row in picked],
        [batch.peak_bytes[row] for row in picked], [amounts[pos] for pos in ended],
    )  # fmt: skip
    held = [leases[pos] for pos in ended]
    settle(job, node, record, held)
    if TaskState.DONE in record.states:
        node.strikes, node.suspended_until = 0, 0.0
    out += (Append(record, held), Deliver(record, job.relaxed))


def _rows_of(column: Column, rows: list[int]) -> Column:
    blobs = (
        {pos: column.blobs[row] for pos, row in enumerate(rows) if row in column.blobs}
        if column.blobs
        else {}
    )
    return Column([column.inline[row] for row in rows], blobs)


def _sparse(values: dict[int, T], rows: list[int]) -> dict[int, T]:
    return {pos: values[row] for pos, row in enumerate(rows) if row in values} if values else {}


def _run_ms(lease_ms: int, cpu_us: int) -> float:
    """Return a run time in milliseconds; leases are whole milliseconds, below that the CPU time tells more."""
    return lease_ms if lease_ms > 1 else min(1.0, max(LEAST_RUN_MS, cpu_us / 1000))


def _learn(
    state: HubState, out: list[Command], job: Job, batch: EndedBatch, rows: list[int], lease_ms: list[int]
) -> None:
    """Fold successful run times into the profile; a record is kept at counts 1, 2, 4, 8 ... and then every 4096."""
    pairs = zip(rows, lease_ms, strict=True)
    times = [_run_ms(ms, batch.cpu_us[row]) for row, ms in pairs if row not in batch.failures]
    profile = job.spec.profile
    if not times:
        return
    mean = sum(times) / len(times)
    state.habits.learn(job.spec, mean / 1000)
    if not profile:
        return
    known = state.run_times.get(profile)
    if known is None:
        known = state.run_times[profile] = RunTime(mean, 0)
    before = known.count
    known.mean_ms += (mean - known.mean_ms) * (1 - (1 - LEARNING_WEIGHT) ** len(times)) if before else 0.0
    known.count += len(times)
    if before.bit_length() != known.count.bit_length() or before // 4096 != known.count // 4096:
        out.append(Append(RunTimeLearnt(profile, known.mean_ms, known.count)))
