"""A machine that takes no more work of an organisation until it is paid."""

from __future__ import annotations

from farlane.domain.failures import FailureKind
from farlane.domain.ids import task_id
from farlane.node.machine import events as ev
from farlane.node.machine.commands import Cancel
from farlane.node.machine.machine import InProgress
from farlane.testing.machine_driver import (
    JOB,
    ONE_SLOT,
    ORGANISATION,
    DrivenNode,
    bundles,
    job_spec,
    only,
    tickets,
)

WHY = "lab owes this node 10 credits"


def change_credit(node: DrivenNode, reason: str, organisation: str = ORGANISATION) -> list[object]:
    return list(node.machine.handle(ev.CreditChanged(node.now, organisation, reason)))


def failures(node: DrivenNode) -> dict[int, tuple[FailureKind, str]]:
    batch = node.machine.next_batch()
    assert batch is not None
    rows = batch.rows
    return {rows.held[row].task: (failure.kind, failure.message) for row, failure in rows.failures.items()}


def test_what_has_not_started_is_handed_back_and_what_runs_is_finished() -> None:
    node = DrivenNode(ONE_SLOT)
    (bundle,) = node.run(0, 1, 2)
    (ticket,) = tickets(bundle)
    out = change_credit(node, WHY)
    assert not only(out, Cancel)
    assert failures(node) == {
        task_id(JOB, 1): (FailureKind.HANDED_BACK, WHY),
        task_id(JOB, 2): (FailureKind.HANDED_BACK, WHY),
    }
    node.finish(ticket)
    batch = node.machine.next_batch()
    assert batch is not None
    assert [held.task for held in batch.rows.held] == [task_id(JOB, 0)]
    assert not batch.rows.failures


def test_leases_that_come_all_the_same_are_handed_back() -> None:
    node = DrivenNode()
    change_credit(node, WHY)
    assert not bundles(node.grant(0, spec=job_spec()))
    assert failures(node) == {task_id(JOB, 0): (FailureKind.HANDED_BACK, WHY)}


def test_work_is_taken_again_when_it_is_paid() -> None:
    node = DrivenNode()
    change_credit(node, WHY)
    change_credit(node, "")
    assert len(node.run(0)) == 1


def test_other_organisations_are_not_touched() -> None:
    node = DrivenNode()
    change_credit(node, WHY, "somebody else")
    assert len(node.run(0)) == 1


def test_the_machine_says_what_runs_and_for_how_long() -> None:
    node = DrivenNode(ONE_SLOT)
    (bundle,) = node.run(0)
    node.now = 2.0
    node.started(*tickets(bundle))
    assert node.machine.in_progress(3.5) == [InProgress(JOB, task_id(JOB, 0), 1, (), 1500)]
    node.finish(*tickets(bundle))
    assert node.machine.in_progress(4.0) == []
