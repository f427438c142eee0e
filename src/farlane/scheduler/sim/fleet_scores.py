"""Scores of a finished run of a fleet: what publishers feel, what owners get, what was moved, wasted and paid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farlane.errors import InvalidInput
from farlane.scheduler.sim.orders import fill_numbers
from farlane.scheduler.sim.scores import SHORT_S
from farlane.scheduler.sim.state import (
    DONE,
    LOADED,
    QUEUED_S,
    READY_AT,
    RESTARTED,
    WASTED_S,
    State,
    new_state,
)
from farlane.scheduler.sim.usage import CPU_LINE, GPU_LINE, busy_shares
from farlane.scheduler.sim.waiting import QUICK_S, new_waiting
from farlane.scheduler.sim.world import CPU, MEMORY, WHOLE_GPU, Bools, Floats, World

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class FleetScores:
    """Scores of a run; seconds unless said otherwise. What never ended counts as if it had ended with the run.

    Lower is better but for the shares that are said to be of use and for fairness.
    """

    tasks: int
    """How many there were."""
    unfinished: int
    """How many never ended: no node could run them, or they waited for one that none could."""
    completion_mean_s: float
    """Mean time from arrival to end (job completion time, as in Tiresias, Gavel and Decima)."""
    completion_p50_s: float
    completion_p95_s: float
    wait_mean_s: float
    """Mean time in the queue, after restarts too; what a task waits for its parents is none of it."""
    wait_p95_s: float
    slowdown_mean: float
    """Mean bounded slowdown; see `slowdowns`."""
    slowdown_p95: float
    makespan_s: float
    """From the first arrival to the last end."""
    cpu_used: float
    """Share of the seconds of cores that were online, to the last end, that runs which ended took: 0 to 1."""
    gpu_used: float
    """The same of GPUs; nan without any."""
    missed: float
    """Share of tasks with a deadline that ended after it or never, 0 to 1; nan where none has one."""
    lateness_mean_s: float
    """How much too late those were, on average; 0 where none was."""
    moved_bytes: int
    """Bytes of models that nodes fetched."""
    cost: float
    """Credits for runs that ended; what was cut off is the provider's loss."""
    restarts: int
    """Runs that were cut off since a node went, each member of a gang by itself."""
    wasted_s: float
    """Seconds of those runs together."""
    fairness: float
    """Jain's index over users, 1 / users to 1; see `fairness`."""

    def as_dict(self) -> dict[str, float]:
        """Return the scores by name."""
        return {name: getattr(self, name) for name in self.__slots__}


OVERALL = {
    "completion_mean_s": 1.0, "slowdown_mean": 0.0, "wait_p95_s": 1.0, "missed": 1e-3, "moved_bytes": 1e9, "cost": 0.0,
}  # fmt: skip
"""Scores that `overall` looks at, and what is added to each lest a zero decide: what publishers feel and pay, how many
promises are broken, and what lines have to carry."""


def overall(found: FleetScores, base: FleetScores) -> float:
    """Return the geometric mean of one run's scores over another's (`OVERALL`): 1 where they are alike, less is better.

    Scores that one of them does not have (no deadlines) are left out.
    """
    logs = [
        np.log((getattr(found, name) + extra) / (getattr(base, name) + extra))
        for name, extra in OVERALL.items()
    ]
    return float(np.exp(np.nanmean(logs)))


def fleet_scores(world: World, state: State) -> FleetScores:
    """Return the scores of a run that is over.

    Raises:
        InvalidInput: there are no tasks, or some run for ever: nothing can be said of how long they took.
    """
    ends, arrival = ended_at(world, state), world.tasks.arrival
    completion, wait, slow = ends - arrival, state.times[:, QUEUED_S], slowdowns(world, state)
    missed, lateness = lateness_s(world, state)
    used = busy_shares(world, state, np.array([arrival[0], ends.max()]))
    return FleetScores(
        tasks=len(arrival), unfinished=int((state.status != DONE).sum()),
        completion_mean_s=float(completion.mean()), completion_p50_s=float(np.percentile(completion, 50)),
        completion_p95_s=float(np.percentile(completion, 95)), wait_mean_s=float(wait.mean()),
        wait_p95_s=float(np.percentile(wait, 95)), slowdown_mean=float(slow.mean()),
        slowdown_p95=float(np.percentile(slow, 95)), makespan_s=float(ends.max() - arrival[0]),
        cpu_used=float(used[0, CPU_LINE]), gpu_used=float(used[0, GPU_LINE]), missed=missed,
        lateness_mean_s=lateness, moved_bytes=int(state.counts[:, LOADED].sum()),
        cost=float(costs(world, state).sum()), restarts=int(state.counts[:, RESTARTED].sum()),
        wasted_s=float(state.times[:, WASTED_S].sum()), fairness=fairness(world, state),
    )  # fmt: skip


