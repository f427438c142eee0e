"""Measuring: rates, latencies and the CPU of a whole process tree."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import psutil


@dataclass(frozen=True)
class Figures:
    """What one engine did in one round."""

    engine: str
    tasks_per_s: float
    cpu_us_per_task: float
    p50_ms: float

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def tree_cpu_s(roots: Iterable[int]) -> float:
    """Return the CPU seconds used so far by processes and all their descendants, reaped ones included."""
    total = 0.0
    seen: set[int] = set()
    for root in roots:
        try:
            process = psutil.Process(root)
            family = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
        for member in family:
            if member.pid in seen:
                continue
            seen.add(member.pid)
            try:
                times = member.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system + times.children_user + times.children_system
    return total


def measure(
    engine: str,
    roots: Callable[[], Iterable[int]],
    batch: Callable[[int], int],
    single: Callable[[], object],
    tasks: int,
    singles: int,
) -> Figures:
    """Warm up, run `tasks` at once, then `singles` one after another.

    Args:
        roots: process ids whose trees do the work, this one included.
        batch: runs that many tasks and returns how many results came back.
        single: runs one and waits for it.
    """
    batch(max(100, tasks // 10))
    cpu, began = tree_cpu_s(roots()), time.perf_counter()
    done = batch(tasks)
    took = time.perf_counter() - began
    used = tree_cpu_s(roots()) - cpu
    if done != tasks:
        raise SystemExit(f"{engine}: {done} of {tasks} results came back")
    latencies = []
    for _ in range(singles):
        started = time.perf_counter()
        single()
        latencies.append(time.perf_counter() - started)
    return Figures(engine, tasks / took, used / tasks * 1e6, statistics.median(latencies) * 1e3)
