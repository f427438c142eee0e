"""Results until they are acknowledged, reconnection and draining."""

from __future__ import annotations

from farlane.domain.failures import FailureKind
from farlane.domain.ids import JobId, TaskId, task_id
from farlane.domain.jobs import MAX_INLINE_BYTES, BlobRef
from farlane.domain.records import Column
from farlane.domain.resources import GIB, GpuKind
from farlane.node.executors.port import (
    Value,
)
from farlane.node.machine import commands
from farlane.node.machine import events as ev
from farlane.node.machine.backlog import MAX_BATCH_ROWS, Backlog
from farlane.node.machine.running import STALL_S
from farlane.node.machine.state import Limits
from farlane.testing.machine_driver import (
    CANCELLED,
    JOB,
    ONE_SLOT,
    DrivenNode,
    bundles,
    job_spec,
    only,
    tickets,
)

A100, T4 = GpuKind("A100", 80 * GIB), GpuKind("T4", 16 * GIB)


def task(index: int, job: JobId = JOB) -> TaskId:
    return task_id(job, index)


def test_unacknowledged_batches_are_sent_again_in_order_after_a_reconnect() -> None:
    node = DrivenNode()
    started = node.run(0, 1)
    node.finish(tickets(started[0])[0])
    first = node.machine.next_batch()
    node.finish(tickets(started[1])[0])
    second = node.machine.next_batch()
    assert first is not None
    assert second is not None
    assert (first.number, second.number) == (1, 2)
    node.machine.handle(ev.BatchAccepted(0.0, 1))
    node.machine.handle(ev.HubLost(1.0))
    (late,) = node.run(2)
    assert only(node.finish(tickets(late)[0]), commands.ReportResults) == []  # nobody to tell
    assert only(node.machine.handle(ev.HubJoined(2.0, 3)), commands.ReportResults)
    assert node.machine.next_batch() == second
    assert node.reported() == {task(2): None}


def test_an_acknowledgement_of_what_was_never_sent_forgets_nothing() -> None:
    node = DrivenNode()
    (bundle,) = node.run(0)
    node.finish(tickets(bundle)[0])
    node.machine.handle(ev.BatchAccepted(0.0, 99))
    assert node.reported() == {task(0): None}


def test_work_goes_on_without_the_hub_until_too_many_results_wait() -> None:
    node = DrivenNode(limits=Limits(backlog_bytes=1000))
    started = node.run(*range(4))
    node.machine.handle(ev.HubLost(1.0))
    assert len(bundles(node.finish(tickets(started[0])[0], Value(b"r"), wall_s=1.0))) == 1
    assert bundles(node.finish(tickets(started[1])[0], Value(b"r" * 1000), wall_s=1.0)) == []
    node.machine.handle(ev.HubJoined(2.0, 3))
    node.reported()
    assert len(bundles(node.machine.handle(ev.BatchAccepted(2.0, 1)))) == 1


def test_batches_are_bounded_in_rows_and_bytes() -> None:
    node = DrivenNode(ONE_SLOT)
    started = node.run(*range(MAX_BATCH_ROWS + 10))
    rows: list[int] = []
    while started:
        out: list[commands.Command] = []
        for ticket in tickets(started.pop()):
            out += node.finish(ticket, Value(b"r"), wall_s=0.0)
        started += bundles(out)
    while (batch := node.machine.next_batch()) is not None:
        rows.append(len(batch.rows.held))
    assert rows == [MAX_BATCH_ROWS, 10]
    started = node.run(*range(5000, 5040))
    while started:
        out = []
        for ticket in tickets(started.pop()):
            out += node.finish(ticket, Value(b"r" * MAX_INLINE_BYTES), wall_s=0.0)
        started += bundles(out)
    batch = node.machine.next_batch()
    assert batch is not None
    assert len(batch.rows.held) == 16


def test_another_epoch_voids_all_that_is_held() -> None:
    node = DrivenNode(ONE_SLOT)
    (first,) = node.run(0, 1)
    node.finish(tickets(first)[0])
    (running,) = node.run(2)[:1] or bundles(node.machine.handle(ev.Ticked(0.0))) or [None]
    assert running is None  # task 1 runs already
    out = node.machine.handle(ev.HubJoined(1.0, 4))
    assert len(only(out, commands.Cancel)) == 1
    assert node.machine.held() == (4, [], [], [])
    assert node.machine.next_batch() is None
    assert node.machine.gauges().backlog_bytes == 0
    assert node.grant(0, spec=job_spec(), epoch=3) == []


def test_a_stream_forgets_specifications_that_no_attempt_needs() -> None:
    node = DrivenNode()
    (bundle,) = node.run(0)
    node.run(0, job=JobId(8))
    node.finish(tickets(bundle)[0])
    node.machine.handle(ev.HubLost(1.0))
    node.machine.handle(ev.HubJoined(2.0, 3))
    node.reported()
    node.grant(1)
    assert "without its specification" in node.only_failure().message
    assert bundles(node.grant(1, job=JobId(8)))


