"""A machine that says of what runs long that it runs on."""

from __future__ import annotations

from farlane.domain.ids import TaskId, task_id
from farlane.domain.resources import GIB, Resources
from farlane.node.machine import events as ev
from farlane.node.machine.backlog import MAX_BATCH_ROWS
from farlane.node.machine.commands import ReportRunning
from farlane.testing.machine_driver import (
    CANCELLED,
    EPOCH,
    JOB,
    NODE,
    ONE_SLOT,
    DrivenNode,
    bundles,
    job_spec,
    only,
    tickets,
)

HOUR_S = 3600.0
TASK = task_id(JOB, 0)


def joined(node: DrivenNode | None = None, interim_s: float = HOUR_S) -> DrivenNode:
    found = node or DrivenNode()
    found.machine.handle(ev.HubJoined(found.now, EPOCH, interim_s))
    return found


def reports(node: DrivenNode, now: float) -> list[tuple[list[TaskId], list[int], list[int]]]:
    node.now = now
    out = node.machine.handle(ev.Ticked(now))
    return [(said.tasks, said.attempts, said.lease_ms) for said in only(out, ReportRunning)]


def started(node: DrivenNode, *indices: int) -> list[int]:
    numbers = [ticket for bundle in node.run(*indices) for ticket in tickets(bundle)]
    node.started(*numbers)
    return numbers


def test_what_runs_for_an_hour_is_reported_and_every_hour_again() -> None:
    node = joined()
    started(node, 0)
    assert reports(node, 3599.0) == []
    assert reports(node, 3600.5) == [([TASK], [1], [3_600_500])]
    assert reports(node, 7200.0) == []
    assert reports(node, 7300.0) == [([TASK], [1], [7_300_000])]


def test_what_has_not_started_has_not_run() -> None:
    node = joined()
    (bundle,) = node.run(0)
    assert reports(node, 4000.0) == []
    node.started(*tickets(bundle))
    assert reports(node, 7000.0) == []
    assert reports(node, 7601.0) == [([TASK], [1], [3_601_000])]


def test_of_a_bundle_the_one_that_is_executed_is_reported() -> None:
    node = joined(DrivenNode(ONE_SLOT))
    node.finish(*started(node, 9))  # quick: the next are bundled
    (bundle,) = node.run(0, 1)
    first, second = tickets(bundle)
    node.started(first)
    node.now = 10.0
    node.finish(first)
    assert reports(node, 4000.0) == []
    node.started(second)
    assert reports(node, 7700.0) == [([task_id(JOB, 1)], [1], [3_700_000])]


def test_what_was_revoked_is_not_reported() -> None:
    node = joined()
    started(node, 0)
    node.revoke(0)
    assert reports(node, 4000.0) == []


def test_nothing_is_said_without_a_hub_or_to_one_that_does_not_ask() -> None:
    node = joined(interim_s=0.0)
    started(node, 0)
    assert reports(node, 4000.0) == []
    joined(node)
    node.machine.handle(ev.HubLost(4000.0))
    assert reports(node, 5000.0) == []
    joined(node)
    assert reports(node, 6000.0) == [([TASK], [1], [6_000_000])]


def test_what_starts_over_is_counted_from_its_new_start() -> None:
    node = joined()
    (ticket,) = started(node, 0)
    assert len(reports(node, 4000.0)) == 1
    row = node.machine.attempt(ticket)
    assert row is not None
    row.recalled = True  # as a stalled bundle is taken apart
    (bundle,) = bundles(node.finish(ticket, CANCELLED))
    node.started(*tickets(bundle))
    assert reports(node, 7000.0) == []
    assert reports(node, 7700.0) == [([TASK], [1], [3_700_000])]


def test_many_are_reported_in_several_messages() -> None:
    capacity = type(NODE.capacity)(10**7, 10**4 * GIB, 0)
    node = joined(DrivenNode(type(NODE)(NODE.node, "big", NODE.organisation, capacity, "3.11", "linux")))
    count = MAX_BATCH_ROWS + 1
    spec = job_spec(resources=Resources(1000, GIB, 0))
    numbers = [t for bundle in node.run(*range(count), spec=spec) for t in tickets(bundle)]
    node.started(*numbers)
    said = reports(node, 4000.0)
    assert [len(tasks) for tasks, _, _ in said] == [MAX_BATCH_ROWS, 1]
    assert {task for tasks, _, _ in said for task in tasks} == {task_id(JOB, i) for i in range(count)}
