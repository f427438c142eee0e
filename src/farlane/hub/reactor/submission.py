"""Submission: jobs are opened, filled, sealed, stopped and retried."""

from __future__ import annotations

from collections.abc import Sequence

from farlane.domain.failures import MAX_FREE_ATTEMPTS, Failure, FailureKind
from farlane.domain.ids import MAX_TASKS_PER_JOB, JobId, job_text
from farlane.domain.jobs import JobSpec, JobState, TaskState
from farlane.domain.records import (
    Column,
    JobEnded,
    JobOpened,
    JobSealed,
    TasksAdded,
    TasksRequeued,
    payload_sizes,
)
from farlane.errors import Conflict, IdempotencyMismatch, InvalidInput, NotFound
from farlane.hub.reactor.accounts import check_open_tasks
from farlane.hub.reactor.commands import Append, Command, FinishJob
from farlane.hub.reactor.ending import end_tasks, revoke_running
from farlane.hub.reactor.queues import enqueue, leave
from farlane.hub.reactor.requirements import requirement_of
from farlane.hub.reactor.state import MAX_ATTEMPTS, HubState, Job


def open_job(
    state: HubState, out: list[Command], now: float, key: str, spec: JobSpec, tasks: int = 0
) -> tuple[Job, bool]:
    """Admit a job, or find the one this idempotency key has opened; returns (job, existed).

    `tasks`: how many are to follow, 0 where that is not known yet.

    Raises:
        IdempotencyMismatch: the key was used for another specification.
        QuotaReached: so many more may not be open; there is no job.
    """
    known = state.keys.get((spec.publisher, key))
    if known is not None:
        job = state.jobs[known]
        check_same(job.id, job.spec, spec)
        return job, True
    check_open_tasks(state.accounts.known_of(spec), tasks)
    job = new_job(state, JobId(state.next_job), key, spec, now)
    state.next_job += 1
    state.jobs[job.id] = job
    state.keys[spec.publisher, key] = job.id
    out.append(Append(JobOpened(job.id, key, spec, now)))
    return job, False


def new_job(state: HubState, job: JobId, key: str, spec: JobSpec, now: float) -> Job:
    """Build an empty job."""
    accounts = state.accounts.of(spec)
    return Job(job, key, spec, requirement_of(spec), opened_at=now, since=now, accounts=accounts)


def check_same(job: JobId, known: JobSpec, again: JobSpec) -> None:
    """Refuse one key for two different submissions.

    Raises:
        IdempotencyMismatch: the specifications differ.
    """
    if known != again:
        raise IdempotencyMismatch(
            f"this idempotency key already opened {job_text(job)} with another specification; "
            "use a new key for a new job, or send exactly the same specification",
            job=job,
        )


def add_tasks(
    state: HubState, out: list[Command], now: float, job: JobId, first: int, payloads: Column
) -> Job:
    """Append tasks to an open job; rows that are already there are skipped.

    Raises:
        NotFound: no such open job.
        InvalidInput: the batch leaves a gap, or the job would have too many tasks.
        Conflict: the job is sealed and the batch goes beyond its end.
        QuotaReached: so many more may not be open; the job stays as it was.
    """
    found = open_job_by_id(state, job)
    if first > found.total:
        raise InvalidInput(
            f"{job_text(job)} has {found.total} tasks; a batch from {first} on would leave a gap"
        )
    skip = found.total - first
    if skip >= len(payloads.inline):
        return found
    if found.sealed:
        raise Conflict(f"{job_text(job)} is sealed at {found.total} tasks; open a new job for more")
    more = len(payloads.inline) - skip
    _check_room(found, more)
    check_open_tasks(found.accounts, more, _stays(found))
    added = TasksAdded(job, found.total, payloads.cut(skip, len(payloads.inline)), now)
    out.append(Append(added))
    grow(found, payload_sizes(added), now)
    enqueue(state, found)
    return found


def _stays(job: Job) -> str:
    """Say what stands of a job that gets no more tasks for now."""
    if not job.total:
        return ""
    name = job_text(job.id)
    return f" ({name} keeps its {job.total}: the rest follows under the same key later; `farlane stop {name}` ends it)"


def grow(job: Job, sizes: Sequence[int], now: float) -> None:
    """Add queued tasks to a job's columns; sizes: payload bytes of each."""
    count = len(sizes)
    if TaskState.QUEUED not in job.states:
        job.since = now
    job.states.extend(bytes(count))
    job.attempts.extend(bytes(count))
    job.sizes.extend(sizes)
    for account in job.accounts:
        account.open(count)


def seal_job(state: HubState, out: list[Command], now: float, job: JobId) -> Job:
    """Declare a job complete: it ends when all its tasks have ended. Sealing twice is harmless.

    Raises:
        NotFound: no such open job.
    """
    found = open_job_by_id(state, job)
    if not found.sealed:
        _seal(out, found)
        finish_if_ended(out, now, found)
    return found


