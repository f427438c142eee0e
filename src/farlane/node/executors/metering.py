"""Metering of one task inside a worker that runs many: CPU time, wall time and peak memory of that task alone.

CPU time: what the kernel counts for this process (all threads, also those already gone) plus its reaped children,
as a difference. A worker reaps everything a task started before it reads the end, so nothing is missed.

Peak memory: `ru_maxrss` never falls, so read naively it would show the largest task a worker ever ran. Two facts
of Linux make it right. Writing 5 to /proc/self/clear_refs sets the high-water mark of the address space back to
what is resident now. And `ru_maxrss` is the larger of that mark and a figure that is only kept across `exec`; a
worker is forked and never execs, so here it is the mark itself. (VmHWM of /proc/self/status is the same number,
but reading it costs fifteen times as much.)

Children: the kernel keeps only the largest peak of all reaped children, ever. If a task raised it, that is the
task's; otherwise the children stayed below an older one, and the node's samples of the process tree stand in.

Tiny tasks: reading all this costs more than a task of a few microseconds. A process cannot be forked, nor a megabyte
be touched, within `TINY_NS`; so such a task had no children, its CPU time is its wall time, and its peak is what
was resident after the last reading.
Source: proc_pid_clear_refs(5), getrusage(2), kernel/sys.c (getrusage), fs/exec.c (exec_mmap).
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from typing import NamedTuple

_KIB = 1024

TINY_NS = 50_000
"""Wall time below which a task cannot have started a process or moved the peak."""


class Metered(NamedTuple):
    """CPU nanoseconds and peak bytes of one task; peak 0 if the system cannot tell."""

    cpu_ns: int
    peak_bytes: int


class Meter:
    """Reads this process's counters; make it after the fork, in the process it measures."""

    def __init__(self) -> None:
        self._reset = -1
        with contextlib.suppress(OSError):  # some containers mount /proc read-only
            self._reset = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        self._children = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._cpu_ns = 0
        self._resident_bytes = 0
        self._reset_peak()

    def start(self) -> int:
        """Begin a task; returns the CPU nanoseconds this process and its reaped children used until now."""
        self._cpu_ns = time.process_time_ns() + _cpu_ns(self._children)
        return self._cpu_ns

    def stop_tiny(self, wall_ns: int) -> Metered:
        """End a task that took less than `TINY_NS`: what it used follows from that."""
        return Metered(wall_ns, self._resident_bytes)

    def stop(self) -> Metered:
        """End a task whose children are all reaped."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_ns = time.process_time_ns() + _cpu_ns(children) - self._cpu_ns
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if self._reset >= 0 else 0
        if children.ru_maxrss > self._children.ru_maxrss:
            peak_kib = max(peak_kib, children.ru_maxrss)
        self._children = children
        self._reset_peak()
        return Metered(cpu_ns, peak_kib * _KIB)

    def _reset_peak(self) -> None:
        if self._reset >= 0:
            os.write(self._reset, b"5")
            self._resident_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB


def _cpu_ns(usage: resource.struct_rusage) -> int:
    return int((usage.ru_utime + usage.ru_stime) * 1e9)
