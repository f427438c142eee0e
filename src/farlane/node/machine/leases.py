"""Leases: attempts are taken on, taken back and made ready to run."""

from __future__ import annotations

from farlane.domain.failures import Failure, FailureKind
from farlane.domain.jobs import BlobRef
from farlane.domain.units import bytes_text
from farlane.node.machine.admission import admit_job, gpu_refusal, unknown_job
from farlane.node.machine.attempts import HeldAttempt, HeldJob, Phase, attempt_key
from farlane.node.machine.commands import AnnounceDrain, Cancel, Command, ReleasePayload, ReleaseScratch
from farlane.node.machine.events import (
    CreditChanged,
    HubJoined,
    HubLost,
    JobPrepared,
    JobUnprepared,
    LeasesGranted,
    LeasesRevoked,
    PayloadFetched,
    PayloadLost,
)
from farlane.node.machine.state import (
    NodeState,
    end_failed,
    enqueue,
    fetch,
    release_job,
    stop_using,
)

_LEAVING = Failure(FailureKind.HANDED_BACK, "the node is draining and takes no new work")


def join_hub(state: NodeState, out: list[Command], event: HubJoined) -> None:
    """Start over with reporting; everything held under another epoch is void."""
    if state.epoch not in (0, event.epoch):
        for attempt in list(state.held.values()):
            drop(state, out, attempt)
        state.backlog.clear()
        state.held.clear()
        state.jobs.clear()
    state.epoch, state.interim_s = event.epoch, event.interim_s
    state.connected = True
    state.backlog.resend()
    if state.draining:
        out.append(AnnounceDrain())


def lose_hub(state: NodeState, out: list[Command], event: HubLost) -> None:
    """Forget the specifications no attempt needs: the next stream carries them again."""
    state.connected = False
    state.jobs = {job.id: job for job in state.jobs.values() if job.using}


def grant(state: NodeState, out: list[Command], event: LeasesGranted) -> None:
    """Take on leases. One that is held already, older than the held one or of another epoch changes nothing."""
    if event.epoch != state.epoch:
        return
    job = _job_of(state, event)
    blobs = event.payloads.blobs
    fresh: list[HeldAttempt] = []
    wrong_gpu = gpu_refusal(state.pool, job, event.gpu)
    for row, (task, number, copy, payload) in enumerate(
        zip(event.tasks, event.attempts, event.copies, event.payloads.inline, strict=True)
    ):
        key = attempt_key(task, copy)
        known = state.held.get(key)
        if known is not None:
            if known.attempt >= number:
                continue
            drop(state, out, known)
        blob = blobs.get(row) if blobs else None
        inline = payload if blob is None else None
        attempt = HeldAttempt(state.next_number(), key, job, task, number, copy, inline, event.gpu)
        state.held[key] = attempt
        refusal = _refusal(state, job, payload, blob) or wrong_gpu
        if refusal is not None:
            attempt.payload = None
            end_failed(state, attempt, refusal)
            continue
        state.tickets[attempt.ticket] = attempt
        job.using += 1
        state.payload_bytes += len(payload)
        if blob is None:
            fresh.append(attempt)
        else:
            fetch(state, out, attempt, blob)
    if fresh:
        enqueue(state, out, job, fresh)


def revoke(state: NodeState, out: list[Command], event: LeasesRevoked) -> None:
    """Drop attempts the hub took back; other attempts of the same tasks stay."""
    if event.epoch != state.epoch:
        return
    for task, number, copy in zip(event.tasks, event.attempts, event.copies, strict=True):
        known = state.held.get(attempt_key(task, copy))
        if known is not None and known.attempt == number:
            drop(state, out, known)


def drop(state: NodeState, out: list[Command], attempt: HeldAttempt) -> None:
    """Give up an attempt without a report; one that has ended stays reported and the hub judges it."""
    if attempt.phase is Phase.ENDED:
        return
    del state.held[attempt.key]
    if attempt.phase is Phase.RUNNING:
        attempt.phase = Phase.DROPPED
        out.append(Cancel(attempt.ticket))
        return
    del state.tickets[attempt.ticket]
    if attempt.phase is Phase.UPLOADING:
        attempt.phase = Phase.DROPPED
        out.append(ReleaseScratch(attempt.ticket))
        return
    withdraw(state, out, attempt)


