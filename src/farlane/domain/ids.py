"""Identifiers: what names a job, a task, a node and one attempt, as numbers inside and short texts outside."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

from farlane.errors import InvalidInput

JobId = NewType("JobId", int)
TaskId = NewType("TaskId", int)
NodeId = NewType("NodeId", str)

INDEX_BITS = 24
MAX_TASKS_PER_JOB = 1 << INDEX_BITS
_INDEX_MASK = MAX_TASKS_PER_JOB - 1
_JOB_TEXT = re.compile(r"j(\d{1,12})")
_TASK_TEXT = re.compile(r"j(\d{1,12})\.(\d{1,8})")


def task_id(job: JobId, index: int) -> TaskId:
    """Return the 64-bit id of task `index` of `job`: job in the high 40 bits, index in the low 24."""
    return TaskId(job << INDEX_BITS | index)


def job_of(task: TaskId) -> JobId:
    """Return the job a task belongs to."""
    return JobId(task >> INDEX_BITS)


def index_of(task: TaskId) -> int:
    """Return a task's index in its job, from 0."""
    return task & _INDEX_MASK


def job_text(job: JobId) -> str:
    """Return a job's id as people see it: `j12`."""
    return f"j{job}"


def task_text(task: TaskId) -> str:
    """Return a task's id as people see it: `j12.7`."""
    return f"j{job_of(task)}.{index_of(task)}"


def parse_job(text: str) -> JobId:
    """Read a job id such as `j12`.

    Raises:
        InvalidInput: the text is not a job id.
    """
    found = _JOB_TEXT.fullmatch(text.strip())
    if found is None:
        raise InvalidInput(
            f"{text!r} is not a job id; expected something like 'j12', as `farlane ps` shows it"
        )
    return JobId(int(found[1]))


def parse_task(text: str) -> TaskId:
    """Read a task id such as `j12.7`.

    Raises:
        InvalidInput: the text is not a task id.
    """
    found = _TASK_TEXT.fullmatch(text.strip())
    if found is None or int(found[2]) >= MAX_TASKS_PER_JOB:
        raise InvalidInput(f"{text!r} is not a task id; expected something like 'j12.7'")
    return task_id(JobId(int(found[1])), int(found[2]))


@dataclass(frozen=True, slots=True, order=True)
class Fence:
    """What makes a result acceptable: the exact try it belongs to.

    A restored backup starts a new `epoch`, so results of leases from before the restore are stale.
    """

    epoch: int
    copy: int
    attempt: int
