"""Identifiers round trip between numbers and texts, and refuse everything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.domain.ids import (
    MAX_TASKS_PER_JOB,
    Fence,
    JobId,
    index_of,
    job_of,
    job_text,
    parse_job,
    parse_task,
    task_id,
    task_text,
)
from farlane.errors import InvalidInput

jobs = st.integers(0, 10**12 - 1).map(JobId)
indices = st.integers(0, MAX_TASKS_PER_JOB - 1)


@given(jobs, indices)
def test_a_task_id_holds_its_job_and_index(job: JobId, index: int) -> None:
    task = task_id(job, index)
    assert (job_of(task), index_of(task)) == (job, index)
    assert 0 <= task < 1 << 64


@given(jobs, indices)
def test_texts_round_trip(job: JobId, index: int) -> None:
    assert parse_job(job_text(job)) == job
    assert parse_task(task_text(task_id(job, index))) == task_id(job, index)


def test_texts_are_what_people_see() -> None:
    assert job_text(JobId(12)) == "j12"
    assert task_text(task_id(JobId(12), 7)) == "j12.7"
    assert parse_job("  j12 ") == 12
    assert parse_task(" j12.7\n") == task_id(JobId(12), 7)


@given(jobs, indices, jobs, indices)
def test_tasks_sort_by_job_and_then_index(job: JobId, index: int, other: JobId, at: int) -> None:
    assert (task_id(job, index) < task_id(other, at)) == ((job, index) < (other, at))


@pytest.mark.parametrize("text", ["", "12", "j", "J12", "j-1", "j1.2", "j1 2", "j" + "1" * 13, "jj1", "j0x1"])
def test_what_is_not_a_job_id_is_refused(text: str) -> None:
    with pytest.raises(
        InvalidInput, match=r"is not a job id; expected something like 'j12', as `farlane ps`"
    ):
        parse_job(text)


@pytest.mark.parametrize(
    "text", ["", "j1", "j1.", "j.1", "j1.-1", "1.1", f"j1.{MAX_TASKS_PER_JOB}", "j1.123456789"]
)
def test_what_is_not_a_task_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not a task id; expected something like 'j12\.7'"):
        parse_task(text)


def test_the_last_index_of_a_job_is_a_task() -> None:
    assert index_of(parse_task(f"j1.{MAX_TASKS_PER_JOB - 1}")) == MAX_TASKS_PER_JOB - 1


@given(st.text(max_size=12))
def test_any_text_is_an_id_or_an_error_of_the_tree(text: str) -> None:
    try:
        assert parse_job(text) >= 0
    except InvalidInput:
        assert not text.strip().isascii() or not (text.strip()[:1] == "j" and text.strip()[1:].isdigit())


def test_fences_order_by_epoch_then_copy_then_attempt() -> None:
    assert sorted([Fence(2, 0, 1), Fence(1, 1, 1), Fence(1, 0, 9)]) == [
        Fence(1, 0, 9),
        Fence(1, 1, 1),
        Fence(2, 0, 1),
    ]
