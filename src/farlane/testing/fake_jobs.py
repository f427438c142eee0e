"""The fake hub's jobs: tasks in, results out, run inline in one thread. For tests only: it unpickles what it gets."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import subprocess
import tempfile
import threading
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle

from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import JobId, NodeId
from farlane.domain.jobs import MAX_INLINE_BYTES, BlobRef, JobSpec, JobState, TaskState
from farlane.domain.records import Column, OutputFile, TasksEnded
from farlane.kit.cid import BlobHasher
from farlane.wire.v1 import client_pb2

NODE = NodeId("fake-node")


@dataclass(frozen=True, slots=True)
class Ended:
    """How one task ended."""

    index: int
    state: TaskState
    result: bytes = b""
    failure: Failure | None = None
    outputs: tuple[OutputFile, ...] = ()


@dataclass(slots=True, eq=False)
class FakeJob:
    """One job: every payload it was sent, and every end in order."""

    job: JobId
    key: str
    spec: JobSpec
    payloads: list[bytes] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    log: list[client_pb2.LogLine] = field(default_factory=list)
    sealed: bool = False
    stopped: str = ""
    retries: int = 0
    """How often it was retried; what was queued before the last time never runs."""

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return bool(self.stopped) or (self.sealed and len(self.ended) >= len(self.payloads))

    @property
    def state(self) -> JobState:
        """Where it stands."""
        if self.stopped:
            return JobState.STOPPED
        if not self.final:
            return JobState.RUNNING if self.ended else JobState.PENDING
        return JobState.FAILED if self.count(TaskState.FAILED) else JobState.SUCCEEDED

    def count(self, state: TaskState) -> int:
        """Return how many tasks ended so."""
        return sum(ended.state is state for ended in self.ended)

    def status(self) -> client_pb2.JobStatus:
        """Return its status as it travels."""
        return client_pb2.JobStatus(
            job=self.job,
            name=self.spec.name,
            state=self.state,
            total=len(self.payloads),
            queued=len(self.payloads) - len(self.ended),
            done=self.count(TaskState.DONE),
            failed=self.count(TaskState.FAILED),
            stopped=self.count(TaskState.STOPPED),
            sealed=self.sealed,
            priority=self.spec.priority,
            budget=self.spec.budget,
            reason=self.stopped,
            publisher="lab/ada",
        )


class FakeBlobs:
    """Blobs in memory, by CID."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.puts = 0

    def put(self, data: bytes) -> BlobRef:
        """Keep bytes."""
        hasher = BlobHasher()
        hasher.update(data)
        self.content[hasher.cid()] = data
        return BlobRef(hasher.cid(), len(data))


def batch_of(job: FakeJob, first: int, ended: list[Ended], blobs: FakeBlobs) -> TasksEnded:
    """Return ended tasks as the batch that follows cursor `first`."""
    rows = len(ended)
    large = {
        row: blobs.put(end.result) for row, end in enumerate(ended) if len(end.result) > MAX_INLINE_BYTES
    }
    return TasksEnded(
        job=job.job,
        seq=first,
        node=NODE,
        at=0.0,
        indices=[end.index for end in ended],
        attempts=[1] * rows,
        states=bytes(end.state for end in ended),
        results=Column([b"" if row in large else end.result for row, end in enumerate(ended)], large),
        failures={row: end.failure for row, end in enumerate(ended) if end.failure is not None},
        outputs={row: end.outputs for row, end in enumerate(ended) if end.outputs},
        lease_ms=[1] * rows,
        cpu_us=[1] * rows,
        peak_bytes=[0] * rows,
        amounts=[1] * rows,
    )


class Runner:
    """Runs tasks one after another in a thread of its own.

    Args:
        blobs: where functions and files are.
        report: takes ended tasks, in that thread.
    """

    def __init__(self, blobs: FakeBlobs, report: Callable[[FakeJob, Ended], None]) -> None:
        self._blobs = blobs
        self._report = report
        self._queue: deque[tuple[FakeJob, int, int] | None] = deque()
        self._filled = threading.Semaphore(0)
        self.running = threading.Event()
        """Cleared to hold tasks back."""
        self.running.set()
        self._functions: dict[str, Callable[..., Any]] = {}
        self._thread = threading.Thread(target=self._main, name="fake-node", daemon=True)
        self._thread.start()

    def put(self, job: FakeJob, index: int) -> None:
        """Queue a task."""
        self._queue.append((job, index, job.retries))
        self._filled.release()

    def close(self) -> None:
        """End the thread."""
        self._queue.appendleft(None)
        self._filled.release()
        self.running.set()
        self._thread.join()

    def _main(self) -> None:
        while True:
            self._filled.acquire()
            self.running.wait()
            item = self._queue.popleft()
            if item is None:
                return
            job, index, retries = item
            if not job.stopped and job.retries == retries:
                self._report(job, self._run(job, index))

    def _run(self, job: FakeJob, index: int) -> Ended:
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output):
                return self._run_command(job, index) if job.spec.command else self._call(job, index)
        except BaseException as error:
            failure = Failure(
                FailureKind.EXCEPTION,
                f"{type(error).__name__}: {error}",
                traceback.format_exc(),
                _pickled(error),
            )
            return Ended(index, TaskState.FAILED, failure=failure)
        finally:
            if output.getvalue():
                task = job.job << 24 | index
                data = output.getvalue().encode()
                job.log.append(client_pb2.LogLine(task=task, attempt=1, stream="stdout", data=data))

    def _call(self, job: FakeJob, index: int) -> Ended:
        assert job.spec.function is not None
        cid = job.spec.function.function.cid
        function = self._functions.get(cid)
        if function is None:
            function = self._functions[cid] = pickle.loads(self._blobs.content[cid])
        args, kwargs = pickle.loads(job.payloads[index])
        return Ended(index, TaskState.DONE, cloudpickle.dumps(function(*args, **kwargs)))

    def _run_command(self, job: FakeJob, index: int) -> Ended:
        command = job.spec.command
        assert command is not None
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            for file in command.inputs:
                target = root / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self._blobs.content[file.blob.cid])
            env = {**os.environ, **dict(job.spec.env), "FARLANE_TASK_INDEX": str(index)}
            done = subprocess.run(
                ["sh", "-c", command.run], cwd=root, env=env, capture_output=True, text=True, check=False
            )
            print(done.stdout, end="")  # noqa: T201 - into the captured log
            if done.returncode:
                failure = Failure(FailureKind.EXIT_CODE, f"exit code {done.returncode}: {done.stderr}")
                return Ended(index, TaskState.FAILED, failure=failure)
            found = (path for pattern in command.outputs for path in sorted(root.glob(pattern)))
            outputs = tuple(
                OutputFile(path.relative_to(root).as_posix(), self._blobs.put(path.read_bytes()))
                for path in found
            )
        return Ended(index, TaskState.DONE, outputs=outputs)


def _pickled(error: BaseException) -> bytes:
    try:
        return bytes(cloudpickle.dumps(error))
    except Exception:
        return b""