def ended_at(world: World, state: State) -> Floats:
    """Return when each task ended, with what never did at the end of the run: (t,) seconds.

    Raises:
        InvalidInput: there are no tasks, or some run for ever.
    """
    if not len(world.tasks.arrival):
        raise InvalidInput("a world without tasks has no scores: give it at least one")
    done = state.status == DONE
    over = max(
        float(state.clock[0]), float(world.tasks.arrival[-1]), float(state.ends[done].max(initial=0.0))
    )
    if not np.isfinite(over) or np.isinf(state.ends[~done]).any():
        raise InvalidInput(
            "some tasks run for ever: scores of time are of runs that end; give them a run time"
        )
    ends: Floats = np.where(done, state.ends, over)
    return ends


def slowdowns(world: World, state: State) -> Floats:
    """Return each task's bounded slowdown: max(1, (end - ready) / max(r, SHORT_S)), (t,).

    `ready` is when it could first run; r is its run time on the node that is quickest for it, without loading anything,
    so that a slow node or a fetched model count as waiting does. A gang's r is its longest.

    Source: bounded slowdown, Feitelson et al. 1997; r as the isolated run time of finish-time fairness (Themis,
    Mahajan et al. 2020).
    """
    ready = state.times[:, READY_AT]
    since = np.where(np.isnan(ready), world.tasks.arrival, ready)
    took = ended_at(world, state) - since
    result: Floats = np.maximum(1.0, took / np.maximum(quickest_s(world), SHORT_S))
    return result


def quickest_s(world: World) -> Floats:
    """Return how long each task would run on the node that is quickest for it; at speed 1 where none can: (t,)."""
    known = world._replace(tasks=world.tasks._replace(estimate_s=world.tasks.run_s))
    waiting = new_waiting(known)
    fill_numbers(known, new_state(known), waiting)
    quickest: Floats = waiting.numbers[world.tasks.gang, QUICK_S]
    return quickest


def lateness_s(world: World, state: State) -> tuple[float, float]:
    """Return the share of tasks with a deadline that missed it, nan without any, and their mean lateness in seconds."""
    has = world.tasks.deadline < np.inf
    if not has.any():
        return float("nan"), 0.0
    late = ended_at(world, state)[has] - world.tasks.deadline[has]
    missed: Bools = (late > 0.0) | (state.status[has] != DONE)
    return float(missed.mean()), float(np.maximum(late[missed], 0.0).mean()) if missed.any() else 0.0


def costs(world: World, state: State) -> Floats:
    """Return what each task's last run costs, reserved amounts times seconds, in credits: (t,), 0 if it never ended."""
    tasks, done = world.tasks, state.status == DONE
    price = world.nodes.price[state.node]
    gpus = tasks.gpus * tasks.gpu_milli / WHOLE_GPU
    rate = (
        price[:, 0] * tasks.demand[:, CPU] / 1000
        + price[:, 1] * tasks.demand[:, MEMORY] / GIB
        + price[:, 2] * gpus
    )
    amounts: Floats = np.where(
        done, rate * (np.where(done, state.ends, 0.0) - np.where(done, state.started, 0.0)), 0.0
    )
    return amounts


def fairness(world: World, state: State) -> float:
    """Return Jain's index of users' progress, (sum x)^2 / (users sum x^2): 1 where all fare alike, 1 / users at worst.

    x is the mean over a user's tasks of 1 / slowdown: which share of the speed it would have alone it has.

    Source: Jain, Chiu and Hawe 1984.
    """
    progress = 1.0 / slowdowns(world, state)
    count = np.bincount(world.tasks.user)
    mean = np.bincount(world.tasks.user, progress)[count > 0] / count[count > 0]
    return float(mean.sum() ** 2 / (len(mean) * (mean**2).sum()))