def test_backlog_that_is_cleared_is_empty() -> None:
    backlog = Backlog(10)
    assert not backlog.waiting
    backlog.clear()
    assert backlog.next_batch() is None
    assert not backlog.full


def test_a_drain_finishes_what_is_held_and_then_leaves() -> None:
    node = DrivenNode(ONE_SLOT)
    (first,) = node.run(0, 1)
    out = node.machine.handle(ev.DrainRequested(0.0, hand_back=False))
    assert out == [commands.AnnounceDrain()]
    assert node.machine.draining
    node.grant(2)
    assert node.reported() == {task(2): FailureKind.HANDED_BACK}
    (second,) = bundles(node.finish(tickets(first)[0], wall_s=1.0))
    assert node.reported() == {task(0): None}
    assert node.machine.handle(ev.DrainRequested(0.0, hand_back=False)) == []
    node.finish(tickets(second)[0], wall_s=1.0)
    assert node.reported() == {task(1): None}
    node.machine.handle(ev.BatchAccepted(0.0, 2))
    assert node.machine.handle(ev.BatchAccepted(0.0, 3)) == [commands.Leave()]
    assert node.machine.handle(ev.Ticked(9.0)) == []  # once


def test_a_drain_that_hands_back_lets_only_running_tasks_finish() -> None:
    node = DrivenNode(ONE_SLOT)
    (first,) = node.run(*range(4))
    (bundle,) = bundles(node.finish(tickets(first)[0], wall_s=0.0))
    assert len(bundle.executions) == 3
    node.grant(4)
    node.grant(5, payloads=Column([b""], {0: BlobRef("c", 9)}))
    node.started(tickets(bundle)[0])
    out = node.machine.handle(ev.DrainRequested(0.0, hand_back=True))
    assert only(out, commands.Cancel) == [commands.Cancel(ticket) for ticket in tickets(bundle)[1:]]
    assert node.reported() == {
        task(0): None,
        task(4): FailureKind.HANDED_BACK,
        task(5): FailureKind.HANDED_BACK,
    }
    for ticket in tickets(bundle)[1:]:
        node.finish(ticket, CANCELLED, 0.0)
    assert node.reported() == {task(2): FailureKind.HANDED_BACK, task(3): FailureKind.HANDED_BACK}
    out = node.machine.handle(ev.DrainExpired(30.0))
    assert out == [commands.Cancel(tickets(bundle)[0])]
    assert node.machine.handle(ev.DrainExpired(31.0)) == []
    node.finish(tickets(bundle)[0], CANCELLED, 30.0)
    assert node.reported() == {task(1): FailureKind.HANDED_BACK}


def test_a_task_that_ends_in_time_after_all_keeps_its_result() -> None:
    node = DrivenNode()
    (bundle,) = node.run(0)
    node.started(tickets(bundle)[0])
    node.machine.handle(ev.DrainExpired(0.0))
    node.finish(tickets(bundle)[0], Value(b"done"))
    assert node.reported() == {task(0): None}


def test_recalled_work_is_handed_back_while_draining() -> None:
    node = DrivenNode(ONE_SLOT)
    (first,) = node.run(*range(3))
    (bundle,) = bundles(node.finish(tickets(first)[0], wall_s=0.0))
    node.started(tickets(bundle)[0])
    node.machine.handle(ev.Ticked(STALL_S))
    node.machine.handle(ev.DrainRequested(STALL_S, hand_back=True))
    node.finish(tickets(bundle)[1], CANCELLED, 0.0)
    assert node.reported()[task(2)] == FailureKind.HANDED_BACK


def test_a_drain_without_a_hub_is_announced_when_it_is_back() -> None:
    node = DrivenNode()
    node.run(0)
    node.machine.handle(ev.HubLost(0.0))
    assert node.machine.handle(ev.DrainRequested(0.0, hand_back=False)) == []
    assert node.machine.handle(ev.HubJoined(1.0, 3)) == [commands.AnnounceDrain()]


def test_an_idle_node_leaves_at_once() -> None:
    out = DrivenNode().machine.handle(ev.DrainRequested(0.0, hand_back=False))
    assert out == [commands.AnnounceDrain(), commands.Leave()]


def test_a_cancellation_nobody_asked_for_is_not_the_publishers() -> None:
    node = DrivenNode()
    (bundle,) = node.run(0)
    node.finish(tickets(bundle)[0], CANCELLED)
    assert node.reported() == {task(0): FailureKind.LOST}


def test_an_attempt_is_found_by_its_ticket_while_it_is_wanted() -> None:
    node = DrivenNode()
    (bundle,) = node.run(0)
    (ticket,) = tickets(bundle)
    held = node.machine.attempt(ticket)
    assert held is not None
    assert held.task == task(0)
    node.revoke(0)
    assert node.machine.attempt(ticket) is None
    assert node.machine.attempt(999) is None
