"""Messages of the node's stream to and from the machine's words."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from farlane.domain.ids import JobId
from farlane.domain.jobs import JobSpec
from farlane.domain.nodes import NodeSpec
from farlane.errors import FarlaneError, InvalidInput
from farlane.node.log_buffer import LogPiece
from farlane.node.machine.backlog import ResultBatch
from farlane.node.machine.commands import ReportRunning
from farlane.node.machine.events import LeasesGranted, LeasesRevoked
from farlane.node.machine.machine import HeldColumns
from farlane.wire.columns import column_from_wire, column_to_wire
from farlane.wire.jobs import job_spec_from_wire
from farlane.wire.nodes import gpu_kind_from_wire, node_spec_to_wire
from farlane.wire.results import failure_to_wire, outputs_to_wire
from farlane.wire.v1 import node_pb2
from farlane.wire.versions import this_version

log = logging.getLogger(__name__)

MAX_LEASE_ROWS = 65_536
"""Leases in one message of a hub."""


def hello_to_wire(
    spec: NodeSpec,
    secret: bytes,
    held: HeldColumns,
    account: node_pb2.NodeAccount | None = None,
    books: Iterable[node_pb2.BookMark] = (),
) -> node_pb2.NodeMessage:
    """Return the message that opens a stream."""
    columns = node_pb2.AttemptColumns(
        tasks=held.tasks, attempts=held.attempts, copies=held.copies, epoch=held.epoch
    )
    hello = node_pb2.NodeHello(
        version=this_version(), spec=node_spec_to_wire(spec), secret=secret, held=columns,
        account=account, books=books,
    )  # fmt: skip
    return node_pb2.NodeMessage(hello=hello)


def batch_to_wire(batch: ResultBatch, epoch: int) -> node_pb2.NodeMessage:
    """Return a batch of ended attempts as it travels."""
    rows = batch.rows
    held = rows.held
    failure_rows, output_rows = sorted(rows.failures), sorted(rows.outputs)
    ended = node_pb2.AttemptsEnded(
        batch=batch.number,
        epoch=epoch,
        tasks=[row.task for row in held],
        attempts=[row.attempt for row in held],
        copies=[row.copy for row in held],
        states=bytes(rows.states),
        results=column_to_wire(rows.results),
        failure_rows=failure_rows,
        failures=[failure_to_wire(rows.failures[row]) for row in failure_rows],
        output_rows=output_rows,
        outputs=[outputs_to_wire(rows.outputs[row]) for row in output_rows],
        lease_ms=[row.lease_ms for row in held],
        cpu_us=[row.cpu_us for row in held],
        peak_bytes=[row.peak_bytes for row in held],
    )
    return node_pb2.NodeMessage(ended=ended)


def running_to_wire(report: ReportRunning, epoch: int) -> node_pb2.NodeMessage:
    """Return a report of attempts that go on as it travels."""
    running = node_pb2.AttemptsRunning(
        epoch=epoch, tasks=report.tasks, attempts=report.attempts, lease_ms=report.lease_ms
    )
    return node_pb2.NodeMessage(running=running)


def log_to_wire(piece: LogPiece) -> node_pb2.NodeMessage:
    """Return printed bytes as they travel."""
    chunk = node_pb2.LogChunk(task=piece.task, attempt=piece.attempt, stream=piece.stream, data=piece.data())
    return node_pb2.NodeMessage(log=chunk)


def leases_from_wire(message: node_pb2.Leases, now: float) -> LeasesGranted:
    """Read granted leases.

    Raises:
        InvalidInput: columns that are not parallel.
        TooLarge: more rows, or larger payloads, than a hub may send.
    """
    tasks, attempts = list(message.tasks), list(message.attempts)
    copies = list(message.copies)
    payloads = column_from_wire(message.payloads, MAX_LEASE_ROWS)
    _check_parallel("leases", len(tasks), (len(attempts), len(copies), len(payloads.inline)))
    spec = _spec_of(message) if message.HasField("spec") else None
    gpu = gpu_kind_from_wire(message.gpu) if message.HasField("gpu") else None
    # Task ids are plain integers on the wire and inside.
    return LeasesGranted(now, message.epoch, JobId(message.job), spec, tasks, attempts, copies, payloads, gpu)  # type: ignore[arg-type]


def revoke_from_wire(message: node_pb2.Revoke, now: float) -> LeasesRevoked:
    """Read revoked leases.

    Raises:
        InvalidInput: columns that are not parallel.
    """
    columns = message.attempts
    tasks, attempts, copies = list(columns.tasks), list(columns.attempts), list(columns.copies)
    _check_parallel("revoked leases", len(tasks), (len(attempts), len(copies)))
    return LeasesRevoked(now, columns.epoch, tasks, attempts, copies)  # type: ignore[arg-type]


def _spec_of(message: node_pb2.Leases) -> JobSpec | None:
    try:
        return job_spec_from_wire(message.spec)
    except FarlaneError as error:
        # One job this version cannot read must not end the stream of all others: its leases are refused.
        log.warning(
            "the specification of a job cannot be read: %s", error.message, extra={"job": message.job}
        )
        return None


def _check_parallel(what: str, rows: int, others: Iterable[int]) -> None:
    if any(other != rows for other in others):
        raise InvalidInput(
            f"the hub sent {what} with columns of {rows} and {sorted(set(others))} rows: expected equal lengths"
        )
