"""Histories: builders of records, and valid random sequences of them from a short program of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from farlane.domain.bookkeeping import BookOpened, LeavesBooked, VoucherSigned
from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import JobId, NodeId, task_id
from farlane.domain.jobs import BlobRef, CommandWork, Environment, InputFile, JobSpec, JobState, TaskState
from farlane.domain.nodes import NodeSpec
from farlane.domain.prices import RateVector
from farlane.domain.records import (
    AttemptsFailed,
    Column,
    JobEnded,
    JobOpened,
    JobSealed,
    LeasesMetered,
    NodeRegistered,
    OutputFile,
    Record,
    RunTimeLearnt,
    TasksAdded,
    TasksEnded,
    TasksLeased,
    TasksRequeued,
)
from farlane.domain.resources import GIB, Capacity, GpuKind, GpuRequest, Resources
from farlane.domain.usage import ModelUsage

NODE = NodeId("node-1")
A100 = GpuKind("A100", 80 * GIB)
AT = 1_750_000_000.0
"""When everything happens unless a builder is told otherwise, in unix seconds."""

# A specification with every field set, so that a store that drops one is found out.
FULL_SPEC = JobSpec(
    name="sweep",
    command=CommandWork(
        run="python train.py", setup="pip list", inputs=(InputFile("data/a.csv", BlobRef("bafkin", 70_000)),),
        outputs=("model/*.bin",),
    ),
    resources=Resources(2500, 3 * GIB, 5 * GIB, GpuRequest(2, "A100", 40 * GIB)),
    priority=77, retries=3, timeout_ms=90_000, deadline_at=AT + 86_400.5, max_price=10**15, budget=10**17,
    labels=(("zone", "north"),), env=(("LANG", "C.UTF-8"), ("EMPTY", "")),
    environment=Environment("ab" * 32, ("numpy==2.1 --hash=sha256:00",)), estimate_ms=1500, profile="train",
    organisation="lab", publisher="ada",
)  # fmt: skip


def job_opened(job: int, key: str = "", publisher: str = "ada", at: float = AT) -> JobOpened:
    """Open a job; its key follows from its number."""
    return JobOpened(JobId(job), key or f"key-{job}", JobSpec(name=f"job {job}", publisher=publisher), at)


def tasks_added(job: int, first: int, count: int, blobs: Iterable[int] = (), at: float = AT) -> TasksAdded:
    """Add tasks whose payloads name them; those at the offsets `blobs` are out of band."""
    refs = {row: BlobRef(f"bafkpayload{job}x{first + row}", 100_000 + row) for row in blobs}
    inline = [b"" if row in refs else b"payload %d.%d" % (job, first + row) for row in range(count)]
    return TasksAdded(JobId(job), first, Column(inline, refs), at)


def tasks_leased(
    job: int,
    indices: Sequence[int],
    attempt: int = 1,
    copy: int = 0,
    at: float = AT,
    gpu: GpuKind | None = None,
) -> TasksLeased:
    """Lease tasks to `NODE`."""
    return TasksLeased(JobId(job), NODE, list(indices), [attempt] * len(indices), at, copy, gpu)


def tasks_ended(
    job: int, seq: int, indices: Sequence[int], state: TaskState = TaskState.DONE, at: float = AT
) -> TasksEnded:
    """End tasks alike; their cost, time and results follow from their indices."""
    count = len(indices)
    done = state is TaskState.DONE
    failure = Failure(FailureKind.EXCEPTION, "ValueError: no", "Traceback ...", b"\x80pickled")
    results = Column([b"result %d.%d" % (job, index) if done else b"" for index in indices], {})
    outputs: dict[int, tuple[OutputFile, ...]] = {}
    if done and count:
        outputs[0] = (OutputFile("out.txt", BlobRef(f"bafkoutput{job}", 9)),)
    return TasksEnded(
        JobId(job), seq, NODE, at, list(indices), [1] * count, bytes([state]) * count, results,
        {} if done else dict.fromkeys(range(count), failure), outputs, [10 + index for index in indices],
        [7] * count, [1 << 20] * count, [1000 + index for index in indices],
    )  # fmt: skip


def attempts_failed(
    job: int, indices: Sequence[int], kind: FailureKind = FailureKind.NODE_LOST
) -> AttemptsFailed:
    """Fail attempts of `NODE` alike; each cost 3 nano-credits and 5 ms."""
    count = len(indices)
    failures = [Failure(kind, f"attempt at task {index} was lost") for index in indices]
    return AttemptsFailed(
        JobId(job), NODE, AT, list(indices), [1] * count, failures, [5] * count, [3] * count
    )


def leases_metered(job: int, indices: Sequence[int], part: int = 1) -> LeasesMetered:
    """Book a part of attempts of `NODE`; each costs 2 nano-credits and 4 ms."""
    count = len(indices)
    return LeasesMetered(
        JobId(job), NODE, AT, list(indices), [1] * count, [part] * count, [4] * count, [2] * count
    )


def job_ended(job: int, state: JobState = JobState.SUCCEEDED, at: float = AT, reason: str = "") -> JobEnded:
    """End a job."""
    return JobEnded(JobId(job), state, at, reason)


def node_registered(node: str = NODE, name: str = "big", at: float = AT) -> NodeRegistered:
    """Register a node with two GPUs."""
    spec = NodeSpec(
        NodeId(node), name, "lab", Capacity(8000, 64 * GIB, 500 * GIB, ((A100, 2),)),
        "3.11", "linux-x86_64", RateVector(11, 7, (("A100", 900), ("*", 100)), 5), (("zone", "north"),),
    )  # fmt: skip
    return NodeRegistered(spec, bytes(range(32)), at)


def finished_job(job: int, count: int, publisher: str = "ada", at: float = AT) -> list[Record]:
    """Return the whole life of a job of which every task succeeded."""
    return [
        job_opened(job, publisher=publisher),
        tasks_added(job, 0, count),
        JobSealed(JobId(job), count),
        tasks_leased(job, range(count)),
        tasks_ended(job, 0, range(count)),
        job_ended(job, at=at),
    ]


def book_opened(book: int, organisation: str = "lab", node: str = NODE, at: float = AT) -> BookOpened:
    """Return the opening of a book."""
    payer, provider, signer = (f"0x{digit * 40}" for digit in "123")
    return BookOpened(
        book, organisation, NodeId(node), "works", payer, provider, signer, bytes([book] * 32), at
    )


def leaves_booked(book: int, first: int, count: int, job: int = 1, at: float = AT) -> LeavesBooked:
    """Return a batch of leaves: each names its job's task of the same number, the rest of it is made up."""
    leaves = [
        b"\1" + task_id(JobId(job), index).to_bytes(8, "big") + bytes([index % 256]) * 10 + bytes(217)
        for index in range(first, first + count)
    ]
    owed = 10 * (first + count)
    statements = {row: b"served %d" % (first + row) for row in range(0, count, 3)} if job % 2 else {}
    return LeavesBooked(
        book, first, leaves, JobId(job), "lab", f"project {job % 2}", "ada", NODE, "works", at, 7 * count, 10 * count,
        owed, (first + count).to_bytes(8, "big"), statements,
    )  # fmt: skip


