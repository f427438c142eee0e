"""Messages of the node's stream: what a hub may send, what it may not, and how results travel."""

from __future__ import annotations

import pytest

from farlane.domain.ids import JobId, TaskId, task_id
from farlane.domain.jobs import BlobRef, TaskState
from farlane.domain.records import Column, OutputFile
from farlane.errors import InvalidInput
from farlane.node.executors.port import CommandResult, Failed
from farlane.node.executors.port import OutputFile as LocalFile
from farlane.node.log_buffer import LogPiece
from farlane.node.machine import events as ev
from farlane.node.messages import batch_to_wire, leases_from_wire, log_to_wire, revoke_from_wire
from farlane.testing.builders import A100
from farlane.testing.machine_driver import CANCELLED, JOB, DrivenNode, job_spec, tickets
from farlane.wire.columns import column_to_wire
from farlane.wire.jobs import job_spec_to_wire
from farlane.wire.nodes import gpu_to_wire
from farlane.wire.results import failures_from_wire, outputs_from_wire
from farlane.wire.v1 import node_pb2, types_pb2


def leases(**changes: object) -> node_pb2.Leases:
    values: dict[str, object] = {
        "epoch": 2,
        "job": 7,
        "spec": job_spec_to_wire(job_spec()),
        "tasks": [task_id(JobId(7), 0), task_id(JobId(7), 1)],
        "attempts": [1, 4],
        "copies": [0, 1],
        "payloads": column_to_wire(Column([b"a", b""], {1: BlobRef("bafkreipayload", 9)})),
    }
    return node_pb2.Leases(**(values | changes))  # type: ignore[arg-type]


def test_leases_come_in_as_they_were_sent() -> None:
    granted = leases_from_wire(leases(), 5.0)
    assert granted == ev.LeasesGranted(
        5.0, 2, JobId(7), job_spec(), [TaskId(7 << 24), TaskId(7 << 24 | 1)], [1, 4], [0, 1],
        Column([b"a", b""], {1: BlobRef("bafkreipayload", 9)}),
    )  # fmt: skip
    assert leases_from_wire(leases(spec=None), 5.0).spec is None
    assert granted.gpu is None
    assert leases_from_wire(leases(gpu=gpu_to_wire(A100, 2)), 5.0).gpu == A100
    with pytest.raises(InvalidInput, match="GPU model"):
        leases_from_wire(leases(gpu=types_pb2.GpuCount(count=1)), 5.0)


@pytest.mark.parametrize("changes", [{"attempts": [1]}, {"copies": []}, {"tasks": [1, 2, 3]}])
def test_columns_of_other_lengths_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="expected equal lengths"):
        leases_from_wire(leases(**changes), 0.0)


def test_a_specification_this_version_cannot_read_costs_only_its_job(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = job_spec_to_wire(job_spec())
    broken.timeout_ms = 0
    broken.name = "x" * 10_000
    assert leases_from_wire(leases(spec=broken), 0.0).spec is None
    assert "cannot be read" in caplog.text


def test_revoked_leases_come_in_as_they_were_sent() -> None:
    columns = node_pb2.AttemptColumns(tasks=[1], attempts=[2], copies=[0], epoch=3)
    revoked = revoke_from_wire(node_pb2.Revoke(attempts=columns), 5.0)
    assert revoked == ev.LeasesRevoked(5.0, 3, [TaskId(1)], [2], [0])
    columns.attempts.append(9)
    with pytest.raises(InvalidInput, match="revoked leases"):
        revoke_from_wire(node_pb2.Revoke(attempts=columns), 5.0)


def test_results_travel_as_columns() -> None:
    node = DrivenNode()
    first, second = node.run(0, 1)
    node.finish(tickets(first)[0])
    node.finish(tickets(second)[0], CommandResult(0, (LocalFile("o", "/s", 3),)))
    output = OutputFile("o", BlobRef("bafkreioutput", 3))
    node.machine.handle(ev.Uploaded(0.0, tickets(second)[0], BlobRef("bafkreiresult", 8), (output,)))
    (third,) = node.run(2)
    node.finish(tickets(third)[0], CANCELLED)
    batch = node.machine.next_batch()
    assert batch is not None
    ended = batch_to_wire(batch, 3).ended
    assert (ended.batch, ended.epoch) == (1, 3)
    assert list(ended.tasks) == [JOB << 24, JOB << 24 | 1, JOB << 24 | 2]
    assert ended.states == bytes([TaskState.DONE, TaskState.DONE, TaskState.FAILED])
    assert list(ended.attempts) == [1, 1, 1]
    assert list(ended.copies) == [0, 0, 0]
    assert list(ended.lease_ms) == [1, 1, 1]
    assert list(ended.cpu_us) == [250, 250, 250]
    assert list(ended.peak_bytes) == [4096, 4096, 4096]
    assert ended.results.inline == [b"r", b"", b""]
    assert [
        (row, ref.cid) for row, ref in zip(ended.results.blob_rows, ended.results.blobs, strict=True)
    ] == [(1, "bafkreiresult")]
    assert outputs_from_wire(ended.output_rows, ended.outputs, 3) == {1: (output,)}
    assert failures_from_wire(ended.failure_rows, ended.failures, 3)[2].message.startswith("the node stopped")


def test_an_exception_travels_whole() -> None:
    node = DrivenNode()
    (bundle,) = node.run(0)
    node.finish(tickets(bundle)[0], Failed(CANCELLED.kind.__class__.EXCEPTION, "no", "traceback", b"pickle"))
    batch = node.machine.next_batch()
    assert batch is not None
    failure = failures_from_wire([0], batch_to_wire(batch, 3).ended.failures, 1)[0]
    assert (failure.message, failure.traceback, failure.exception) == ("no", "traceback", b"pickle")


def test_log_pieces_travel_joined() -> None:
    chunk = log_to_wire(LogPiece(TaskId(5), 2, "stderr", 3, [b"a", b"bc"])).log
    assert (chunk.task, chunk.attempt, chunk.stream, chunk.data) == (5, 2, "stderr", b"abc")
