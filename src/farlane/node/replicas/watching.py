"""What a replica's process uses: looked at while it runs, since nobody can ask once it is gone."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil

from farlane.node.executors.port import Usage


@dataclass(slots=True)
class ProcessWatch:
    """The figures of one process. started_s: monotonic seconds, None before it was started; pid 0: none yet."""

    started_s: float | None = None
    pid: int = 0
    cpu_s: float = 0.0
    peak_bytes: int = 0

    def look(self) -> None:
        """Note what the process has used by now; one that is gone changes nothing."""
        if not self.pid:
            return
        try:
            process = psutil.Process(self.pid)
            times, memory = process.cpu_times(), process.memory_info()
        except psutil.Error:
            return
        self.cpu_s = max(self.cpu_s, times.user + times.system)
        self.peak_bytes = max(self.peak_bytes, memory.rss)

    def wall_s(self) -> float:
        """Return how long it has run, in seconds."""
        return 0.0 if self.started_s is None else time.monotonic() - self.started_s

    def usage(self) -> Usage:
        """Return all of it."""
        self.look()
        return Usage(self.cpu_s, self.wall_s(), self.peak_bytes or None)
