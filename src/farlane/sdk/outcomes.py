"""Outcomes: one ended task as the client sees it, and the value or error that it stands for."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from farlane.domain.failures import RULES, Failure, FailureKind
from farlane.domain.ids import JobId, NodeId, TaskId, task_id, task_text
from farlane.domain.jobs import TaskState
from farlane.domain.records import OutputFile, TasksEnded
from farlane.errors import FarlaneError, PermissionRefused, TaskError

Trust = Callable[[NodeId], bool]
"""Whether results of this node may be unpickled here, in the caller's own process."""


def trust_own_organisation(node: NodeId) -> bool:
    """Trust every node that the hub gives work to.

    Unpickling runs whatever the pickle says. It is safe here because in this version a hub places work only on
    nodes of the publisher's own organisation; whoever shares nodes with strangers must pass a check of their own.
    """
    return True


class RemoteTraceback(Exception):
    """The traceback of an exception on its node; it is the `__cause__` of what is raised here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One row of a batch of ended tasks.

    record: the batch, shared by its rows; offset: the row; data: the pickled result, or why it could not be
    fetched. Times in milliseconds and microseconds, money in nano-credits.
    """

    record: TasksEnded
    offset: int
    data: bytes | FarlaneError

    @property
    def job(self) -> JobId:
        """The job."""
        return self.record.job

    @property
    def index(self) -> int:
        """The task's index in its job."""
        return self.record.indices[self.offset]

    @property
    def task(self) -> TaskId:
        """The task's id."""
        return task_id(self.record.job, self.index)

    @property
    def cursor(self) -> int:
        """The result cursor after this row: read on from here."""
        return self.record.seq + self.offset + 1

    @property
    def state(self) -> TaskState:
        """Done, failed or stopped."""
        return TaskState(self.record.states[self.offset])

    @property
    def node(self) -> NodeId:
        """The node that ran the last attempt; empty if none did."""
        return self.record.node

    @property
    def failure(self) -> Failure | None:
        """Why there is no result, if there is none."""
        return self.record.failures.get(self.offset)

    @property
    def outputs(self) -> tuple[OutputFile, ...]:
        """Files that a command left."""
        return self.record.outputs.get(self.offset, ())

    @property
    def attempts(self) -> int:
        """How many attempts there were."""
        return self.record.attempts[self.offset]

    @property
    def lease_ms(self) -> int:
        """Observed time of the last lease."""
        return self.record.lease_ms[self.offset]

    @property
    def cpu_us(self) -> int:
        """Metered CPU time."""
        return self.record.cpu_us[self.offset]

    @property
    def peak_bytes(self) -> int:
        """Metered peak memory; 0 if unknown."""
        return self.record.peak_bytes[self.offset]

    @property
    def amount(self) -> int:
        """What was charged, in nano-credits."""
        return self.record.amounts[self.offset]


def value_of(result: TaskResult, trust: Trust) -> Any:
    """Return what the function returned.

    Raises:
        TaskError: the task ended without a result and without an exception that can be raised here.
        PermissionRefused: the node is not trusted, so its bytes are not opened.
        Exception: the exception that the function raised, with its `RemoteTraceback` as cause.
    """
    if result.record.states[result.offset] != TaskState.DONE:
        raise error_of(result, trust)
    data = result.data
    if isinstance(data, FarlaneError):
        raise data
    _refuse_stranger(result, trust)
    try:
        return pickle.loads(data)
    except Exception as error:
        raise TaskError(
            f"the result of task {task_text(result.task)} cannot be opened here: {type(error).__name__}: {error}. "
            "Install here what it is made of, or return plain values",
            failure=FailureKind.RESULT_UNPICKLABLE.value,
            blame=RULES[FailureKind.RESULT_UNPICKLABLE].blame.value,
            task=task_text(result.task),
        ) from error


def error_of(result: TaskResult, trust: Trust) -> Exception:
    """Return the error to raise for a task that ended without a result."""
    failure = result.failure or Failure(FailureKind.LOST, "the hub did not say why it ended without a result")
    original = original_exception(failure) if failure.exception and trust(result.node) else None
    error: Exception = original or TaskError(
        f"task {task_text(result.task)} ended without a result: {failure.message or failure.kind.value} "
        f"(failure: {failure.kind.value}, blame: {failure.rule.blame.value}, attempts: {result.attempts})",
        failure=failure.kind.value,
        blame=failure.rule.blame.value,
        task=task_text(result.task),
        traceback=failure.traceback,
    )
    if failure.traceback:
        error.__cause__ = RemoteTraceback(failure.traceback)
    return error


def original_exception(failure: Failure) -> Exception | None:
    """Unpickle what a function raised on a node that is trusted; None where it cannot be raised here."""
    try:
        found = pickle.loads(failure.exception)
    except Exception:  # its class is not installed here, or its own unpickling fails: the text remains
        return None
    # SystemExit and its like would end this process, not only the call.
    return found if isinstance(found, Exception) else None


def _refuse_stranger(result: TaskResult, trust: Trust) -> None:
    if not trust(result.node):
        raise PermissionRefused(
            f"the result of task {task_text(result.task)} comes from node {result.node}, which is not trusted, and "
            "opening it would run its code here: read the raw bytes in `TaskResult.data`, or trust the node",
            node=result.node,
        )
