"""Processes: started detached, found again by id and start time, and stopped without hitting a stranger."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Process:
    """One process of ours. started_at guards against a process id that was given to somebody else."""

    pid: int
    started_at: float

    def alive(self) -> bool:
        """Tell whether this very process runs."""
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.started_at) < 1.0
            return same and found.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def start_detached(module: str, arguments: Sequence[str], log: Path, extra_env: Mapping[str, str]) -> Process:
    """Start a module of farlane in a session of its own, with its output in a log file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=os.environ | dict(extra_env),
        )
    _reap_later(child)
    return Process(child.pid, psutil.Process(child.pid).create_time())


def _reap_later(child: subprocess.Popen[bytes]) -> None:
    """Let go of a child without a warning: it outlives this process by design."""
    child.returncode = child.returncode or 0


def stop_all(processes: Sequence[Process], grace_s: float) -> list[Process]:
    """Stop processes: SIGTERM, wait, SIGKILL; returns those that had to be killed."""
    for process in processes:
        process.signal(signal.SIGTERM)
    end = time.monotonic() + grace_s
    left = [process for process in processes if process.alive()]
    while left and time.monotonic() < end:
        time.sleep(0.02)
        left = [process for process in left if process.alive()]
    for process in left:
        process.signal(signal.SIGKILL)
    return left


def last_lines(log: Path, count: int = 8) -> str:
    """Return the last lines of a log, for an error message."""
    if not log.exists():
        return "(no log)"
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