def withdraw(state: NodeState, out: list[Command], attempt: HeldAttempt) -> None:
    """Take an attempt that has not started out of queue and waiting lists."""
    if attempt.phase is Phase.READY:
        state.queue.drop(attempt)
    attempt.phase = Phase.DROPPED
    stop_using(state, out, attempt)


def change_credit(state: NodeState, out: list[Command], event: CreditChanged) -> None:
    """Take no more work of an organisation and hand back what of it has not started; or take it again."""
    if not event.reason:
        state.stopped.pop(event.organisation, None)
        return
    state.stopped[event.organisation] = event.reason
    failure = Failure(FailureKind.HANDED_BACK, event.reason)
    for attempt in list(state.held.values()):
        if (
            attempt.phase in (Phase.FETCHING, Phase.READY)
            and attempt.job.spec.organisation == event.organisation
        ):
            return_unstarted(state, out, attempt, failure)


def return_unstarted(state: NodeState, out: list[Command], attempt: HeldAttempt, failure: Failure) -> None:
    """Give back an attempt that has not started."""
    del state.tickets[attempt.ticket]
    withdraw(state, out, attempt)
    end_failed(state, attempt, failure)


def take_files(state: NodeState, out: list[Command], event: JobPrepared) -> None:
    """Queue what waited for a job's files."""
    job = state.preparations[event.preparation]
    job.files = event.files
    waiting, job.waiting = job.waiting, []
    if not job.using:
        release_job(state, out, job)
        return
    enqueue(state, out, job, [attempt for attempt in waiting if attempt.phase is Phase.FETCHING])


def miss_files(state: NodeState, out: list[Command], event: JobUnprepared) -> None:
    """Fail what waited for a job's files; later leases try again."""
    job = state.preparations.pop(event.preparation)
    job.preparation = 0
    waiting, job.waiting = job.waiting, []
    failure = Failure(event.kind, event.message)
    for attempt in waiting:
        if attempt.phase is Phase.FETCHING:
            _fail_unstarted(state, out, attempt, failure)


def take_payload(state: NodeState, out: list[Command], event: PayloadFetched) -> None:
    """Queue an attempt whose payload arrived; a payload nobody waits for any more is let go."""
    attempt = state.fetches.pop(event.fetch, None)
    if attempt is None:
        out.append(ReleasePayload(event.fetch))
        return
    attempt.payload_path = event.path
    enqueue(state, out, attempt.job, [attempt])


def miss_payload(state: NodeState, out: list[Command], event: PayloadLost) -> None:
    """Fail an attempt whose payload could not be had."""
    attempt = state.fetches.pop(event.fetch, None)
    if attempt is not None:
        _fail_unstarted(state, out, attempt, Failure(FailureKind.BLOB, event.message))


def _fail_unstarted(state: NodeState, out: list[Command], attempt: HeldAttempt, failure: Failure) -> None:
    del state.tickets[attempt.ticket]
    stop_using(state, out, attempt)
    end_failed(state, attempt, failure)


def _job_of(state: NodeState, event: LeasesGranted) -> HeldJob:
    job = state.jobs.get(event.job)
    if job is None:
        if event.spec is None:
            return unknown_job(event.job)
        job = state.jobs[event.job] = admit_job(state.node, state.pool, event.job, event.spec)
    return job


def _refusal(state: NodeState, job: HeldJob, payload: bytes, blob: BlobRef | None) -> Failure | None:
    if job.refusal is not None:
        return job.refusal
    if state.draining:
        return _LEAVING
    unpaid = state.stopped.get(job.spec.organisation) if state.stopped else None
    if unpaid is not None:
        return Failure(FailureKind.HANDED_BACK, unpaid)
    limits = state.limits
    if state.payload_bytes + len(payload) > limits.payload_bytes:
        return _no_room(f"{bytes_text(limits.payload_bytes)} of inline payloads")
    if blob is not None and state.blob_bytes + blob.size_bytes > limits.blob_bytes:
        return _no_room(f"{bytes_text(limits.blob_bytes)} of payload blobs")
    if len(state.held) > limits.attempts:
        return _no_room(f"{limits.attempts} attempts")
    return None


def _no_room(what: str) -> Failure:
    return Failure(
        FailureKind.HANDED_BACK,
        f"with this lease the node would hold more than its limit of {what}: "
        "send less ahead, or raise the limit in the node's settings",
    )