def model_usage(day: int, deployment: str = "lab/chat", requests: int = 1) -> ModelUsage:
    """Return what one organisation asked of a deployment on a day of June 2025."""
    return ModelUsage(
        f"2025-06-{day:02}", "lab", "sweep", deployment, "bafkversion", requests, requests // 2, 7 * requests,
        3 * requests, 2**40 * requests, 100,
    )  # fmt: skip


def voucher_signed(book: int, tasks: int, at: float = AT) -> VoucherSigned:
    """Return a voucher over so many leaves, of more units than 64 bits hold."""
    key = f"0x{'4' * 40}"
    return VoucherSigned(
        book, tasks, 2**80 + tasks, bytes([tasks % 256] * 32), b"s" * 65, b"h" * 65, key, 0, b"", at
    )


@dataclass(slots=True)
class _Job:
    number: int
    states: list[TaskState] = field(default_factory=list)
    seq: int = 0
    sealed: bool = False
    ended: bool = False

    def in_state(self, *states: TaskState) -> list[int]:
        return [index for index, state in enumerate(self.states) if state in states]


class HistoryWriter:
    """Turns steps of small numbers into records that a hub could have written, in that order.

    Any numbers are valid: a step that makes no sense in the present state becomes another or nothing.
    """

    def __init__(self) -> None:
        self._jobs: list[_Job] = []
        self._books: dict[int, int] = {}

    def step(self, action: int, which: int, size: int) -> list[Record]:
        """Return the records of one step: what to do, to which job, to how many tasks."""
        if not self._jobs or action % 11 == 0:
            return self._open()
        job = self._jobs[which % len(self._jobs)]
        if job.ended:
            return self._retry(job) if action % 2 else [node_registered(f"node-{size % 3}", f"name {which}")]
        steps = (
            self._add,
            self._add,
            self._lease,
            self._end,
            self._end,
            self._fail,
            self._meter,
            self._finish,
            self._learn,
            self._book,
            self._serve,
        )
        return steps[action % len(steps)](job, 1 + size % 7)

    def _open(self) -> list[Record]:
        job = _Job(len(self._jobs) + 1)
        self._jobs.append(job)
        return [job_opened(job.number, publisher="ada" if job.number % 3 else "bob")]

    def _add(self, job: _Job, size: int) -> list[Record]:
        if job.sealed:
            return self._lease(job, size)
        first = len(job.states)
        job.states += [TaskState.QUEUED] * size
        return [tasks_added(job.number, first, size, blobs=range(size % 3, size, 4))]

    def _lease(self, job: _Job, size: int) -> list[Record]:
        indices = job.in_state(TaskState.QUEUED)[:size]
        if not self._move(job, indices, TaskState.LEASED):
            return []
        # Later leases are not later in time: clocks are set back.
        gpu = A100 if size % 3 == 0 else None
        return [tasks_leased(job.number, indices, attempt=size, at=AT - size, gpu=gpu)]

    def _end(self, job: _Job, size: int) -> list[Record]:
        state = (TaskState.DONE, TaskState.DONE, TaskState.FAILED, TaskState.STOPPED)[size % 4]
        indices = job.in_state(TaskState.LEASED)[-size:]
        if not self._move(job, indices, state):
            return self._lease(job, size)
        record = tasks_ended(job.number, job.seq, indices, state)
        job.seq += len(indices)
        return [record]

    def _fail(self, job: _Job, size: int) -> list[Record]:
        indices = job.in_state(TaskState.LEASED)[:size]
        return [attempts_failed(job.number, indices)] if self._move(job, indices, TaskState.QUEUED) else []

    def _meter(self, job: _Job, size: int) -> list[Record]:
        indices = job.in_state(TaskState.LEASED)[:size]
        return [leases_metered(job.number, indices, size)] if indices else []

    def _finish(self, job: _Job, size: int) -> list[Record]:
        records: list[Record] = [] if job.sealed else [JobSealed(JobId(job.number), len(job.states))]
        open_tasks = job.in_state(TaskState.QUEUED, TaskState.LEASED)
        if self._move(job, open_tasks, TaskState.STOPPED):
            records.append(tasks_ended(job.number, job.seq, open_tasks, TaskState.STOPPED))
            job.seq += len(open_tasks)
        job.sealed = job.ended = True
        state = JobState.STOPPED if open_tasks else JobState.SUCCEEDED
        return [*records, job_ended(job.number, state, AT + size, f"reason {size}")]

    def _retry(self, job: _Job) -> list[Record]:
        again = job.in_state(TaskState.FAILED, TaskState.STOPPED)
        if not self._move(job, again, TaskState.QUEUED):
            return []
        job.ended = False
        return [TasksRequeued(JobId(job.number), again, AT)]

    def _learn(self, job: _Job, size: int) -> list[Record]:
        return [RunTimeLearnt(f"profile {size % 3}", 1.5 * job.number, size)]

    def _book(self, job: _Job, size: int) -> list[Record]:
        """Add leaves to one of three books, opened when it is new, and sign for all of them now and then."""
        book = 1 + size % 3
        first = self._books.get(book, 0)
        self._books[book] = first + size
        opened = [book_opened(book)] if not first else []
        booked = leaves_booked(book, first, size, job.number, at=AT + 2_000_000.0 * (size % 4))
        return [*opened, booked, *([voucher_signed(book, first + size)] if size % 2 else [])]

    def _serve(self, job: _Job, size: int) -> list[Record]:
        return [model_usage(1 + size % 3, f"lab/{job.number % 2}", size)]

    def _move(self, job: _Job, indices: list[int], state: TaskState) -> bool:
        for index in indices:
            job.states[index] = state
        return bool(indices)


def history(program: Iterable[tuple[int, int, int]]) -> list[list[Record]]:
    """Return the batches of records that a program of steps (action, which job, how many) stands for."""
    writer = HistoryWriter()
    return [batch for step in program if (batch := writer.step(*step))]
