"""What a node remembers of its attempts, and leaves it signs or refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from farlane.domain.billing import meter
from farlane.domain.failures import RULES, Failure, FailureKind
from farlane.domain.ids import JobId, TaskId, task_id
from farlane.domain.jobs import Durability, Environment, JobSpec
from farlane.domain.records import Column
from farlane.domain.resources import GpuKind
from farlane.ledger.leaf import FIELDS, Leaf, Outcome, pack, spec_digest, unpack
from farlane.node.books.checking import LeafChecker
from farlane.node.books.memory import Memory
from farlane.node.machine.attempts import HeldAttempt, HeldJob, RunningBundle
from farlane.node.machine.backlog import EndedColumns, ResultBatch
from farlane.node.machine.machine import InProgress
from farlane.testing.builders import A100, RATES, T4, a_command, a_job, gpus
from farlane.testing.scripted_book import a_leaf
from farlane.wire.jobs import job_spec_from_wire, job_spec_to_wire
from farlane.wire.v1 import types_pb2

JOB, TASK = JobId(7), task_id(JobId(7), 0)
SPEC = a_job(timeout_ms=60_000)
LONG_MS = 30_000


class Remembering:
    """A memory with one job on it, and short ways to drive it."""

    def __init__(
        self, spec: JobSpec = SPEC, devices: tuple[tuple[int, GpuKind], ...] = (), limit: int = 1000
    ) -> None:
        self.memory = Memory(RATES, devices, limit)
        self.memory.join(1)
        self.checker = LeafChecker(self.memory, (RATES,))
        self.spec, self.batches = spec, 0

    def grant(self, *tasks: TaskId, now: float = 100.0, attempt: int = 1, payload: bytes = b"in") -> None:
        payloads = Column([payload] * len(tasks))
        self.memory.grant(now, JOB, self.spec, tasks, [attempt] * len(tasks), payloads)

    def end(
        self, task: TaskId = TASK, *, attempt: int = 1, result: bytes = b"out", lease_ms: int = 40,
        failure: FailureKind | None = None, devices: tuple[int, ...] = (),
    ) -> int:  # fmt: skip
        """Report an attempt; returns the number of its batch."""
        bundle = RunningBundle(self.spec.resources, devices, [], 0, 0.0)
        held = HeldAttempt(1, 1, HeldJob(JOB, self.spec), task, attempt, 0, None, bundle=bundle)
        held.lease_ms = lease_ms
        rows = EndedColumns([held], bytearray(1), Column([result if failure is None else b""]))
        if failure is not None:
            rows.failures[0] = Failure(failure, "it broke")
        self.batches += 1
        self.memory.end(ResultBatch(self.batches, rows))
        return self.batches

    def leaf(self, task: TaskId = TASK, **fields: object) -> bytes:
        """Return what an honest hub writes about a task that was reported as `end` does by default."""
        given = {"payload": b"in", "result": b"out", "lease_ms": 40} | fields
        return a_leaf(task, self.spec, RATES, **given)  # type: ignore[arg-type]

    def problem(self, raw: bytes) -> str | None:
        return self.checker.judge(raw)[1]

    def takes(self, raw: bytes) -> bool:
        """Judge a leaf and, if it is good, settle it."""
        leaf, problem = self.checker.judge(raw)
        if leaf is not None and problem is None:
            self.memory.settle(leaf)
        return problem is None


@pytest.mark.parametrize("failure", [None, *FailureKind])
@pytest.mark.parametrize("again", [False, True])
def test_an_honest_leaf_is_taken_whatever_the_ending(failure: FailureKind | None, again: bool) -> None:
    node = Remembering()
    node.grant(TASK)
    node.end(failure=failure)
    outcome = Outcome.DONE if failure is None else Outcome.RUNS_AGAIN if again else Outcome.FAILED
    assert node.problem(node.leaf(failure=failure, outcome=outcome)) is None


def changed(leaf: Leaf, name: str) -> Leaf:
    value = getattr(leaf, name)
    return replace(leaf, **{name: bytes(31) + b"\1" if isinstance(value, bytes) else value + 1})


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in ("lease_ms", "ended_ms")])
@pytest.mark.parametrize("failure", [None, FailureKind.EXCEPTION, FailureKind.REFUSED])
def test_any_changed_field_is_objected_to(name: str, failure: FailureKind | None) -> None:
    node = Remembering()
    node.grant(TASK)
    node.end(failure=failure)
    honest = unpack(node.leaf(failure=failure))
    if name in ("task", "attempt"):
        # It then speaks of an attempt that never was: only what is in it can be judged.
        honest = replace(honest, hourly_nano=honest.hourly_nano + 1)
    if name == "outcome" and failure is not None:
        return  # whether it runs again is the hub's to decide
    assert node.problem(pack(changed(honest, name))) is not None


@pytest.mark.parametrize(("lease_ms", "fine"), [(29_700, True), (29_699, False), (60_000, True)])
def test_a_lease_may_be_longer_than_reported_but_not_shorter(lease_ms: int, fine: bool) -> None:
    node = Remembering()
    node.grant(TASK)
    node.end(lease_ms=LONG_MS)
    assert (node.problem(node.leaf(lease_ms=lease_ms)) is None) is fine


def test_a_lease_of_a_few_milliseconds_has_five_of_slack() -> None:
    node = Remembering()
    node.grant(TASK)
    node.end(lease_ms=20)
    assert node.problem(node.leaf(lease_ms=15)) is None
    assert "lease is 14 ms; the node reported 20 ms" in str(node.problem(node.leaf(lease_ms=14)))


def test_less_money_than_the_lease_costs_is_objected_to() -> None:
    node = Remembering()
    node.grant(TASK)
    node.end()
    cost = unpack(node.leaf()).amount_nano
    assert "amount_nano" in str(node.problem(node.leaf(amount_nano=cost - 1)))
    assert "amount_nano" in str(node.problem(node.leaf(amount_nano=cost + 1)))


def test_the_publishers_exception_cannot_become_the_providers_fault() -> None:
    node = Remembering()
    node.grant(TASK)
    node.end(failure=FailureKind.EXCEPTION)
    for blamed in (kind for kind in FailureKind if kind is not FailureKind.EXCEPTION):
        assert "the node reported exception" in str(node.problem(node.leaf(failure=blamed)))
    lied = replace(unpack(node.leaf(failure=FailureKind.EXCEPTION)), blame=2)
    assert "blame is 2; expected 1" in str(node.problem(pack(lied)))


def test_a_failure_that_is_not_paid_costs_nothing() -> None:
    node = Remembering()
    node.grant(TASK)
    node.end(failure=FailureKind.REFUSED)
    assert node.memory.unbooked_nano == {}
    assert "amount_nano is 5; expected 0" in str(
        node.problem(node.leaf(failure=FailureKind.REFUSED, amount_nano=5))
    )


@pytest.mark.parametrize("kind", [FailureKind.CANCELLED, FailureKind.DEADLINE, FailureKind.PREEMPTED])
def test_a_revoked_lease_is_paid_for_the_time_it_was_held(kind: FailureKind) -> None:
    node = Remembering()
    node.grant(TASK, now=100.0)
    early = node.problem(node.leaf(failure=kind, result=b"", payload=b"in", lease_ms=20_000))
    assert "neither was the lease revoked" in str(early)
    node.memory.revoke(120.0, [TASK], [1])
    fields = {"failure": kind, "amount_nano": None}
    least = a_leaf(TASK, SPEC, RATES, payload=b"in", lease_ms=19_000, failure=kind)
    # What was moved is not charged for an attempt that the hub ended.
    honest = unpack(least)
    amount = unpack(a_leaf(TASK, SPEC, RATES, lease_ms=19_000, failure=kind)).amount_nano
    assert node.problem(pack(replace(honest, amount_nano=amount))) is None
    short = node.leaf(**fields, lease_ms=18_999)
    assert "the node held it for 20000 ms" in str(node.problem(short))


def test_lost_needs_a_broken_connection_and_no_acknowledgement() -> None:
    node = Remembering()
    node.grant(TASK)
    batch = node.end()
    lost = node.leaf(failure=FailureKind.NODE_LOST, outcome=Outcome.RUNS_AGAIN)
    assert "nor the connection lost" in str(node.problem(lost))
    node.memory.interrupt(101.0)
    assert node.problem(lost) is None
    again = Remembering()
    again.grant(TASK)
    batch = again.end()
    again.memory.accept(batch)
    again.memory.interrupt(101.0)
    assert "nor the connection lost" in str(again.problem(lost)), "the hub had acknowledged the result"


def test_what_a_relaxed_job_was_acknowledged_for_may_be_lost() -> None:
    node = Remembering(replace(SPEC, durability=Durability.RELAXED))
    node.grant(TASK)
    node.memory.accept(node.end())
    node.memory.interrupt(101.0)
    assert node.problem(node.leaf(failure=FailureKind.NODE_LOST, outcome=Outcome.RUNS_AGAIN)) is None


def test_a_result_that_was_never_reported_is_objected_to() -> None:
    node = Remembering()
    node.grant(TASK)
    assert "says done; the node reported no end" in str(node.problem(node.leaf()))


@pytest.mark.parametrize("kinds", [((0, T4),), ((0, T4), (1, A100))])
def test_the_gpu_is_one_of_this_node_that_the_job_accepts(kinds: tuple[tuple[int, GpuKind], ...]) -> None:
    node = Remembering(a_job(resources=gpus()), kinds)
    node.grant(TASK)
    node.end(devices=(0,))
    cost = node.memory.unbooked_nano["lab"]
    assert cost == unpack(node.leaf(gpu=T4)).amount_nano
    assert node.problem(node.leaf(gpu=T4)) is None
    assert "names a GPU" in str(node.problem(node.leaf(gpu=GpuKind("H100", 1))))
    assert "GPU" in str(node.problem(node.leaf(gpu=A100)))


def test_the_gpu_is_the_one_that_was_leased_also_where_the_hub_ended_the_attempt() -> None:
    node = Remembering(a_job(resources=gpus()), ((0, T4), (1, A100)))
    node.memory.grant(100.0, JOB, node.spec, [TASK], [1], Column([b"in"]), A100)
    node.memory.revoke(100.5, [TASK], [1])
    stopped = {"failure": FailureKind.CANCELLED, "result": b"", "lease_ms": 500}
    price = meter(RATES, node.spec, A100).charge_ceiling(500, 0)
    assert "another GPU than the A100" in str(node.problem(node.leaf(gpu=T4, **stopped)))
    assert node.problem(node.leaf(gpu=A100, amount_nano=price, **stopped)) is None


def test_a_second_leaf_of_an_attempt_is_objected_to() -> None:
    node = Remembering()
    node.grant(TASK)
    node.end()
    assert node.takes(node.leaf())
    assert "in a book already" in str(node.problem(node.leaf()))
    found = node.memory.settle(unpack(node.leaf()))
    node.memory.restore(found)
    assert node.problem(node.leaf()) is None, "a leaf that was not kept may come again"


def test_what_has_no_leaf_yet_is_counted_until_it_has() -> None:
    node = Remembering()
    node.grant(TASK, TaskId(TASK + 1))
    node.end()
    owed = unpack(node.leaf()).amount_nano
    assert node.memory.unbooked_nano == {"lab": owed}
    found = node.memory.settle(unpack(node.leaf()))
    assert node.memory.unbooked_nano == {"lab": 0}
    node.memory.restore(found)
    assert node.memory.unbooked_nano == {"lab": owed}
    running = node.memory.running_nano(
        InProgress(job, TaskId(TASK + 5), 1, (), ms)
        for job, ms in ((JOB, 1000), (JOB, 500), (JobId(99), 500))
    )
    assert running == {"lab": 1100 + 550}


def test_a_leaf_of_before_a_restart_is_judged_in_itself() -> None:
    node = Remembering()
    honest = unpack(node.leaf(lease_ms=LONG_MS))
    assert node.problem(pack(honest)) is None
    wrong: dict[str, Callable[[Leaf], Leaf]] = {
        "this node asks": lambda leaf: replace(leaf, hourly_nano=leaf.hourly_nano - 1),
        "the lease alone costs": lambda leaf: replace(leaf, amount_nano=leaf.amount_nano // 2),
        "blame 2 is not": lambda leaf: replace(leaf, blame=2),
        "does not fit": lambda leaf: replace(leaf, outcome=Outcome.FAILED),
        "parts alone are interim": lambda leaf: replace(leaf, part=1),
        "a copy's leaf": lambda leaf: replace(leaf, copy=1),
        "GPU": lambda leaf: replace(leaf, gpu=b"g" * 32),
        "that this node does not have": lambda leaf: replace(leaf, gpu=b"g" * 32, gpu_count=1),
        "cpu is 0": lambda leaf: replace(leaf, cpu_milli=0),
    }
    for complaint, change in wrong.items():
        assert complaint in str(node.problem(pack(change(honest))))
    refused = unpack(node.leaf(failure=FailureKind.LOST, amount_nano=7))
    assert "not paid" in str(node.problem(pack(refused)))
    assert "236 bytes" in str(node.problem(b"x"))


def test_prices_of_earlier_are_known() -> None:
    node = Remembering()
    before = replace(RATES, core_second=7)
    old = a_leaf(TASK, SPEC, before, payload=b"in", result=b"out", lease_ms=40)
    assert "this node asks" in str(node.problem(old))
    assert LeafChecker(node.memory, (before, RATES)).judge(old)[1] is None


def test_another_epoch_voids_what_is_remembered() -> None:
    node = Remembering()
    node.grant(TASK)
    node.end()
    node.memory.join(1)
    assert len(node.memory) == 1
    node.memory.join(2)
    assert (len(node.memory), node.memory.unbooked_nano) == (0, {})


def test_the_oldest_are_forgotten_when_there_are_too_many() -> None:
    node = Remembering(limit=100)
    tasks = [task_id(JOB, index) for index in range(101)]
    node.grant(tasks[0])
    node.end(tasks[0])
    node.grant(*tasks)
    assert (len(node.memory), node.memory.forgotten) == (90, 11)
    assert node.memory.find(tasks[0], 1) is None
    assert node.memory.find(tasks[100], 1) is not None
    assert node.memory.unbooked_nano == {"lab": 0}


def test_every_kind_of_failure_has_a_rule() -> None:
    assert set(RULES) == set(FailureKind)


@pytest.mark.parametrize(
    "spec",
    [
        a_job(),
        a_command(),
        a_job(resources=gpus(2, "A100", vram_gib=40)),
        a_job(
            deadline_at=1.5, max_price=3, budget=4, durability=Durability.RELAXED, estimate_ms=5,
            labels=(("b", "1"), ("a", "2")), env=(("z", "é"),), environment=Environment("d" * 64, ("x==1",)),
        ),
    ],
)  # fmt: skip
def test_a_specification_has_one_digest_on_both_sides_of_the_wire(spec: JobSpec) -> None:
    message = types_pb2.JobSpec.FromString(job_spec_to_wire(spec).SerializeToString())
    assert spec_digest(job_spec_from_wire(message)) == spec_digest(spec)


def test_remembering_costs_microseconds() -> None:
    node = Remembering(limit=100_000)
    tasks = [task_id(JOB, index) for index in range(20_000)]
    job = HeldJob(JOB, SPEC)
    held = [HeldAttempt(1, 1, job, task, 1, 0, None) for task in tasks]
    payloads = Column([b"p" * 100] * len(tasks))
    rows = EndedColumns(held, bytearray(len(tasks)), Column([b"r" * 100] * len(tasks)))
    begun = time.process_time()
    node.memory.grant(0.0, JOB, SPEC, tasks, [1] * len(tasks), payloads)
    node.memory.end(ResultBatch(1, rows))
    remembered = time.process_time() - begun
    leaves = [node.leaf(task, payload=b"p" * 100, result=b"r" * 100, lease_ms=1) for task in tasks[:2000]]
    begun = time.process_time()
    assert all(map(node.takes, leaves))
    checked = time.process_time() - begun
    print(
        f"\nremember {remembered / len(tasks) * 1e6:.1f} us, check {checked / len(leaves) * 1e6:.1f} us a task"
    )
    assert remembered / len(tasks) < 50e-6
