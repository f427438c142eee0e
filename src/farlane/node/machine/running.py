"""Running: bundles start where there is room, executions end and become results."""

from __future__ import annotations

import math

from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import index_of, job_of, job_text
from farlane.domain.jobs import MAX_INLINE_BYTES, JobSpec
from farlane.node.executors.port import (
    Bundle,
    CommandCall,
    CommandResult,
    Execution,
    Failed,
    Finished,
    FunctionCall,
    Outcome,
    ServeCall,
    Usage,
    Value,
)
from farlane.node.machine.attempts import HeldAttempt, JobFiles, Phase, RunningBundle
from farlane.node.machine.commands import Cancel, Command, ReleaseScratch, Submit, Upload
from farlane.node.machine.events import Executed, Ticked, Uploaded, UploadFailed
from farlane.node.machine.state import NodeState, end_done, end_failed, stop_using

STALL_S = 1.0
"""A bundle without a sign of life for so long gives back what it has not started: one slow task among quick ones."""
JOB_VARIABLE = "FARLANE_JOB"
"""Environment variable that tells a task which job it belongs to."""
_MAX_NAMES_BYTES = 2 << 20
"""Paths of one attempt's output files: they travel in one message."""
_MAX_MESSAGE = 4096
_MAX_TRACEBACK = 32 * 1024
_HANDED_BACK = Failure(FailureKind.HANDED_BACK, "the node is leaving and handed the task back before its end")


def start_ready(state: NodeState, out: list[Command], now: float) -> None:
    """Start what fits, unless too many results wait for the hub."""
    if not state.queue.count or state.backlog.full:
        return
    while not state.pool.exhausted and (bundle := state.queue.next_bundle(state.pool, now)) is not None:
        state.running.add(bundle)
        out.append(Submit(_to_bundle(bundle, state.epoch)))


def execute(state: NodeState, out: list[Command], event: Executed) -> None:
    """Take the executor's reports."""
    tickets = state.tickets
    for report in event.events:
        attempt = tickets[report.ticket]
        bundle = attempt.bundle
        assert bundle is not None  # only submitted attempts are reported
        bundle.progress_at = event.now
        if type(report) is Finished:
            _finish(state, out, attempt, bundle, report)
        else:
            attempt.started = True


def store(state: NodeState, out: list[Command], event: Uploaded) -> None:
    """Report an attempt whose large result or outputs are at the hub."""
    attempt = state.tickets.pop(event.ticket, None)
    if attempt is None:
        return
    out.append(ReleaseScratch(event.ticket))
    names_bytes = sum(len(file.path.encode("utf-8", "backslashreplace")) + 64 for file in event.outputs)
    if names_bytes > _MAX_NAMES_BYTES:
        end_failed(state, attempt, _too_many(len(event.outputs)))
    else:
        end_done(state, attempt, b"", event.result, event.outputs)


def fail_to_store(state: NodeState, out: list[Command], event: UploadFailed) -> None:
    """Report an attempt whose large result or outputs could not be stored."""
    attempt = state.tickets.pop(event.ticket, None)
    if attempt is not None:
        out.append(ReleaseScratch(event.ticket))
        end_failed(state, attempt, Failure(event.kind, event.message))


def recall_stalled(state: NodeState, out: list[Command], event: Ticked) -> None:
    """Take unstarted attempts out of bundles that do not move, so that other slots can run them."""
    for bundle in state.running:
        stalled_s = event.now - bundle.progress_at
        if bundle.left < 2 or stalled_s < STALL_S:
            continue
        left = [attempt for attempt in bundle.attempts if attempt.phase is Phase.RUNNING]
        if not any(attempt.started for attempt in left):
            continue  # the worker itself is still coming up: another would be no faster
        for attempt in left:
            if not attempt.started and not attempt.recalled:
                attempt.recalled = True
                out.append(Cancel(attempt.ticket))
        job = bundle.attempts[0].job
        job.mean_s = max(job.mean_s or 0.0, stalled_s)


