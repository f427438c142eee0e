"""Histories for tests: small ones by hand, random ones from a seed, and a store's file made of a small world."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event

import numpy as np

from farlane.domain.jobs import JobSpec
from farlane.domain.nodes import NodeSpec
from farlane.hub.store.sqlite.store import SqliteStore
from farlane.lab.history import Change, History, PastJob
from farlane.testing.builders import a_job
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


def keep_world(world: SmallWorld, path: Path) -> None:
    """Write what a small world has recorded into a store's file."""
    store, durable = SqliteStore(path, ballast_bytes=1 << 12), Event()
    store.append(world.journal, lambda _: durable.set())
    assert durable.wait(10)
    store.close()
