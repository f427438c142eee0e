"""One run of a policy on a world, and what is measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from farlane.lab.evaluation.rivals import LearnedPolicy, Policy
from farlane.scheduler.sim.fragments import Usual
from farlane.scheduler.sim.learned_packing import run_learned_packing
from farlane.scheduler.sim.learned_queue import run_learned_queue
from farlane.scheduler.sim.packing import run_packing
from farlane.scheduler.sim.queueing import run_queue
from farlane.scheduler.sim.scores import bounded_slowdowns, gpu_allocation
from farlane.scheduler.sim.state import DROPPED, State, new_state
from farlane.scheduler.sim.world import CPU, Floats, World

SLOWDOWN, WAIT = "slowdown", "wait"
QUANTILES = 201
"""Points of a distribution that are kept: every half percent."""
LEADERBOARD_SHORT_S = 60.0
"""The bound of slowdowns of the HPCOpt leaderboard (ErenAri/HPC-workload-optimizer, docs/leaderboard.md)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to: numbers by name; quantiles: (QUANTILES,) of slowdowns and waits, rising, queues only."""

    numbers: Mapping[str, float]
    quantiles: Mapping[str, list[float]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"numbers": dict(self.numbers), "quantiles": dict(self.quantiles)}

    @staticmethod
    def from_json(fields: Mapping[str, Any]) -> Outcome:
        """Return an outcome from plain values."""
        return Outcome(dict(fields["numbers"]), dict(fields["quantiles"]))


def queue_state(world: World, policy: Policy, backfill: bool) -> State:
    """Run a queue on one pool to its end, and return the state then."""
    state = new_state(world)
    if isinstance(policy, LearnedPolicy):
        run_learned_queue(world, state, policy.weights, backfill)
    else:
        run_queue(world, state, policy.rule, backfill)
    return state


def packing_state(world: World, policy: Policy, usual: Usual, seed: int) -> State:
    """Pack a world's tasks, and return the state then; ties go by chance, but for policies of fixed ties."""
    state = new_state(world)
    shape = (len(world.tasks.arrival), len(world.nodes.gpus))
    if isinstance(policy, LearnedPolicy):
        run_learned_packing(world, state, usual, policy.weights, np.random.default_rng(seed).random(shape))
        return state
    noise = np.zeros((1, 1)) if policy.fixed_ties else np.random.default_rng(seed).random(shape)
    run_packing(world, state, usual, policy.rule, noise)
    return state


def queue_outcome(world: World, policy: Policy, backfill: bool) -> Outcome:
    """Run a queue on one pool and measure it."""
    state = queue_state(world, policy, backfill)
    return Outcome(queue_numbers(world, state), queue_quantiles(world, state))


def packing_outcome(world: World, policy: Policy, usual: Usual, seed: int) -> Outcome:
    """Pack a world's tasks and measure what is left.

    unallocated: percent of all GPUs, what counts; allocated: 100 - unallocated; dropped: tasks.
    """
    state = packing_state(world, policy, usual, seed)
    allocated = 100.0 * gpu_allocation(world, state)
    return Outcome(
        {"unallocated": 100.0 - allocated, "allocated": allocated, "dropped": float(state.marks[DROPPED])}
    )


def queue_numbers(world: World, state: State) -> dict[str, float]:
    """Return averages of a finished queue.

    slowdown: average bounded slowdown, what counts; slowdown_p95; slowdown_60_p95: with the bound of the HPCOpt
    leaderboard; wait, wait_p95: seconds; turnaround: seconds from arrival to end; utilisation: share of the pool that
    was busy from the first arrival to the last end; makespan: seconds between them.
    """
    slowdowns, wait = bounded_slowdowns(world, state), waits(world, state)
    run = state.ends - state.started
    bounded = np.maximum(1.0, (wait + run) / np.maximum(run, LEADERBOARD_SHORT_S))
    makespan = float(state.ends.max() - world.tasks.arrival.min())
    area = float((run * world.tasks.demand[:, CPU]).sum())
    return {
        "slowdown": float(slowdowns.mean()), "slowdown_p95": float(np.quantile(slowdowns, 0.95)),
        "slowdown_60_p95": float(np.quantile(bounded, 0.95)), "wait": float(wait.mean()),
        "wait_p95": float(np.quantile(wait, 0.95)), "turnaround": float((wait + run).mean()),
        "utilisation": area / (float(world.nodes.capacity[:, CPU].sum()) * makespan) if makespan else 1.0,
        "makespan": makespan,
    }  # fmt: skip


def queue_quantiles(world: World, state: State) -> dict[str, list[float]]:
    """Return the distribution of slowdowns and waits of a finished queue."""
    at = np.linspace(0.0, 1.0, QUANTILES)
    columns = {SLOWDOWN: bounded_slowdowns(world, state), WAIT: waits(world, state)}
    return {
        name: [round(float(value), 4) for value in np.quantile(column, at)]
        for name, column in columns.items()
    }


def waits(world: World, state: State) -> Floats:
    """Return seconds from arrival to start: (t,)."""
    waited: Floats = state.started - world.tasks.arrival
    return waited