def _finish(
    state: NodeState, out: list[Command], attempt: HeldAttempt, bundle: RunningBundle, report: Finished
) -> None:
    del state.tickets[report.ticket]
    bundle.left -= 1
    if not bundle.left:
        state.running.remove(bundle)
        state.pool.give(bundle.resources, bundle.devices)
    outcome = report.outcome
    cancelled = type(outcome) is Failed and outcome.kind is FailureKind.CANCELLED
    if cancelled and attempt.recalled and not attempt.handing_back and attempt.phase is Phase.RUNNING:
        _queue_again(state, attempt)
        return
    if not cancelled:
        attempt.job.observe(report.usage.wall_s)
    stop_using(state, out, attempt)
    if attempt.phase is Phase.DROPPED:
        if _has_files(outcome):
            out.append(ReleaseScratch(report.ticket))
        return
    _meter(attempt, report.usage)
    state.cpu_us += attempt.cpu_us
    if type(outcome) is Failed:
        end_failed(state, attempt, _failure(attempt, outcome, cancelled))
    elif _has_files(outcome):
        assert not isinstance(outcome, Failed)
        attempt.phase = Phase.UPLOADING
        state.tickets[report.ticket] = attempt
        out.append(Upload(report.ticket, outcome))
    else:
        end_done(state, attempt, (outcome.payload or b"") if type(outcome) is Value else b"")


def _queue_again(state: NodeState, attempt: HeldAttempt) -> None:
    # A fresh ticket: the executor may still be clearing up behind the old one.
    attempt.ticket = state.next_number()
    state.tickets[attempt.ticket] = attempt
    attempt.recalled = attempt.started = False
    attempt.reported_ms = 0
    attempt.bundle = None
    attempt.phase = Phase.READY
    state.queue.put_back(attempt.job, attempt)


def _meter(attempt: HeldAttempt, usage: Usage) -> None:
    attempt.lease_ms = math.ceil(usage.wall_s * 1000)
    attempt.cpu_us = int(usage.cpu_s * 1_000_000)
    attempt.peak_bytes = usage.peak_memory_bytes or 0


def _too_many(files: int) -> Failure:
    return Failure(
        FailureKind.RESULT_TOO_LARGE,
        f"the names of {files} output files take more than {_MAX_NAMES_BYTES} bytes: pack the files into one archive",
    )


def _has_files(outcome: Outcome) -> bool:
    if type(outcome) is Value:
        return outcome.payload_path is not None
    return type(outcome) is CommandResult and bool(outcome.outputs)


def _failure(attempt: HeldAttempt, outcome: Failed, cancelled: bool) -> Failure:
    if cancelled:
        if attempt.handing_back:
            return _HANDED_BACK
        # Nobody asked: not the publisher's doing, so it may run again elsewhere.
        return Failure(
            FailureKind.LOST, f"the node stopped the task unasked: {outcome.message}"[:_MAX_MESSAGE]
        )
    exception = outcome.exception or b""
    return Failure(
        outcome.kind,
        outcome.message[:_MAX_MESSAGE],
        outcome.traceback[-_MAX_TRACEBACK:],
        exception if len(exception) <= MAX_INLINE_BYTES else b"",
    )


def _to_bundle(bundle: RunningBundle, epoch: int) -> Bundle:
    job = bundle.attempts[0].job
    spec, files = job.spec, job.files
    assert files is not None  # only attempts of prepared jobs are queued
    timeout_s = spec.timeout_ms / 1000
    wanted = spec.resources
    command = _command_call(spec, files)
    function = spec.function.function.cid if spec.function is not None else ""
    env = (*spec.env, (JOB_VARIABLE, job_text(job_of(bundle.attempts[0].task))))
    executions = tuple(
        [
            Execution(
                attempt.ticket,
                command
                or _serve_call(spec, attempt, epoch)
                or FunctionCall(function, files.function_path, attempt.payload, attempt.payload_path),
                timeout_s,
                wanted.memory_bytes,
                wanted.disk_bytes,
                env,
                index_of(attempt.task),
            )
            for attempt in bundle.attempts
        ]
    )
    return Bundle(job.pool, files.site_path, bundle.devices, executions)


def _serve_call(spec: JobSpec, attempt: HeldAttempt, epoch: int) -> ServeCall | None:
    serve = spec.serve
    if serve is None:
        return None
    return ServeCall(
        serve.version, serve.deployment, serve.runtime, serve.options, spec.resources.cpu_milli, attempt.task,
        attempt.attempt, epoch,
    )  # fmt: skip


def _command_call(spec: JobSpec, files: JobFiles) -> CommandCall | None:
    command = spec.command
    if command is None:
        return None
    return CommandCall(command.run, command.setup, (), files.inputs, command.outputs)
