"""The ordinary way of an attempt through the machine, bundles, capacity and order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farlane.domain.failures import FailureKind
from farlane.domain.ids import JobId, TaskId, task_id
from farlane.domain.jobs import MAX_INLINE_BYTES, CommandWork, Environment, TaskState
from farlane.domain.records import Column
from farlane.domain.resources import GIB, Capacity, GpuKind, GpuRequest, Resources
from farlane.errors import InvalidSetting
from farlane.node.executors.port import (
    CommandCall,
    CommandResult,
    Failed,
    Finished,
    FunctionCall,
    PoolKey,
    Usage,
    Value,
)
from farlane.node.machine import commands
from farlane.node.machine import events as ev
from farlane.node.machine.attempts import MAX_BUNDLE, JobFiles
from farlane.node.machine.machine import Machine
from farlane.node.machine.pool import ResourcePool
from farlane.node.machine.queue import MAX_PASSES
from farlane.node.machine.running import STALL_S
from farlane.testing.machine_driver import (
    CANCELLED,
    JOB,
    NODE,
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


def test_a_lease_is_prepared_run_reported_and_forgotten() -> None:
    node = DrivenNode()
    out = node.grant(4, spec=job_spec(env=(("A", "1"),), environment=Environment("lock", ("x==1",))))
    (prepare,) = only(out, commands.PrepareJob)
    assert prepare.job == JOB
    (bundle,) = bundles(node.prepared(prepare.preparation, JobFiles("/cache/f", "/site")))
    (execution,) = bundle.executions
    assert bundle.pool == PoolKey("ada", "lock")
    assert (bundle.site_path, bundle.gpus) == ("/site", ())
    assert execution.call == FunctionCall("bafkreifunction", "/cache/f", b"p4")
    assert (execution.timeout_s, execution.memory_bytes, execution.index) == (2.5, GIB, 4)
    assert execution.env == (("A", "1"), ("FARLANE_JOB", "j7"))
    assert node.machine.held() == (3, [task(4)], [1], [0])
    assert node.started(execution.ticket) == []

    out = node.finish(execution.ticket, Value(b"answer"), wall_s=0.0301)
    assert only(out, commands.ReportResults)
    assert only(out, commands.ReleaseJob) == [commands.ReleaseJob(prepare.preparation)]
    batch = node.machine.next_batch()
    assert batch is not None
    rows = batch.rows
    assert (batch.number, rows.states, rows.results) == (1, bytes([TaskState.DONE]), Column([b"answer"]))
    (held,) = rows.held
    assert (held.task, held.lease_ms, held.cpu_us, held.peak_bytes) == (task(4), 31, 250, 4096)

    assert node.machine.held().tasks == [task(4)]  # still held: not acknowledged
    assert node.machine.handle(ev.BatchAccepted(1.0, 1)) == []
    assert node.machine.held().tasks == []
    assert node.machine.next_batch() is None
    assert node.machine.ended == {"done": 1}


def test_a_command_gets_its_script_inputs_and_outputs() -> None:
    node = DrivenNode()
    work = CommandWork("make", "prepare", outputs=("out/*",))
    files = JobFiles(inputs=(("in.txt", "/cache/x"),))
    (bundle,) = node.run(0, spec=job_spec(function=None, command=work), files=files)
    (execution,) = bundle.executions
    assert execution.call == CommandCall("make", "prepare", (), (("in.txt", "/cache/x"),), ("out/*",))
    node.finish(execution.ticket, CommandResult(0))
    assert node.reported() == {task(0): None}


def test_unknown_peak_memory_is_zero() -> None:
    node = DrivenNode()
    (bundle,) = node.run(0)
    node.machine.handle(ev.Executed(0.0, [Finished(tickets(bundle)[0], Value(b""), Usage(0.0, 0.0, None))]))
    batch = node.machine.next_batch()
    assert batch is not None
    assert batch.rows.held[0].peak_bytes == 0


def test_failures_travel_with_their_kind_and_are_cut_to_size() -> None:
    node = DrivenNode()
    (bundle,) = node.run(0)
    outcome = Failed(
        FailureKind.EXCEPTION, "m" * 10_000, "t" * 100_000 + "end", b"x" * (MAX_INLINE_BYTES + 1)
    )
    node.finish(tickets(bundle)[0], outcome)
    batch = node.machine.next_batch()
    assert batch is not None
    failure = batch.rows.failures[0]
    assert (failure.kind, failure.exception) == (FailureKind.EXCEPTION, b"")
    assert len(failure.message) == 4096
    assert failure.traceback.endswith("end")
    assert batch.rows.states == bytes([TaskState.FAILED])


def test_a_small_exception_is_kept() -> None:
    node = DrivenNode()
    (bundle,) = node.run(0)
    node.finish(tickets(bundle)[0], Failed(FailureKind.EXCEPTION, "no", "tb", b"pickle"))
    batch = node.machine.next_batch()
    assert batch is not None
    assert batch.rows.failures[0].exception == b"pickle"


def test_the_first_task_of_an_unknown_job_goes_alone_and_the_rest_follow_its_run_time() -> None:
    node = DrivenNode()
    first = node.run(*range(1000))
    assert [len(bundle.executions) for bundle in first] == [1, 1]  # two cores, one task each
    (second,) = bundles(node.finish(tickets(first[0])[0], wall_s=0.00001))
    assert len(second.executions) == MAX_BUNDLE
    (third,) = bundles(node.finish(tickets(first[1])[0], wall_s=0.00001))
    assert len(third.executions) == MAX_BUNDLE
    assert tickets(third)[0] == tickets(second)[-1] + 1  # in order of arrival


def test_a_bundle_leaves_work_for_the_other_slots() -> None:
    node = DrivenNode()
    first = node.run(*range(12))
    (second,) = bundles(node.finish(tickets(first[0])[0], wall_s=0.0))
    assert len(second.executions) == 5  # half of the ten that wait


def test_long_tasks_run_alone() -> None:
    node = DrivenNode()
    first = node.run(*range(10))
    (second,) = bundles(node.finish(tickets(first[0])[0], wall_s=0.5))
    assert len(second.executions) == 1


def test_a_bundle_is_bounded_by_its_payloads() -> None:
    node = DrivenNode()
    big = [b"x" * MAX_INLINE_BYTES] * 100
    out = node.grant(*range(100), spec=job_spec(), payloads=Column(big))
    first = bundles(node.prepared(only(out, commands.PrepareJob)[0].preparation))
    (second,) = bundles(node.finish(tickets(first[0])[0], wall_s=0.0))
    assert len(second.executions) == (1 << 20) // MAX_INLINE_BYTES


def test_a_slot_is_free_when_the_whole_bundle_has_ended() -> None:
    node = DrivenNode(ONE_SLOT)
    (first,) = node.run(*range(5))
    (second,) = bundles(node.finish(tickets(first)[0], wall_s=0.0))
    assert len(second.executions) == 4
    node.grant(9)
    for ticket in tickets(second)[:-1]:
        assert bundles(node.finish(ticket)) == []
    assert len(bundles(node.finish(tickets(second)[-1]))) == 1


def test_what_a_slow_task_holds_up_is_recalled_and_runs_elsewhere() -> None:
    node = DrivenNode(replace(NODE, capacity=Capacity(2000, 2 * GIB, 0)))
    first = node.run(*range(9))
    (bundle,) = bundles(node.finish(tickets(first[0])[0], wall_s=0.0))
    slow, *rest = tickets(bundle)
    assert len(rest) == 3
    node.reported()
    assert node.machine.handle(ev.Ticked(STALL_S)) == []  # nothing started: the worker is coming up
    node.started(slow)
    node.now = 2 * STALL_S
    out = node.machine.handle(ev.Ticked(node.now))
    assert only(out, commands.Cancel) == [commands.Cancel(ticket) for ticket in rest]
    assert node.machine.handle(ev.Ticked(node.now)) == []  # once
    for ticket in rest:
        assert bundles(node.finish(ticket, CANCELLED, 0.0)) == []  # the other slot is still busy
    (again,) = bundles(node.finish(tickets(first[1])[0], wall_s=0.0))
    assert len(again.executions) == 1  # the job is known to be slow now
    assert tickets(again)[0] not in rest  # a fresh ticket, before the tasks that never started
    assert again.executions[0].index in range(3, 6)
    assert node.machine.gauges().ready == 5
    node.reported()
    node.now += 1
    assert node.machine.handle(ev.Ticked(node.now)) == []  # bundles of one are left alone


def test_recalled_work_goes_before_what_came_later() -> None:
    node = DrivenNode(replace(NODE, capacity=Capacity(2000, 2 * GIB, 0)))
    first = node.run(*range(6))
    (bundle,) = bundles(node.finish(tickets(first[0])[0], wall_s=0.0))
    slow, waiting = tickets(bundle)
    (second,) = bundles(node.finish(tickets(first[1])[0], wall_s=0.0))
    (third,) = bundles(node.finish(tickets(second)[0], wall_s=0.0))
    assert node.run(0, job=JobId(8)) == []
    node.started(slow)
    node.machine.handle(ev.Ticked(STALL_S))
    node.finish(waiting, CANCELLED, 0.0)
    (again,) = bundles(node.finish(tickets(third)[0], wall_s=0.0))
    assert [execution.index for execution in again.executions] == [bundle.executions[1].index]


def test_each_task_gets_gpus_of_its_own() -> None:
    node = gpu_node((0, A100), (1, A100), (2, T4))
    wanted = Resources(1000, GIB, 0, GpuRequest(1))
    started = node.run(*range(4), spec=job_spec(resources=wanted))
    assert [bundle.gpus for bundle in started] == [(2,), (0,), (1,)]  # the smallest that does, first
    (last,) = bundles(node.finish(tickets(started[1])[0], wall_s=1.0))
    assert last.gpus == (0,)


def test_gpus_of_one_task_are_of_one_kind_and_of_the_kind_asked_for() -> None:
    node = gpu_node((0, A100), (1, T4), (2, A100))
    (bundle,) = node.run(0, spec=job_spec(resources=Resources(1000, GIB, 0, GpuRequest(2))))
    assert bundle.gpus == (0, 2)
    assert node.run(1, job=JobId(8), spec=job_spec(resources=Resources(1, 1, 0, GpuRequest(1, "a100")))) == []


def test_slots_count_the_scarcest_resource() -> None:
    pool = ResourcePool(Capacity(8000, 8 * GIB, 4 * GIB, ((T4, 3),)), [(0, T4), (1, T4), (2, T4)])
    assert pool.slots(Resources(1000, GIB, 0)) == 8
    assert pool.slots(Resources(1000, GIB, GIB)) == 4
    assert pool.slots(Resources(1000, GIB, GIB, GpuRequest(2))) == 1
    assert pool.slots(Resources(9000, GIB, GIB)) == 0


def test_memory_and_disk_bound_what_runs() -> None:
    assert len(DrivenNode().run(0, 1, spec=job_spec(resources=Resources(1, 3 * GIB, 0)))) == 1
    assert len(DrivenNode().run(0, 1, spec=job_spec(resources=Resources(1, 1, 5 * GIB)))) == 1


def on(node: DrivenNode, gpu: GpuKind, *indices: int, wanted: GpuRequest | None = None) -> list[object]:
    """Grant leases that take one kind of GPU."""
    tasks, rows = [task(index) for index in indices], len(indices)
    spec = job_spec(resources=Resources(1000, GIB, 0, wanted or GpuRequest(1)))
    granted = ev.LeasesGranted(0.0, 3, JOB, spec, tasks, [1] * rows, [0] * rows, Column([b""] * rows), gpu)
    return list(node.machine.handle(granted))


def test_an_attempt_takes_the_kind_of_gpu_that_was_leased() -> None:
    node = gpu_node((0, A100), (1, T4))
    (prepare,) = only(on(node, A100, 0), commands.PrepareJob)
    on(node, T4, 1)
    first, second = bundles(node.prepared(prepare.preparation))
    assert (first.gpus, second.gpus) == ((0,), (1,))
    assert bundles(on(node, A100, 2)) == []  # the only one is in use
    assert bundles(node.finish(tickets(second)[0])) == []
    (third,) = bundles(node.finish(tickets(first)[0]))
    assert third.gpus == (0,)


def test_a_task_of_another_gpu_overtakes_one_that_waits_for_its_own() -> None:
    node = gpu_node((0, A100), (1, T4))
    (prepare,) = only(on(node, A100, 0, 1), commands.PrepareJob)
    on(node, T4, 2)
    started = bundles(node.prepared(prepare.preparation))
    assert [(bundle.gpus, [e.index for e in bundle.executions]) for bundle in started] == [
        ((0,), [0]),
        ((1,), [2]),
    ]


@pytest.mark.parametrize(
    ("gpu", "wanted"),
    [(GpuKind("H100", GIB), GpuRequest(1)), (T4, GpuRequest(2)), (A100, GpuRequest(1, "T4"))],
    ids=["not here", "not so many", "not asked for"],
)
def test_a_lease_of_gpus_that_cannot_be_is_refused(gpu: GpuKind, wanted: GpuRequest) -> None:
    node = gpu_node((0, A100), (1, A100), (2, T4))
    on(node, gpu, 0, wanted=wanted)
    assert f"leased GPUs {gpu.model}" in node.only_failure().message


def test_gpus_leased_for_a_task_that_asks_for_none_are_refused() -> None:
    node = gpu_node((0, T4))
    spec = job_spec(resources=Resources(1000, GIB, 0))
    node.machine.handle(ev.LeasesGranted(0.0, 3, JOB, spec, [task(0)], [1], [0], Column([b""]), T4))
    assert "asks for no GPU" in node.only_failure().message


@pytest.mark.parametrize("devices", [(), ((0, T4), (0, T4)), ((0, A100), (1, T4))])
def test_devices_must_be_what_the_node_offers(devices: tuple[tuple[int, GpuKind], ...]) -> None:
    with pytest.raises(InvalidSetting, match="exactly the devices"):
        Machine(replace(NODE, capacity=Capacity(1, 1, 1, ((T4, 2),))), devices)


def test_a_small_task_passes_a_blocked_one_but_not_for_ever() -> None:
    node = DrivenNode()
    (blocker,) = node.run(0, job=JobId(1), spec=job_spec(resources=Resources(1000, 1, 0)))
    assert node.run(0, job=JobId(2), spec=job_spec(resources=Resources(2000, 1, 0))) == []
    small = job_spec(resources=Resources(1000, 1, 0))
    started = node.run(*range(MAX_PASSES + 5), job=JobId(3), spec=small)
    passed = 0
    while started:
        (bundle,) = started
        passed += 1
        started = bundles(node.finish(tickets(bundle)[0], wall_s=1.0))
    assert passed == MAX_PASSES
    (large,) = bundles(node.finish(tickets(blocker)[0], wall_s=1.0))
    assert large.executions[0].call.payload == b"p0"  # type: ignore[union-attr]
    assert len(bundles(node.finish(tickets(large)[0], wall_s=1.0))) == 2


def test_leases_of_one_job_that_come_one_after_another_make_one_run() -> None:
    node = DrivenNode()
    first = node.run(0, 1)
    node.grant(2, 3)
    node.grant(4)
    (bundle,) = bundles(node.finish(tickets(first[0])[0], wall_s=0.0))
    assert [execution.index for execution in bundle.executions] == [2, 3]
