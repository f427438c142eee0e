"""Failures and ended tasks to and from the wire: dense columns, with failures and output files by row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import MAX_TASKS_PER_JOB, JobId, NodeId
from farlane.domain.jobs import MAX_INLINE_BYTES, TaskState
from farlane.domain.records import Column, OutputFile, TasksEnded
from farlane.errors import InvalidInput
from farlane.kit.suggestions import hint
from farlane.wire import limits
from farlane.wire.columns import column_from_wire, column_to_wire
from farlane.wire.jobs import MAX_FILES, blob_to_wire
from farlane.wire.v1 import client_pb2, types_pb2

MAX_FAILURE_CHARS = 4 * 1024
MAX_TRACEBACK_CHARS = 32 * 1024
MAX_EXCEPTION_BYTES = MAX_INLINE_BYTES
MAX_ROWS = 16_384
"""Rows of one batch of results."""
FINAL_STATES = bytes([TaskState.DONE, TaskState.FAILED, TaskState.STOPPED])
_KINDS = {kind.value: kind for kind in FailureKind}


def failure_to_wire(failure: Failure) -> types_pb2.Failure:
    """Return a failure as it travels.

    Texts above their cap lose their middle; a pickled exception above its cap stays at home, since half of one is
    worth nothing. Characters that are no Unicode text are shown escaped.
    """
    exception = failure.exception
    return types_pb2.Failure(
        kind=failure.kind.value,
        message=clipped(failure.message, MAX_FAILURE_CHARS),
        traceback=clipped(failure.traceback, MAX_TRACEBACK_CHARS),
        exception=exception if len(exception) <= MAX_EXCEPTION_BYTES else b"",
        blame=failure.rule.blame.value,
    )


def failure_from_wire(message: types_pb2.Failure) -> Failure:
    """Read a failure from a peer. Blame is not taken from the peer: it follows from the kind.

    Raises:
        InvalidInput: an unknown kind, or a text or exception above its cap.
    """
    kind = _KINDS.get(message.kind)
    if kind is None:
        raise InvalidInput(
            f"failure kind {message.kind[:40]!r} is unknown; {hint(message.kind[:40], _KINDS)}"
        )
    if len(message.message) > MAX_FAILURE_CHARS or len(message.traceback) > MAX_TRACEBACK_CHARS:
        raise InvalidInput(
            f"a failure's message and traceback have {len(message.message)} and {len(message.traceback)} characters; "
            f"expected at most {MAX_FAILURE_CHARS} and {MAX_TRACEBACK_CHARS}"
        )
    if len(message.exception) > MAX_EXCEPTION_BYTES:
        raise limits.too_large(
            "a failure's pickled exception", len(message.exception), MAX_EXCEPTION_BYTES, "Leave it out"
        )
    return Failure(kind, message.message, message.traceback, message.exception)


def tasks_ended_to_wire(ended: TasksEnded) -> client_pb2.Results:
    """Return ended tasks as a publisher receives them.

    Raises:
        InvalidInput: a number that cannot travel, or columns that are not parallel.
    """
    _check_parallel(ended, len(ended.results.inline))
    failure_rows, output_rows = sorted(ended.failures), sorted(ended.outputs)
    with limits.sendable("a batch of results"):
        return client_pb2.Results(
            job=ended.job,
            seq=ended.seq,
            node=ended.node,
            indices=ended.indices,
            states=ended.states,
            results=column_to_wire(ended.results),
            failure_rows=failure_rows,
            failures=[failure_to_wire(ended.failures[row]) for row in failure_rows],
            output_rows=output_rows,
            outputs=[outputs_to_wire(ended.outputs[row]) for row in output_rows],
            lease_ms=ended.lease_ms,
            cpu_us=ended.cpu_us,
            peak_bytes=ended.peak_bytes,
            amounts=ended.amounts,
            attempts=ended.attempts,
            at=ended.at,
        )


def tasks_ended_from_wire(message: client_pb2.Results) -> TasksEnded:
    """Read ended tasks; a results column without rows stands for results that were left out.

    Raises:
        InvalidInput: columns that are not parallel, states that are not final, numbers out of range.
        TooLarge: too many rows, or an inline result above its cap.
    """
    indices = list(message.indices)
    rows = len(indices)
    if rows > MAX_ROWS:
        raise limits.too_many_rows("a batch of results", rows, MAX_ROWS)
    below("index", indices, MAX_TASKS_PER_JOB)
    check_final(message.states)
    results = column_from_wire(message.results, MAX_ROWS)
    ended = TasksEnded(
        job=JobId(limits.integer("job of a batch of results", message.job, 0, limits.MAX_INTEGER)),
        seq=limits.integer("cursor of a batch of results", message.seq, 0, limits.MAX_INTEGER),
        node=NodeId(limits.text("node id", message.node, limits.MAX_ID_CHARS)),
        at=limits.finite("time of a batch of results", message.at),
        indices=indices,
        attempts=list(message.attempts),
        states=message.states,
        results=results if results.inline else Column([b""] * rows),
        failures=failures_from_wire(message.failure_rows, message.failures, rows),
        outputs=outputs_from_wire(message.output_rows, message.outputs, rows),
        lease_ms=below("lease_ms", list(message.lease_ms)),
        cpu_us=below("cpu_us", list(message.cpu_us)),
        peak_bytes=below("peak_bytes", list(message.peak_bytes)),
        amounts=below("amounts", list(message.amounts)),
    )
    _check_parallel(ended, len(ended.results.inline))
    return ended


def failures_from_wire(
    rows: Iterable[int], failures: Collection[types_pb2.Failure], total: int
) -> dict[int, Failure]:
    """Read the failures of a batch of `total` rows: offset -> failure.

    Raises:
        InvalidInput: row numbers that do not fit, or a failure that is not one.
    """
    if not failures and not rows:
        return {}
    numbers = list(rows)
    limits.row_numbers("failures", numbers, len(failures), total)
    return {row: failure_from_wire(failure) for row, failure in zip(numbers, failures, strict=True)}


def outputs_from_wire(
    rows: Iterable[int], outputs: Collection[types_pb2.OutputFiles], total: int
) -> dict[int, tuple[OutputFile, ...]]:
    """Read the output files of a batch of `total` rows: offset -> files.

    Raises:
        InvalidInput: row numbers that do not fit, a path that leaves its directory, too many files.
    """
    if not outputs and not rows:
        return {}
    numbers = list(rows)
    limits.row_numbers("output files", numbers, len(outputs), total)
    return {row: files_from_wire(files) for row, files in zip(numbers, outputs, strict=True)}


def outputs_to_wire(files: Iterable[OutputFile]) -> types_pb2.OutputFiles:
    """Return one task's output files as they travel."""
    return types_pb2.OutputFiles(
        files=[types_pb2.File(path=file.path, blob=blob_to_wire(file.blob)) for file in files]
    )


