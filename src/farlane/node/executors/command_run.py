"""Running one script in a worker: working directory, copies of the inputs, setup, script, what is left behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
from typing import NamedTuple

from farlane.node.executors.frames import COMMAND_DONE, CommandItem
from farlane.node.executors.function_run import Done, short

WORK, HOME, TMP = "work", "home", "tmp"
"""Directories inside a command's scratch directory: its working directory, HOME and TMPDIR."""

_FICLONE = 0x40049409
"""Share the blocks of another file until one of both changes. Source: linux/fs.h."""


class Ran(NamedTuple):
    """How a script ended and the largest peak of one of its processes.

    The kernel's peak also counts the moment between fork and exec, in which the process still is the worker: tiny
    programs show the worker's size (some 20 MB). An upper bound, and exact for anything larger.
    """

    done: Done
    peak_bytes: int


def run_command(item: CommandItem) -> Ran:
    """Run one script; its output goes to this process's stdout and stderr."""
    try:
        work = _prepare(item)
    except (OSError, ValueError) as error:
        return Ran(Done("environment", message=f"the inputs cannot be laid out: {short(error)}"), 0)
    environment = _environment(item)
    peak_bytes = 0
    for name, script in (("setup", item.setup), ("script", item.script)):
        if name == "setup" and not script:
            continue
        code, peak = _shell(script, work, environment)
        peak_bytes = max(peak_bytes, peak)
        failed = _failure(name, code)
        if failed is not None:
            return Ran(failed, peak_bytes)
    return Ran(Done(COMMAND_DONE), peak_bytes)


def _prepare(item: CommandItem) -> str:
    for name in (WORK, HOME, TMP):
        os.makedirs(os.path.join(item.scratch, name), mode=0o700)
    work = os.path.join(item.scratch, WORK)
    for relative, source in item.inputs:
        parts = relative.split("/")
        if not relative or any(part in ("", ".", "..") for part in parts) or "\0" in relative:
            raise ValueError(
                f"input path {relative!r} must be relative and stay inside the working directory"
            )
        target = os.path.join(work, *parts)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _copy(source, target)
    return work


def _copy(source: str, target: str) -> None:
    """Copy a file, sharing its blocks where the file system can: a script that writes never reaches the original."""
    with open(source, "rb") as old, open(target, "xb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
        except OSError:
            shutil.copyfileobj(old, new, 1 << 20)


def _environment(item: CommandItem) -> dict[str, str]:
    environment = dict(os.environ)
    environment["HOME"] = os.path.join(item.scratch, HOME)
    environment["TMPDIR"] = os.path.join(item.scratch, TMP)
    environment.update(item.env)
    return environment


def _shell(script: str, work: str, environment: dict[str, str]) -> tuple[int, int]:
    """Return the exit code (negative: the signal) and the peak in bytes."""
    shell = shutil.which("bash", path=environment.get("PATH")) or "/bin/sh"
    process = subprocess.Popen([shell, "-c", script], cwd=work, env=environment, stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # reaped here, so Popen must not wait for it
    return process.returncode, usage.ru_maxrss * 1024


def _failure(name: str, code: int) -> Done | None:
    if code == 0:
        return None
    if code in (-signal.SIGXFSZ, 128 + signal.SIGXFSZ):
        return Done(
            "disk", message=f"the {name} wrote a file beyond the task's disk limit: ask for more disk"
        )
    if name == "setup":
        return Done("environment", message=f"the setup ended with {_code_text(code)}; the script did not run")
    if code < 0:
        return Done("signal", message=f"the script was killed by {_signal_name(-code)}")
    return Done("exit-code", message=f"the script ended with {_code_text(code)}")


def _code_text(code: int) -> str:
    if code < 0:
        return f"signal {_signal_name(-code)}"
    if code > 128 and code - 128 in set(signal.Signals):
        return f"exit code {code} (a program was killed by {_signal_name(code - 128)})"
    return f"exit code {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
