"""Watching one worker from outside: memory of its process tree, and disk space of a scratch directory."""

from __future__ import annotations

import contextlib
import os
import resource
import time

from farlane.node.executors.process_control import descendants

_PAGE = resource.getpagesize()
_TREE_PERIOD_S = 0.1
_EXACT_SHARE = 20
"""An exact reading is repeated only after this many times its own duration: large maps take milliseconds."""


class MemoryWatch:
    """Samples what a worker and everything below it hold in memory.

    Two readings: resident pages are cheap to read but count shared pages once per process, and files that are only
    mapped, which the kernel can drop. So they only raise suspicion; the verdict comes from proportional anonymous and
    shared memory.

    Args:
        pid: the worker's process id.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._below: list[int] = []
        self._tree_s = 0.0
        self._exact_s = 0.0
        self._statm = -1
        with contextlib.suppress(OSError):
            # Kept open: it reads this process or nothing, even if its number is given away.
            self._statm = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        self.tree_peak_bytes = 0
        """Largest reading since `reset` of a tree of more than one process; 0 if there was none."""

    def reset(self) -> None:
        """Begin a new task."""
        self.tree_peak_bytes = 0
        self._below = []
        self._tree_s = 0.0

    def excess(self, limit_bytes: int, now_s: float) -> int:
        """Take a sample.

        Args:
            limit_bytes: what the tree may hold; 0 for no limit.
            now_s: monotonic time.

        Returns:
            What the tree holds if that is more than the limit, else 0.
        """
        if now_s - self._tree_s >= _TREE_PERIOD_S:
            self._tree_s = now_s
            self._below = descendants(self._pid)
        total = self._resident() + sum(_resident(pid) for pid in self._below)
        suspect = total > limit_bytes > 0 or (bool(self._below) and total > self.tree_peak_bytes)
        if not suspect or now_s < self._exact_s:
            return 0
        exact = self._exact(now_s)
        if self._below:
            self.tree_peak_bytes = max(self.tree_peak_bytes, exact)
        return exact if exact > limit_bytes > 0 else 0

    def close(self) -> None:
        """Close what is open."""
        if self._statm >= 0:
            os.close(self._statm)
            self._statm = -1

    def _resident(self) -> int:
        try:
            return int(os.pread(self._statm, 128, 0).split()[1]) * _PAGE
        except (OSError, IndexError):
            return 0

    def _exact(self, now_s: float) -> int:
        begun_s = time.monotonic()
        total = sum(_proportional(pid) for pid in (self._pid, *self._below))
        self._exact_s = now_s + _EXACT_SHARE * (time.monotonic() - begun_s)
        return total


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as stream:
            return int(stream.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    """Return a process's share of anonymous and shared memory; resident memory where the kernel keeps no shares."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as stream:
            fields = dict(line.split(b":", 1) for line in stream.read().splitlines()[1:])
        return sum(int(fields[name].split()[0]) for name in (b"Pss_Anon", b"Pss_Shmem")) * 1024
    except (OSError, KeyError, ValueError):
        return _resident(pid)


def directory_bytes(path: str, enough_bytes: int) -> int:
    """Return the disk space of a directory tree; stops counting beyond `enough_bytes`. Follows no links."""
    total = 0
    pending = [path]
    while pending and total <= enough_bytes:
        # OSError: removed while we look, or closed by its owner; then nobody can count it.
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
    return total


def available_memory_bytes() -> int:
    """Return how much memory new processes may take before the machine runs short."""
    with open("/proc/meminfo", "rb") as stream:
        for line in stream:
            if line.startswith(b"MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 1 << 62  # a kernel that does not say: nothing is evicted for it