def _seal(out: list[Command], job: Job) -> None:
    if not job.sealed:
        job.sealed = True
        out.append(Append(JobSealed(job.id, job.total)))


def stop_job(state: HubState, out: list[Command], now: float, job: JobId, reason: str) -> Job:
    """Stop a job: queued tasks never run, running ones are revoked and paid for the time they ran.

    Raises:
        NotFound: no such open job.
    """
    found = open_job_by_id(state, job)
    if not found.state.final:
        _seal(out, found)
        end_early(state, out, now, found, Failure(FailureKind.CANCELLED, reason), TaskState.STOPPED)
        found.reason = reason
        finish(out, now, found, JobState.STOPPED)
    return found


def end_early(
    state: HubState, out: list[Command], now: float, job: Job, failure: Failure, final: TaskState
) -> None:
    """End every unfinished task of a job: what runs is revoked, what waits never starts."""
    revoke_running(state, out, now, job, failure, final)
    waiting = [*job.returned, *range(job.fresh, job.total)]
    job.returned.clear()
    job.fresh = job.total
    leave(state, job)
    end_tasks(out, now, job, waiting, failure, final)


def retry_job(state: HubState, out: list[Command], now: float, job: Job) -> int:
    """Queue the failed and stopped tasks of an ended job again; returns how many.

    Raises:
        Conflict: the job has not ended, nothing in it failed, or a task has been tried too often for its fence.
        QuotaReached: so many more tasks may not be open.
    """
    again = [i for i, task in enumerate(job.states) if task in (TaskState.FAILED, TaskState.STOPPED)]
    if not job.state.final:
        raise Conflict(f"{job_text(job.id)} is {job.state}; only an ended job can be retried (stop it first)")
    if not again:
        raise Conflict(f"{job_text(job.id)} has no failed or stopped task to retry")
    _check_attempts(job, max(job.attempts[index] for index in again))
    accounts = state.accounts.of(job.spec)
    check_open_tasks(accounts, len(again))
    job.accounts = accounts  # a job from the archive was folded apart from them
    out.append(Append(TasksRequeued(job.id, again, now)))
    state.jobs[job.id] = job
    state.keys[job.spec.publisher, job.key] = job.id
    requeue(job, again, now)
    enqueue(state, job)
    return len(again)


def _check_attempts(job: Job, tries: int) -> None:
    """Make sure that no attempt of another run can get a number that was given out before."""
    if tries + 1 + job.spec.retries + MAX_FREE_ATTEMPTS > MAX_ATTEMPTS:
        raise Conflict(
            f"a task of {job_text(job.id)} has been tried {tries} times; with its {job.spec.retries} retries another "
            f"run could pass the limit of {MAX_ATTEMPTS} attempts: submit what is left as a new job"
        )


def requeue(job: Job, indices: Sequence[int], now: float) -> None:
    """Make ended tasks queued again, with all their retries."""
    for account in job.accounts:
        account.open(len(indices))
    for index in indices:
        if job.states[index] == TaskState.FAILED:
            job.failed -= 1
        elif job.states[index] == TaskState.STOPPED:
            job.stopped -= 1
        else:
            job.done -= 1
        job.states[index] = TaskState.QUEUED
        job.counted.pop(index, None)
        job.free.pop(index, None)
        job.returned.append(index)
    job.sealed = True
    job.state = JobState.PENDING
    job.since = now
    job.ended_at, job.reason = 0.0, ""


def finish_if_ended(out: list[Command], now: float, job: Job) -> None:
    """End a sealed job whose tasks have all ended."""
    if job.sealed and not job.state.final and job.ended == job.total:
        finish(out, now, job, JobState.FAILED if job.failed else JobState.SUCCEEDED)


def finish(out: list[Command], now: float, job: Job, final: JobState) -> None:
    """Put a job into its final state."""
    job.state = final
    job.ended_at = now
    out.append(Append(JobEnded(job.id, final, now, job.reason)))
    out.append(FinishJob(job.id))


def open_job_by_id(state: HubState, job: JobId) -> Job:
    """Return an open job.

    Raises:
        NotFound: there is none of that id, or it has ended.
    """
    found = state.jobs.get(job)
    if found is None:
        raise NotFound(f"no open job {job_text(job)} here; `farlane ps --all` lists every job", job=job)
    return found


def _check_room(job: Job, more: int) -> None:
    if job.total + more > MAX_TASKS_PER_JOB:
        raise InvalidInput(
            f"{job_text(job.id)} would have {job.total + more} tasks; one job holds at most {MAX_TASKS_PER_JOB}: "
            "split the work into several jobs"
        )
