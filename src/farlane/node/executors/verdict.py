"""What the end of an execution means to its owner: results and exits turned into outcomes with a useful message."""

from __future__ import annotations

import os
import signal

from farlane.domain.failures import FailureKind
from farlane.domain.units import bytes_text, seconds_text
from farlane.node.executors.frames import Exited, Result
from farlane.node.executors.port import Execution, Failed

_REPORTED = frozenset({
    FailureKind.EXCEPTION, FailureKind.EXIT_CODE, FailureKind.WORKER_EXIT, FailureKind.SIGNAL, FailureKind.MEMORY,
    FailureKind.DISK, FailureKind.BAD_PAYLOAD, FailureKind.RESULT_TOO_LARGE, FailureKind.RESULT_UNPICKLABLE,
    FailureKind.ENVIRONMENT, FailureKind.CANCELLED,
})  # fmt: skip
"""Failures a worker may report; the others are for the node to find."""


def reported(result: Result, execution: Execution) -> Failed:
    """Return the failure a worker reports for an item."""
    try:
        kind = FailureKind(result.kind)
    except ValueError:
        return lost(f"its worker reported an ending that does not exist: {result.kind!r}")
    if kind is FailureKind.LOST:
        return lost(result.message)
    if kind not in _REPORTED:
        return lost(f"its worker reported an ending that does not exist: {result.kind!r}")
    message = result.message
    if kind is FailureKind.MEMORY:
        message = memory(execution, result.peak_bytes).message + f" ({message})"
    return Failed(kind, message, result.traceback, result.payload or None)


def timeout(execution: Execution) -> Failed:
    """Return the failure of a task that ran past its time-out."""
    return Failed(
        FailureKind.TIMEOUT,
        f"killed after {seconds_text(execution.timeout_s)}, its time-out: give it more time (timeout=) or make the "
        "task smaller",
    )


def memory(execution: Execution, peak_bytes: int) -> Failed:
    """Return the failure of a task that wanted more memory than it asked for."""
    limit = bytes_text(execution.memory_bytes) if execution.memory_bytes else "none"
    return Failed(
        FailureKind.MEMORY,
        f"out of memory: limit {limit}, peak {bytes_text(peak_bytes)}; ask for more (memory=) or hold less at a time",
    )


def disk(execution: Execution, used_bytes: int) -> Failed:
    """Return the failure of a task that filled its scratch directory."""
    return Failed(
        FailureKind.DISK,
        f"its scratch directory holds {bytes_text(used_bytes)}, the limit is {bytes_text(execution.disk_bytes)}: ask "
        "for more (disk=) or remove files it no longer needs",
    )


def cancelled(message: str = "cancelled") -> Failed:
    """Return the failure of a task that nobody wants any longer."""
    return Failed(FailureKind.CANCELLED, message)


def lost(what: str) -> Failed:
    """Return the failure of a task that this machine could not bring to an end of its own."""
    return Failed(FailureKind.LOST, f"the node lost the task: {what}")


def exited(notice: Exited) -> Failed:
    """Return the failure of the task that ran when its worker ended by itself."""
    if notice.status < 0:
        return lost(f"its worker could not be started ({notice.error})")
    code = os.waitstatus_to_exitcode(notice.status)
    if code >= 0:
        return Failed(
            FailureKind.WORKER_EXIT,
            f"the task ended its whole process with exit code {code} (os._exit, or exit in a native library): return "
            "from the function or raise an exception instead",
        )
    return Failed(FailureKind.SIGNAL, f"the task's process was killed by {_signal_text(-code)}")


def _signal_text(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    reasons = {
        "SIGSEGV": "a native library touched memory that is not its own; its stderr shows where Python was",
        "SIGABRT": "a native library gave up; its stderr may say why",
        "SIGKILL": "not by farlane; most often the machine ran out of memory",
        "SIGILL": "a native library was built for another processor",
    }
    return f"{name} ({reasons[name]})" if name in reasons else name
