"""Random histories of a node: capacity is never exceeded, and each attempt is reported once until it is accepted."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from farlane.domain.failures import FailureKind
from farlane.domain.ids import JobId, TaskId, task_id
from farlane.domain.jobs import BlobRef, JobSpec
from farlane.domain.records import Column
from farlane.domain.resources import GIB, Capacity, GpuKind, GpuRequest, Resources
from farlane.node.executors.port import (
    Bundle,
    CommandResult,
    Failed,
    Finished,
    OutputFile,
    Started,
    Usage,
    Value,
)
from farlane.node.machine import commands
from farlane.node.machine import events as ev
from farlane.node.machine.backlog import ResultBatch
from farlane.node.machine.machine import Machine
from farlane.node.machine.state import Limits
from farlane.testing.machine_driver import CANCELLED, FILES, NODE, job_spec

BIG, SMALL = GpuKind("A100", 80 * GIB), GpuKind("T4", 16 * GIB)
DEVICES = [(0, BIG), (1, BIG), (2, SMALL)]
CAPACITY = Capacity(4000, 4 * GIB, 4 * GIB, ((BIG, 2), (SMALL, 1)))
SHAPES = [
    Resources(1000, GIB, 0),
    Resources(500, GIB, GIB),
    Resources(4000, 2 * GIB, 0),
    Resources(1000, GIB, 0, GpuRequest(1)),
    Resources(100, 1, 0, GpuRequest(2)),
    Resources(9000, 1, 0),  # never fits
]
OUTCOMES = {
    "value": Value(b"r"),
    "large": Value(None, "/scratch/result"),
    "files": CommandResult(0, (OutputFile("o", "/scratch/0", 1),)),
    "exception": Failed(FailureKind.EXCEPTION, "no"),
    "cancelled": CANCELLED,
}
NEW_WORK = (commands.Submit, commands.PrepareJob, commands.FetchPayload, commands.Upload, commands.Leave)
Fence = tuple[TaskId, int]


class NodeHistory(RuleBasedStateMachine):
    """A hub that loses its stream, an executor that answers late, a cache that fails: all in one."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine(
            NODE.__class__(NODE.node, NODE.name, NODE.organisation, CAPACITY, NODE.python, NODE.platform),
            DEVICES,
            Limits(payload_bytes=200, blob_bytes=40, backlog_bytes=4000, attempts=60),
        )
        self.now = 0.0
        self.epoch = 1
        self.connected = False
        self.attempts: Counter[TaskId] = Counter()
        self.specs_sent: set[JobId] = set()
        self.executing: dict[int, Bundle] = {}
        self.unstarted: set[int] = set()
        self.preparing: set[int] = set()
        self.prepared: set[int] = set()
        self.fetching: set[int] = set()
        self.fetched: set[int] = set()
        self.uploading: set[int] = set()
        self.scratch: set[int] = set()
        self.pending: set[Fence] = set()  # leased, not revoked, result not accepted
        self.on_stream: list[ResultBatch] = []
        self.accepted: Counter[Fence] = Counter()
        self.left = False
        self.handle(ev.HubJoined(0.0, 1))
        self.connected = True

    # -- what the shell would do

    def handle(self, event: ev.Event) -> None:
        for command in self.machine.handle(event):
            assert not (self.left and isinstance(command, NEW_WORK))
            self.obey(command)

    def obey(self, command: commands.Command) -> None:
        match command:
            case commands.PrepareJob(preparation):
                self.preparing.add(preparation)
            case commands.ReleaseJob(preparation):
                self.prepared.remove(preparation)
            case commands.FetchPayload(fetch):
                self.fetching.add(fetch)
            case commands.ReleasePayload(fetch):
                self.fetched.remove(fetch)
            case commands.Submit(bundle):
                for execution in bundle.executions:
                    assert execution.ticket not in self.executing
                    self.executing[execution.ticket] = bundle
                    self.unstarted.add(execution.ticket)
            case commands.Cancel(ticket):
                assert ticket in self.executing
            case commands.Upload(ticket):
                self.uploading.add(ticket)
            case commands.ReleaseScratch(ticket):
                self.scratch.remove(ticket)
            case commands.Leave():
                self.left = True

    # -- the hub

    @precondition(lambda self: self.connected)
    @rule(
        job=st.integers(1, 6),
        rows=st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True),
        blob=st.booleans(),
    )
    def grant(self, job: int, rows: list[int], blob: bool) -> None:
        number = JobId(self.epoch << 8 | job)
        spec: JobSpec | None = None
        if number not in self.specs_sent:
            self.specs_sent.add(number)
            spec = job_spec(resources=SHAPES[job - 1])
        tasks = [task_id(number, index) for index in rows]
        for task in tasks:
            self.pending.discard((task, self.attempts[task]))  # the hub gave the older attempt up
            self.attempts[task] += 1
            self.pending.add((task, self.attempts[task]))
        payloads = Column([b"" if blob and not row else b"pp" for row in range(len(tasks))])
        if blob:
            payloads.blobs[0] = BlobRef("c", 10)
        numbers = [self.attempts[task] for task in tasks]
        self.handle(
            ev.LeasesGranted(self.now, self.epoch, number, spec, tasks, numbers, [0] * len(tasks), payloads)
        )

    @precondition(lambda self: self.connected and self.pending)
    @rule(data=st.data())
    def grant_again(self, data: st.DataObject) -> None:
        task, attempt = data.draw(st.sampled_from(sorted(self.pending)))
        held = self.machine.held()
        number = JobId(task >> 24)
        if number in self.specs_sent and task in held.tasks:
            self.handle(
                ev.LeasesGranted(self.now, self.epoch, number, None, [task], [attempt], [0], Column([b"pp"]))
            )
            assert self.machine.held() == held

    @precondition(lambda self: self.connected and self.pending)
    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        fences = data.draw(st.lists(st.sampled_from(sorted(self.pending)), min_size=1, unique=True))
        self.pending.difference_update(fences)
        self.handle(
            ev.LeasesRevoked(
                self.now, self.epoch, [task for task, _ in fences], [n for _, n in fences], [0] * len(fences)
            )
        )

    @precondition(lambda self: self.connected)
    @rule()
    def receive(self) -> None:
        while (batch := self.machine.next_batch()) is not None:
            self.on_stream.append(batch)

    @precondition(lambda self: self.connected and self.on_stream)
    @rule()
    def accept(self) -> None:
        batch = self.on_stream.pop(0)
        for row in batch.rows.held:
            self.accepted[row.task, row.attempt] += 1
            self.pending.discard((row.task, row.attempt))
        self.handle(ev.BatchAccepted(self.now, batch.number))

    @precondition(lambda self: self.connected)
    @rule()
    def lose_hub(self) -> None:
        self.connected = False
        self.on_stream.clear()
        self.specs_sent.clear()
        self.handle(ev.HubLost(self.now))

    @precondition(lambda self: not self.connected)
    @rule(restored=st.sampled_from([False, False, False, True]))
    def join_hub(self, restored: bool) -> None:
        self.connected = True
        if restored:
            self.epoch += 1
            self.pending.clear()
            self.accepted.clear()
        held = set(zip(self.machine.held().tasks, self.machine.held().attempts, strict=True))
        if not restored:
            assert held >= self.pending  # nothing the hub counts on was forgotten
        self.handle(ev.HubJoined(self.now, self.epoch))
        assert self.machine.epoch == self.epoch  # every batch of results carries it

    # -- the executor, the cache and the uploads

    @precondition(lambda self: self.unstarted)
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.unstarted)))
        self.unstarted.remove(ticket)
        self.handle(ev.Executed(self.now, [Started(ticket, self.now)]))

    @precondition(lambda self: self.executing)
    @rule(data=st.data(), kind=st.sampled_from(sorted(OUTCOMES)), wall_s=st.sampled_from([0.0, 0.001, 1.0]))
    def finish(self, data: st.DataObject, kind: str, wall_s: float) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.executing)))
        del self.executing[ticket]
        self.unstarted.discard(ticket)
        if kind in ("large", "files"):
            self.scratch.add(ticket)
        self.handle(ev.Executed(self.now, [Finished(ticket, OUTCOMES[kind], Usage(wall_s, wall_s, None))]))

    @precondition(lambda self: self.preparing)
    @rule(data=st.data(), good=st.booleans())
    def prepare(self, data: st.DataObject, good: bool) -> None:
        preparation = data.draw(st.sampled_from(sorted(self.preparing)))
        self.preparing.remove(preparation)
        if good:
            self.prepared.add(preparation)
            self.handle(ev.JobPrepared(self.now, preparation, FILES))
        else:
            self.handle(ev.JobUnprepared(self.now, preparation, FailureKind.BLOB, "lost"))

    @precondition(lambda self: self.fetching)
    @rule(data=st.data(), good=st.booleans())
    def fetch(self, data: st.DataObject, good: bool) -> None:
        fetch = data.draw(st.sampled_from(sorted(self.fetching)))
        self.fetching.remove(fetch)
        if good:
            self.fetched.add(fetch)
            self.handle(ev.PayloadFetched(self.now, fetch, "/cache/c"))
        else:
            self.handle(ev.PayloadLost(self.now, fetch, "lost"))

    @precondition(lambda self: self.uploading)
    @rule(data=st.data(), good=st.booleans())
    def upload(self, data: st.DataObject, good: bool) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.uploading)))
        self.uploading.remove(ticket)
        if good:
            self.handle(ev.Uploaded(self.now, ticket, BlobRef("r", 1), ()))
        else:
            self.handle(ev.UploadFailed(self.now, ticket, "full"))

    @rule(seconds=st.sampled_from([0.1, 2.0]))
    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.handle(ev.Ticked(self.now))

    @rule(hand_back=st.booleans(), really=st.sampled_from([False] * 9 + [True]))
    def drain(self, hand_back: bool, really: bool) -> None:
        if really:
            self.handle(ev.DrainRequested(self.now, hand_back))

    @rule(really=st.sampled_from([False] * 9 + [True]))
    def expire(self, really: bool) -> None:
        if really:
            self.handle(ev.DrainExpired(self.now))

    # -- what must always hold

    @invariant()
    def capacity_is_never_exceeded(self) -> None:
        running = {id(bundle): bundle for bundle in self.executing.values()}.values()
        wanted = [SHAPES[self.job_of(bundle) - 1] for bundle in running]
        assert sum(one.cpu_milli for one in wanted) <= CAPACITY.cpu_milli
        assert sum(one.memory_bytes for one in wanted) <= CAPACITY.memory_bytes
        assert sum(one.disk_bytes for one in wanted) <= CAPACITY.disk_bytes

    @invariant()
    def devices_are_never_shared(self) -> None:
        running = {id(bundle): bundle for bundle in self.executing.values()}.values()
        devices = [device for bundle in running for device in bundle.gpus]
        assert len(devices) == len(set(devices))
        for bundle in running:
            request = SHAPES[self.job_of(bundle) - 1].gpu
            assert len(bundle.gpus) == (request.count if request is not None else 0)

    @invariant()
    def nothing_is_accepted_twice(self) -> None:
        assert all(count == 1 for count in self.accepted.values())

    @invariant()
    def everything_the_hub_counts_on_is_held(self) -> None:
        held = self.machine.held()
        fences = set(zip(held.tasks, held.attempts, strict=True))
        assert self.pending <= fences
        assert len(fences) == len(held.tasks)

    def job_of(self, bundle: Bundle) -> int:
        # The shape is told by the memory limit and the disk limit of the execution together with its GPUs.
        one = bundle.executions[0]
        for number, shape in enumerate(SHAPES, start=1):
            gpus = shape.gpu.count if shape.gpu is not None else 0
            if (one.memory_bytes, one.disk_bytes, len(bundle.gpus)) == (
                shape.memory_bytes,
                shape.disk_bytes,
                gpus,
            ):
                return number
        raise AssertionError(f"a bundle of no known shape: {bundle}")

    def teardown(self) -> None:
        """Let everything come to its end: whatever is pending must be reported, nothing may be kept."""
        if not self.connected:
            self.join_hub(restored=False)
        for _ in range(1000):
            self.now += 0.01
            if self.preparing:
                preparation = self.preparing.pop()
                self.prepared.add(preparation)
                self.handle(ev.JobPrepared(self.now, preparation, FILES))
            elif self.fetching:
                fetch = self.fetching.pop()
                self.fetched.add(fetch)
                self.handle(ev.PayloadFetched(self.now, fetch, "/cache/c"))
            elif self.uploading:
                self.handle(ev.Uploaded(self.now, self.uploading.pop(), None, ()))
            elif self.executing:
                ticket, _ = self.executing.popitem()
                self.unstarted.discard(ticket)
                self.handle(ev.Executed(self.now, [Finished(ticket, Value(b"r"), Usage(0.0, 0.0, None))]))
            else:
                self.receive()
                if not self.on_stream:
                    break
                self.accept()
        assert not self.pending
        assert self.machine.held().tasks == []
        assert (self.prepared, self.fetched, self.scratch) == (set(), set(), set())
        assert self.machine.gauges()[:6] == (0, 0, 0, 0, 0, 0)
        assert self.left == self.machine.draining


NodeHistory.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestNodeHistory = NodeHistory.TestCase
