"""What Linux offers to keep processes together: prctl, process trees and killing all that a worker started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time

# Source: linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(signum: int, parent: int) -> None:
    """Ask the kernel for a signal when the parent dies; exit at once if it is dead already.

    Args:
        signum: the signal.
        parent: process id of the parent that called for this.
    """
    _prctl(_PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:
        os._exit(0)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none can hide by daemonising."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def name_process(name: str) -> None:
    """Set what `ps -o comm` and `top` show; at most 15 bytes."""
    _prctl(_PR_SET_NAME, ctypes.create_string_buffer(name.encode()[:15]))


def _prctl(option: int, value: int | ctypes.Array[ctypes.c_char]) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


def children(pid: int) -> list[int]:
    """Return the direct children of a process, those of all its threads; nothing if it is gone."""
    found: list[int] = []
    # OSError: the process or one of its threads ended while we looked.
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as stream:
                found.extend(map(int, stream.read().split()))
    return found


def descendants(pid: int) -> list[int]:
    """Return all processes below one, parents before their children."""
    found = children(pid)
    for child in found:  # grows while we walk
        found.extend(children(child))
    return found


def has_children() -> bool:
    """Tell whether this process has a child, running or not yet reaped; takes about a microsecond."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def kill_descendants(spare: frozenset[int] = frozenset(), timeout_s: float = 5.0) -> float:
    """Kill and reap everything below this process, which must adopt orphans.

    Args:
        spare: direct children that live on, with all that is below them.
        timeout_s: how long to try; a process in uninterruptible sleep may outlive it.

    Returns:
        CPU seconds the reaped processes had used.
    """
    cpu_s = 0.0
    pause_s = 0.0005
    deadline_s = time.monotonic() + timeout_s
    while strays := [child for child in children(os.getpid()) if child not in spare]:
        for child in strays:
            for pid in (child, *descendants(child)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for child in strays:
            with contextlib.suppress(ChildProcessError):
                _, _, usage = os.wait4(child, os.WNOHANG)
                cpu_s += usage.ru_utime + usage.ru_stime
        if time.monotonic() > deadline_s:
            break
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.02)
    return cpu_s


def kill_marked(mark: str) -> int:
    """Kill every process that was started with `mark` in its environment, by reading /proc.

    The last resort when the process that adopts orphans was itself killed.

    Returns:
        How many were killed.
    """
    killed = 0
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as stream:
            if mark.encode() in stream.read().split(b"\0"):
                os.kill(int(name), signal.SIGKILL)
                killed += 1
    return killed