def files_from_wire(message: types_pb2.OutputFiles) -> tuple[OutputFile, ...]:
    """Read one task's output files.

    Raises:
        InvalidInput: a path that leaves its directory, no CID, too many files.
    """
    limits.at_most("output files of one task", message.files, MAX_FILES)
    return tuple(
        OutputFile(
            limits.relative_path("output file", file.path),
            limits.blob_ref(f"output file {file.path!r}", file.blob),
        )
        for file in message.files
    )


def check_final(states: bytes) -> None:
    """Refuse a column of states with one in it that is not final.

    Raises:
        InvalidInput: it names the first such state and its row.
    """
    strangers = states.translate(None, FINAL_STATES)
    if strangers:
        row = states.index(strangers[0])
        raise InvalidInput(
            f"state {strangers[0]} in row {row} is not final; expected 2 (done), 3 (failed) or 4 (stopped)",
            row=row,
        )


def below(what: str, column: list[int], limit: int = limits.MAX_INTEGER + 1) -> list[int]:
    """Return a column of numbers if all lie below `limit`.

    Raises:
        InvalidInput: it names the largest.
    """
    if column and max(column) >= limit:
        raise InvalidInput(
            f"column {what} contains {max(column)}; expected numbers below {limit}", column=what
        )
    return column


def clipped(text: str, max_chars: int) -> str:
    """Return text that fits its cap: head and tail of a longer one, with what is missing said between."""
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= max_chars:
        return text
    note = f"\n... {len(text) - max_chars} and more characters left out ...\n"
    keep = max_chars - len(note)
    # The end of a traceback names the error: it gets the larger share.
    head = keep // 4
    return text[:head] + note + text[len(text) - (keep - head) :]


def _check_parallel(ended: TasksEnded, results: int) -> None:
    limits.same_length(
        "a batch of results",
        len(ended.indices),
        attempts=len(ended.attempts),
        states=len(ended.states),
        results=results,
        lease_ms=len(ended.lease_ms),
        cpu_us=len(ended.cpu_us),
        peak_bytes=len(ended.peak_bytes),
        amounts=len(ended.amounts),
    )
    _check_rows("failures", ended.failures, len(ended.indices))
    _check_rows("outputs", ended.outputs, len(ended.indices))


def _check_rows(what: str, sparse: Mapping[int, object], total: int) -> None:
    if sparse and not 0 <= min(sparse) <= max(sparse) < total:
        raise InvalidInput(f"{what} name rows {min(sparse)} to {max(sparse)} of a batch of {total} rows")
