"""Settings of the process executor: pool sizes, caps and periods, with a reason for each."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20


@dataclass(frozen=True)
class ProcessExecutorSettings:
    """How the process executor keeps its workers and how far a task may go."""

    scratch_dir: Path
    """Directory for working directories and result files; a private one is made inside and removed at close."""

    python: str = sys.executable
    """Interpreter of the workers; it must be able to import farlane."""

    max_busy_workers: int = 0
    """Bundles that run at the same time; 0 leaves that to the caller, who owns the slots."""

    max_idle_workers: int = 8
    """Idle workers kept warm, over all publishers; the least recently used one goes first."""

    idle_timeout_s: float = 300.0
    """Seconds an idle worker is kept: it holds memory that no lease pays for."""

    max_tasks_per_worker: int = 100_000
    """Tasks after which a worker retires, so that a slow leak ends some day."""

    memory_headroom_bytes: int = 512 * MIB
    """Private memory a process may map beyond its limit before allocation fails: libraries map more than they
    touch. What is really touched is checked by the watchdog, without headroom."""

    max_log_bytes: int = 8 * MIB
    """Bytes kept per task and stream; what a task prints beyond is read and dropped."""

    max_result_bytes: int = 512 * MIB
    """Largest pickled result of a function, and largest single output file of a command."""

    max_output_files: int = 10_000
    """Output files one command may hand in."""

    watch_period_s: float = 0.02
    """Period in which running tasks are checked against their limits and their output is passed on."""

    start_timeout_s: float = 30.0
    """Seconds the first interpreter may take to come up."""

    pass_environment: tuple[str, ...] = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
    """Variables of this process that workers see; everything else stays here."""
