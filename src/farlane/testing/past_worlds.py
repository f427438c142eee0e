"""Histories for tests: small ones by hand, random ones from a seed, and a store's file made of a small world."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event

import numpy as np

from farlane.domain.jobs import JobSpec
from farlane.domain.nodes import NodeSpec
from farlane.domain.prices import RateVector
from farlane.domain.resources import GIB, Capacity, GpuRequest, Resources
from farlane.hub.store.sqlite.store import SqliteStore
from farlane.lab.history import Change, History, PastJob
from farlane.testing.builders import A100, T4, a_job, a_node
from farlane.testing.small_world import SmallWorld

START_S = 1_000_000.0


def a_past_job(
    at: float,
    run_s: Sequence[float],
    spec: JobSpec | None = None,
    *,
    batches: Sequence[int] = (),
    **more: object,
) -> PastJob:
    """Return a job that came `at` seconds after the start; its tasks in batches a second apart where told."""
    counts = list(batches) or [len(run_s)]
    times = tuple((START_S + at + step, count) for step, count in enumerate(counts))
    values: dict[str, object] = {"counted": (True,) * len(run_s)}
    return PastJob(
        spec or a_job(profile=""),
        START_S + at,
        times,
        np.array(run_s, float),
        **(values | more),  # type: ignore[arg-type]
    )


def a_history(nodes: Sequence[NodeSpec], jobs: Sequence[PastJob], changes: Sequence[Change] = ()) -> History:
    """Return a history of nodes that are there from the start."""
    there = [Change(START_S, row, True) for row in range(len(nodes))]
    return History(tuple(nodes), (*there, *changes), tuple(jobs))


def a_random_history(seed: int, jobs: int = 12, nodes: int = 5) -> History:
    """Return a history with everything that the compiled rules mirror, in whole seconds so that many things tie."""
    random = np.random.default_rng(seed)
    specs = [_a_random_node(random, row) for row in range(nodes)]
    changes = []
    for row in range(nodes):
        at = 0.0 if random.random() < 0.7 else float(random.integers(0, 60))
        online = True
        for _ in range(int(random.integers(1, 6)) if random.random() < 0.5 else 1):
            changes.append(Change(START_S + at, row, online))
            at, online = at + float(random.integers(1, 90)), not online
        if not online:  # the last change has left it there
            continue
        changes.append(Change(START_S + at, row, True))
    at, found = 0.0, []
    for _ in range(jobs):
        at += float(random.integers(0, 12))
        found.append(_a_random_past_job(random, at))
    ordered = sorted(changes, key=lambda change: (change.at, change.node))
    return History(tuple(specs), tuple(ordered), tuple(found))


def _a_random_node(random: np.random.Generator, row: int) -> NodeSpec:
    kinds = [(T4, int(random.integers(1, 4)))] if random.random() < 0.4 else []
    if random.random() < 0.3:
        kinds.append((A100, int(random.integers(1, 3))))
    capacity = Capacity(
        int(random.integers(1, 9)) * 1000, int(random.integers(1, 17)) * GIB, 100 * GIB, tuple(kinds)
    )
    core = int(random.integers(1, 3)) * 1000
    return a_node(f"n{row}", capacity=capacity, rates=RateVector(core, 100, (("*", 50_000),), 0))


def _a_random_past_job(random: np.random.Generator, at: float) -> PastJob:
    tasks = int(random.integers(1, 7))
    gpu = None
    if random.random() < 0.3:
        gpu = GpuRequest(
            int(random.integers(1, 3)), str(random.choice(["T4", "A100"])) if random.random() < 0.5 else None
        )
    resources = Resources(int(random.integers(1, 5)) * 500, int(random.integers(1, 5)) * GIB, GIB, gpu)
    short = random.random() < 0.2
    run_s = random.integers(1, 60, tasks) * (0.004 if short else 1.0)
    known = random.random()
    spec = a_job(
        resources=resources,
        priority=int(random.choice([30, 50, 50, 50, 70])),
        retries=int(random.integers(0, 3)),
        timeout_ms=120_000,
        estimate_ms=max(1, int(run_s.mean() * random.uniform(0.5, 2.0) * 1000)) if known < 0.6 else None,
        profile=str(random.choice(["a", "b"])) if known > 0.4 else "",
        project=str(random.choice(["", "x"])),
        deadline_at=START_S + at + float(random.integers(20, 300)) if random.random() < 0.15 else None,
    )
    first = int(random.integers(1, tasks + 1))
    batches = [first, tasks - first] if first < tasks and random.random() < 0.4 else []
    more: dict[str, object] = {}
    if random.random() < 0.15:
        more["stopped_at"] = START_S + at + float(random.integers(5, 120))
    if random.random() < 0.2:
        more["mishaps"] = {int(random.integers(0, tasks)): tuple(random.integers(1, 9, 2).astype(float))}
    return a_past_job(at, run_s.tolist(), spec, batches=batches, **more)


def keep_world(world: SmallWorld, path: Path) -> None:
    """Write what a small world has recorded into a store's file."""
    store, durable = SqliteStore(path, ballast_bytes=1 << 12), Event()
    store.append(world.journal, lambda _: durable.set())
    assert durable.wait(10)
    store.close()
