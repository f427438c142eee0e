"""Settings of a contest: which worlds of a trace policies run on, and which number of a run counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farlane.lab.evaluation.rivals import Kind, Policy
from farlane.lab.evaluation.runs import Outcome, packing_outcome, queue_outcome
from farlane.lab.evaluation.sources import Found, log_at, nodes_at, pods_at
from farlane.lab.evaluation.splits import (
    SEQUENCES,
    TEST_SEEDS,
    Sequences,
    draw_sequences,
    split_jobs,
    validation_sequences,
)
from farlane.lab.published import SEQUENCE_JOBS, inflated_order, table_starts
from farlane.lab.worlds import packing_world, pool_world
from farlane.scheduler.sim.fragments import Usual, usual_tasks
from farlane.scheduler.sim.world import World

PUBLISHED, CHOOSING = "published protocol", "for choosing"


@dataclass(frozen=True, slots=True)
class QueueSetting:
    """Sequences of a log on its machine.

    name of the log; path; starts: first rows; length: jobs of each; block: how many neighbours share jobs; backfill;
    protocol: which sequences these are, where titles have to tell.
    """

    name: str
    path: Path
    starts: tuple[int, ...]
    length: int
    block: int
    backfill: bool
    protocol: str = ""
    kind: Kind = Kind.QUEUE
    counts: str = "slowdown"

    @property
    def title(self) -> str:
        """Return what tables call it."""
        return ", ".join(filter(None, (self.name, "backfill" * self.backfill, self.protocol)))

    def __len__(self) -> int:
        return len(self.starts)

    def world(self, at: int) -> World:
        """Return the world of one case."""
        return pool_world(log_at(self.path), self.starts[at], self.length)

    def run(self, at: int, policies: Sequence[Policy]) -> list[Outcome]:
        """Run policies on one case."""
        world = self.world(at)
        return [queue_outcome(world, policy, self.backfill) for policy in policies]


@dataclass(frozen=True, slots=True)
class PackingSetting:
    """Orders of arrival of a list of tasks: name of the list; path; nodes: the list of nodes; seeds of the orders."""

    name: str
    path: Path
    nodes: Path
    seeds: tuple[int, ...]
    block: int = 1
    kind: Kind = Kind.PACKING
    counts: str = "unallocated"

    @property
    def title(self) -> str:
        """Return what tables call it."""
        return f"openb {self.name}"

    def __len__(self) -> int:
        return len(self.seeds)

    def world(self, at: int) -> World:
        """Return the world of one case."""
        nodes = nodes_at(self.nodes)
        pods = pods_at(self.path, nodes.models)
        return packing_world(nodes, pods, inflated_order(nodes, pods, self.seeds[at]))

    def usual(self) -> Usual:
        """Return the usual tasks of the list."""
        nodes = nodes_at(self.nodes)
        pods = pods_at(self.path, nodes.models)
        return usual_tasks(packing_world(nodes, pods, np.arange(len(pods))).tasks)

    def run(self, at: int, policies: Sequence[Policy]) -> list[Outcome]:
        """Run policies on one case."""
        world, usual = self.world(at), self.usual()
        return [packing_outcome(world, policy, usual, self.seeds[at]) for policy in policies]


Setting = QueueSetting | PackingSetting


def held_out(
    log: Found,
    backfill: bool,
    *,
    count: int = SEQUENCES,
    length: int = SEQUENCE_JOBS,
    seed: int = 0,
    unseen: bool = False,
) -> QueueSetting:
    """Return the sequences of a log on which policies are judged; see `splits`."""
    split = split_jobs(len(log_at(log.path)), unseen=unseen)
    return _queue(log, draw_sequences(split.test, seed, count=count, length=length), backfill)


def for_choosing(log: Found, backfill: bool, length: int = SEQUENCE_JOBS) -> QueueSetting:
    """Return the sequences of a log on which rules and weights are chosen."""
    split = split_jobs(len(log_at(log.path)))
    return _queue(log, validation_sequences(split, length=length), backfill, CHOOSING)


def published(log: Found, backfill: bool) -> QueueSetting:
    """Return the ten sequences of RLScheduler's tables."""
    starts = table_starts(len(log_at(log.path)))
    return QueueSetting(log.name, log.path, tuple(starts.tolist()), SEQUENCE_JOBS, 1, backfill, PUBLISHED)


def packing(found: Found, nodes: Path, *, count: int = 10) -> PackingSetting:
    """Return the orders of arrival of a list on which policies are judged."""
    return PackingSetting(found.name, found.path, nodes, tuple(TEST_SEEDS[:count]))


def _queue(log: Found, drawn: Sequences, backfill: bool, protocol: str = "") -> QueueSetting:
    starts = tuple(drawn.starts.tolist())
    return QueueSetting(log.name, log.path, starts, drawn.length, drawn.block, backfill, protocol)
