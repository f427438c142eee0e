"""What the machine refuses, ignores and drops, and how files and payloads come to attempts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farlane.domain.failures import FailureKind
from farlane.domain.ids import JobId, TaskId, task_id
from farlane.domain.jobs import BlobRef, CommandWork
from farlane.domain.records import Column
from farlane.domain.records import OutputFile as StoredFile
from farlane.domain.resources import GIB, GpuKind, GpuRequest, Resources
from farlane.node.executors.port import (
    CommandResult,
    FunctionCall,
    OutputFile,
    Value,
)
from farlane.node.machine import commands
from farlane.node.machine import events as ev
from farlane.node.machine.state import Limits
from farlane.testing.machine_driver import (
    CANCELLED,
    FUNCTION,
    JOB,
    ONE_SLOT,
    DrivenNode,
    bundles,
    gpu_node,
    job_spec,
    only,
    tickets,
)

A100, T4 = GpuKind("A100", 80 * GIB), GpuKind("T4", 16 * GIB)


def task(index: int, job: JobId = JOB) -> TaskId:
    return task_id(job, index)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"organisation": "other"}, "only work of 'lab' until a sandbox exists"),
        ({"function": None}, "of a function, a command and a model"),
        ({"command": CommandWork("true")}, "of a function, a command and a model"),
        ({"function": replace(FUNCTION, python="3.12")}, "pickled by Python 3.12 and this node runs 3.11"),
        ({"resources": Resources(3000, 1, 0)}, "cores: 3; the whole node offers 2"),
        ({"resources": Resources(1, 5 * GIB, 0)}, "memory: 5 GiB; the whole node offers 4 GiB"),
        ({"resources": Resources(1, 1, 9 * GIB)}, "disk: 9 GiB; the whole node offers 8 GiB"),
        ({"resources": Resources(1, 1, 0, GpuRequest(1))}, "1 x any GPU; this node offers none"),
        ({"resources": Resources(1, 1, 0, GpuRequest(2, "A100", GIB))}, "2 x A100 with 1 GiB each"),
    ],
)
def test_what_the_node_can_never_run_is_refused_with_the_reason(
    changes: dict[str, object], words: str
) -> None:
    node = DrivenNode()
    out = node.grant(0, spec=job_spec(**changes))
    assert only(out, commands.PrepareJob) == []
    assert only(out, commands.ReportResults)
    assert node.machine.ended == {FailureKind.REFUSED: 1}
    assert words in node.only_failure().message


def test_a_refusal_names_the_gpus_there_are() -> None:
    node = gpu_node((0, T4))
    node.grant(0, spec=job_spec(resources=Resources(1, 1, 0, GpuRequest(1, "A100"))))
    assert "this node offers 1 x T4" in node.only_failure().message


def test_leases_without_a_specification_are_refused_and_do_not_spoil_the_job() -> None:
    node = DrivenNode()
    node.grant(0)
    assert "came without its specification" in node.only_failure().message
    assert len(node.run(1)) == 1


def test_leases_beyond_the_limits_are_handed_back() -> None:
    node = DrivenNode(limits=Limits(payload_bytes=5, blob_bytes=100, attempts=3))
    node.grant(0, 1, 2, spec=job_spec())
    assert node.reported() == {task(2): FailureKind.HANDED_BACK}
    node.grant(3, payloads=Column([b""], {0: BlobRef("c", 101)}))
    assert "100 B of payload blobs" in node.only_failure().message
    node.grant(4, payloads=Column([b""]))
    assert "limit of 3 attempts" in node.only_failure().message


def test_limits_count_what_is_held_now() -> None:
    node = DrivenNode(limits=Limits(payload_bytes=4, blob_bytes=100))
    for bundle in node.run(0, 1):
        node.finish(tickets(bundle)[0])
    node.reported()
    assert len(node.run(2, 3)) == 2


def test_the_same_lease_again_and_older_ones_change_nothing() -> None:
    node = DrivenNode()
    (bundle,) = node.run(0)
    assert node.grant(0) == []
    assert node.grant(0, epoch=2) == []
    node.finish(tickets(bundle)[0])
    assert bundles(node.grant(0)) == []  # ended, not acknowledged
    node.reported()
    node.grant(1, attempt=2)
    assert node.grant(1, attempt=1) == []


def test_a_newer_attempt_takes_the_place_of_an_older_one() -> None:
    node = DrivenNode()
    (bundle,) = node.run(0)
    out = node.grant(0, attempt=2)
    assert only(out, commands.Cancel) == [commands.Cancel(tickets(bundle)[0])]
    (second,) = bundles(out)
    assert node.machine.held() == (3, [task(0)], [2], [0])
    node.finish(tickets(bundle)[0], Value(b"late"))
    assert node.reported() == {}
    node.finish(tickets(second)[0])
    batch = node.machine.next_batch()
    assert batch is not None
    assert [row.attempt for row in batch.rows.held] == [2]


def test_a_newer_attempt_survives_the_acknowledgement_of_an_ended_older_one() -> None:
    node = DrivenNode()
    (bundle,) = node.run(0)
    node.finish(tickets(bundle)[0])
    node.reported()
    node.grant(0, attempt=2)
    node.machine.handle(ev.BatchAccepted(0.0, 1))
    assert node.machine.held() == (3, [task(0)], [2], [0])


def test_revoked_attempts_are_dropped_in_every_phase_and_never_reported() -> None:
    node = DrivenNode(ONE_SLOT)
    out = node.grant(0, 1, 2, spec=job_spec(), payloads=Column([b"", b"1", b"2"], {0: BlobRef("c", 9)}))
    node.revoke(1)  # waits for the job's files
    (started,) = bundles(node.prepared(only(out, commands.PrepareJob)[0].preparation))
    assert started.executions[0].index == 2
    node.grant(3, 4)
    node.revoke(3)  # queued
    node.revoke(0)  # waits for its payload
    (fetch,) = only(out, commands.FetchPayload)
    assert node.machine.handle(ev.PayloadFetched(0.0, fetch.fetch, "/x")) == [
        commands.ReleasePayload(fetch.fetch)
    ]
    out = node.revoke(2)  # runs
    assert only(out, commands.Cancel) == [commands.Cancel(tickets(started)[0])]
    (last,) = bundles(node.finish(tickets(started)[0], CANCELLED, 0.0))
    assert last.executions[0].index == 4
    node.finish(tickets(last)[0], Value(None, "/scratch/result"))
    out = node.revoke(4)  # is being uploaded
    assert only(out, commands.ReleaseScratch) == [commands.ReleaseScratch(tickets(last)[0])]
    assert node.machine.handle(ev.Uploaded(0.0, tickets(last)[0], BlobRef("r", 1), ())) == []
    assert node.machine.handle(ev.UploadFailed(0.0, tickets(last)[0], "no")) == []
    assert node.machine.held().tasks == []
    assert node.reported() == {}
    assert node.machine.gauges()[:6] == (0, 0, 0, 0, 0, 0)


def test_a_payload_lost_for_a_revoked_attempt_is_nobodys_loss() -> None:
    node = DrivenNode()
    out = node.grant(0, spec=job_spec(), payloads=Column([b""], {0: BlobRef("c", 9)}))
    node.revoke(0)
    assert node.machine.handle(ev.PayloadLost(0.0, only(out, commands.FetchPayload)[0].fetch, "no")) == []


def test_revoking_an_ended_attempt_leaves_the_judgement_to_the_hub() -> None:
    node = DrivenNode()
    (bundle,) = node.run(0)
    node.finish(tickets(bundle)[0])
    node.revoke(0)
    assert node.machine.held().tasks == [task(0)]
    assert node.reported() == {task(0): None}


def test_other_attempts_and_epochs_are_not_revoked() -> None:
    node = DrivenNode()
    node.run(0)
    assert node.revoke(0, attempt=2) == []
    assert node.revoke(0, epoch=2) == []
    assert node.revoke(5) == []
    assert node.machine.held().tasks == [task(0)]


def test_a_revoked_run_that_ends_with_files_gives_them_up() -> None:
    node = DrivenNode()
    (bundle,) = node.run(0)
    node.revoke(0)
    out = node.finish(tickets(bundle)[0], Value(None, "/scratch/result"))
    assert only(out, commands.ReleaseScratch) == [commands.ReleaseScratch(tickets(bundle)[0])]


def test_revoked_attempts_inside_a_run_are_skipped() -> None:
    node = DrivenNode(ONE_SLOT)
    (first,) = node.run(*range(6))
    node.revoke(2, 3)
    (bundle,) = bundles(node.finish(tickets(first)[0], wall_s=0.0))
    assert [execution.index for execution in bundle.executions] == [1, 4, 5]


def test_a_run_revoked_as_a_whole_blocks_nobody() -> None:
    node = DrivenNode(ONE_SLOT)
    (first,) = node.run(0)
    node.grant(1, 2)
    node.run(0, job=JobId(8))
    node.revoke(1, 2)
    (bundle,) = bundles(node.finish(tickets(first)[0], wall_s=0.0))
    assert bundle.executions[0].index == 0


def test_a_payload_blob_is_fetched_used_and_released() -> None:
    node = DrivenNode()
    out = node.grant(0, spec=job_spec(), payloads=Column([b""], {0: BlobRef("c", 70_000)}))
    (fetch,) = only(out, commands.FetchPayload)
    assert fetch.blob == BlobRef("c", 70_000)
    assert node.machine.gauges().fetching == 1
    (prepare,) = only(
        node.machine.handle(ev.PayloadFetched(0.0, fetch.fetch, "/cache/c")), commands.PrepareJob
    )
    (bundle,) = bundles(node.prepared(prepare.preparation))
    assert bundle.executions[0].call == FunctionCall("bafkreifunction", "/cache/f", None, "/cache/c")
    out = node.finish(tickets(bundle)[0])
    assert only(out, commands.ReleasePayload) == [commands.ReleasePayload(fetch.fetch)]


def test_a_lost_payload_fails_its_attempt_alone() -> None:
    node = DrivenNode()
    payloads = Column([b"", b"1"], {0: BlobRef("c", 9)})
    out = node.grant(0, 1, spec=job_spec(), payloads=payloads)
    node.machine.handle(ev.PayloadLost(0.0, only(out, commands.FetchPayload)[0].fetch, "the hub lost it"))
    assert node.reported() == {task(0): FailureKind.BLOB}
    assert len(bundles(node.prepared(only(out, commands.PrepareJob)[0].preparation))) == 1


def test_files_that_cannot_be_had_fail_what_waits_and_are_tried_again_later() -> None:
    node = DrivenNode()
    (prepare,) = only(node.grant(0, 1, spec=job_spec()), commands.PrepareJob)
    node.revoke(1)
    node.machine.handle(ev.JobUnprepared(0.0, prepare.preparation, FailureKind.ENVIRONMENT, "no such wheel"))
    assert node.reported() == {task(0): FailureKind.ENVIRONMENT}
    (again,) = only(node.grant(2), commands.PrepareJob)
    assert again.preparation != prepare.preparation


def test_leases_that_come_during_preparation_wait_for_the_same_files() -> None:
    node = DrivenNode()
    (prepare,) = only(node.grant(0, spec=job_spec()), commands.PrepareJob)
    assert node.grant(1) == []
    assert len(bundles(node.prepared(prepare.preparation))) == 2


def test_files_that_come_too_late_are_given_up_at_once() -> None:
    node = DrivenNode()
    (prepare,) = only(node.grant(0, spec=job_spec()), commands.PrepareJob)
    assert node.revoke(0) == []
    assert node.prepared(prepare.preparation) == [commands.ReleaseJob(prepare.preparation)]


def test_large_results_and_outputs_are_uploaded_before_they_are_reported() -> None:
    node = DrivenNode()
    first, second = node.run(0, 1)
    large = Value(None, "/scratch/result")
    files = CommandResult(0, (OutputFile("out.txt", "/scratch/0", 3),))
    (upload,) = only(node.finish(tickets(first)[0], large), commands.Upload)
    assert upload == commands.Upload(tickets(first)[0], large)
    assert only(node.finish(tickets(second)[0], files), commands.Upload)[0].outcome == files
    assert node.reported() == {}
    assert len(node.run(2, 3)) == 2  # an upload holds no slot
    stored = (StoredFile("out.txt", BlobRef("o", 3)),)
    out = node.machine.handle(ev.Uploaded(0.0, tickets(first)[0], BlobRef("r", 100_000), ()))
    assert only(out, commands.ReleaseScratch) == [commands.ReleaseScratch(tickets(first)[0])]
    node.machine.handle(ev.Uploaded(0.0, tickets(second)[0], None, stored))
    batch = node.machine.next_batch()
    assert batch is not None
    assert batch.rows.results == Column([b"", b""], {0: BlobRef("r", 100_000)})
    assert batch.rows.outputs == {1: stored}


def test_a_failed_upload_is_nobodys_fault_but_the_networks() -> None:
    node = DrivenNode()
    (bundle,) = node.run(0)
    node.finish(tickets(bundle)[0], Value(None, "/scratch/result"))
    out = node.machine.handle(ev.UploadFailed(0.0, tickets(bundle)[0], "the hub's disk is full"))
    assert only(out, commands.ReleaseScratch)
    assert node.reported() == {task(0): FailureKind.BLOB}


def test_more_output_names_than_fit_a_message_fail_the_task() -> None:
    node = DrivenNode()
    (bundle,) = node.run(0)
    node.finish(tickets(bundle)[0], CommandResult(0, (OutputFile("x", "/s", 1),)))
    many = tuple(StoredFile(f"{'d' * 900}/{number}", BlobRef("o", 1)) for number in range(2400))
    node.machine.handle(ev.Uploaded(0.0, tickets(bundle)[0], None, many))
    assert node.reported() == {task(0): FailureKind.RESULT_TOO_LARGE}
