"""Days of a made-up network as histories that the hub's own reactor replays, and what came of them.

What a hub does not do is left out: a task takes whole GPUs (the load is scaled to be the same), members of a gang are
tasks of their own, and the stages of a pipeline come when they would on an idle network of the slowest GPUs. Models are
not loaded. Nodes differ in pace, come and go, and have prices; jobs have priorities, deadlines and estimates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from farlane.domain.jobs import CommandWork, JobSpec
from farlane.domain.resources import GpuRequest, Resources
from farlane.lab.generators.global_network import global_network
from farlane.lab.generators.settings import NetworkSettings
from farlane.lab.history import Change, History, PastJob
from farlane.lab.history_worlds import MODEL, node_spec
from farlane.lab.replay import Outcome
from farlane.lab.replay_report import arrivals
from farlane.scheduler.sim.scores import SHORT_S
from farlane.scheduler.sim.world import WHOLE_GPU, Floats, Ints, World

_RUN = CommandWork("true")
_TIMEOUTS = 4.0
"""A time limit is so many times the estimate, and never less than the longest run anywhere."""


@dataclass(frozen=True, slots=True)
class HubDay:
    """A day.

    history: to replay; pace: (jobs, nodes) how many times as long a job's tasks run on a node as is written in the
    history; price: (jobs, nodes) credits a second of one task; deadline: (t,) seconds, inf without.
    """

    history: History
    pace: Floats
    price: Floats
    deadline: Floats

    def stretch(self, job: int, node: int) -> float:
        """Return how many times as long as it is written a job's tasks run on a node."""
        return float(self.pace[job, node])


@dataclass(frozen=True, slots=True)
class DayScores:
    """What came of a day; what has no result counts as if it had ended when all was over.

    completion_mean_s: from when a task came to its end; slowdown_mean: that over its run on the fastest node, bounded
    at 10 s; wait_p95_s; missed: share of tasks with a deadline that have no result by then; cost: credits of what ended
    with a result; lost: tasks without a result.
    """

    completion_mean_s: float
    slowdown_mean: float
    wait_p95_s: float
    missed: float
    cost: float
    lost: int


def hub_day(settings: NetworkSettings, seed: int) -> HubDay:
    """Return a day; equal settings and seed give equal ones."""
    draft = global_network(settings, seed).tasks
    seconds = draft.run_s * draft.gpus
    share = float((seconds * draft.gpu_milli).sum() / max(1e-9, seconds.sum()) / WHOLE_GPU)
    world = global_network(replace(settings, load=settings.load * share), seed)
    rows = _stages(world)
    nodes = tuple(
        node_spec(world.nodes, world.nodes.capacity[row].tolist(), row)
        for row in range(len(world.nodes.gpus))
    )
    jobs = tuple(_past_job(world, each, at) for each, at in rows)
    order = sorted(range(len(jobs)), key=lambda row: jobs[row].opened_at)
    heads = np.array([rows[row][0][0] for row in order])
    tasks = world.tasks
    amounts = np.stack([tasks.demand[heads, 0] / 1000.0, tasks.demand[heads, 1] / 2.0**30, tasks.gpus[heads]])
    return HubDay(
        History(nodes, _changes(world), tuple(jobs[row] for row in order)),
        1.0 / world.speed[tasks.kind[heads]][:, world.nodes.gpu_model],
        amounts.T @ world.nodes.price.T,
        np.concatenate([tasks.deadline[rows[row][0]] for row in order]),
    )


def day_scores(day: HubDay, outcome: Outcome) -> DayScores:
    """Return what came of a day under a policy."""
    came, history = arrivals(day.history), day.history
    counts = np.array([job.tasks for job in history.jobs])
    of = np.repeat(np.arange(len(counts)), counts)
    run_s = np.concatenate([job.run_s for job in history.jobs])
    done = outcome.done > 0
    over = float(np.nanmax(np.concatenate([outcome.ended, came])))
    ended = np.where(done, outcome.ended, over)
    started = np.where(done, outcome.started, over)
    fastest = run_s * day.pace.min(axis=1)[of]
    completion, due = ended - came, np.isfinite(day.deadline)
    node = np.maximum(outcome.node, 0)
    cost = day.price[of, node] * run_s * day.pace[of, node]
    return DayScores(
        float(completion.mean()),
        float(np.maximum(1.0, completion / np.maximum(fastest, SHORT_S)).mean()),
        float(np.percentile(started - came, 95)),
        float((~done | (ended > day.deadline))[due].mean()) if due.any() else 0.0,
        float(cost[done].sum()),
        int((~done).sum()),
    )


def _stages(world: World) -> list[tuple[Ints, float]]:
    """Return the rows of each job's like tasks, and when they come: rows of one arrival, user, depth and kind."""
    tasks = world.tasks
    total = len(tasks.arrival)
    comes = tasks.arrival.copy()
    depth = np.zeros(total, np.int64)
    # Parents stand before their children.
    for row in range(total):
        for child in tasks.children[tasks.first_child[row] : tasks.first_child[row + 1]]:
            comes[child] = max(comes[child], comes[row] + tasks.run_s[row])
            depth[child] = max(depth[child], depth[row] + 1)
    columns = np.stack(
        [tasks.arrival, tasks.user, depth, tasks.kind, tasks.priority, tasks.vram, tasks.gpu_models], axis=1
    )
    _, of = np.unique(columns, axis=0, return_inverse=True)
    of = of.ravel()
    order = np.argsort(of, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(of[order])) + 1) if total else []
    return [(rows, float(comes[rows].max())) for rows in parts]


def _past_job(world: World, rows: Ints, at: float) -> PastJob:
    tasks, head = world.tasks, rows[0]
    gpu = None
    if tasks.gpus[head]:
        able = [
            model for model in range(world.speed.shape[1] - 1) if int(tasks.gpu_models[head]) >> model & 1
        ]
        # A job names one kind of GPU or takes any: who insists on large ones takes any with as much memory.
        model = f"{MODEL}{able[0]}" if len(able) == 1 else None
        gpu = GpuRequest(int(tasks.gpus[head]), model, int(tasks.vram[head]))
    cpu, memory, disk = (int(amount) for amount in tasks.demand[head])
    estimate_s, deadline = float(tasks.estimate_s[rows].mean()), float(tasks.deadline[rows].min())
    slowest = float((1.0 / world.speed[tasks.kind[head]][np.unique(world.nodes.gpu_model)]).max())
    limit_s = max(_TIMEOUTS * estimate_s, float(tasks.run_s[rows].max()) * slowest) + 1.0
    spec = JobSpec(
        name=f"job {head}", command=_RUN, resources=Resources(max(1, cpu), max(1, memory), disk, gpu),
        priority=int(tasks.priority[head]), timeout_ms=round(limit_s * 1000),
        estimate_ms=max(1, round(estimate_s * 1000)), publisher=f"user {tasks.user[head]}",
        deadline_at=None if np.isinf(deadline) else deadline,
    )  # fmt: skip
    return PastJob(
        spec, at, ((at, len(rows)),), tasks.run_s[rows], counted=(True,) * len(rows), name=spec.name
    )


def _changes(world: World) -> tuple[Change, ...]:
    """Return when nodes come and go; all are there when it begins, but for those that come then."""
    changes = [Change(0.0, row, True) for row in range(len(world.nodes.gpus))]
    online = [True] * len(world.nodes.gpus)
    for at, node, there in zip(*world.changes, strict=True):
        if online[node] != there:
            online[node] = bool(there)
            changes.append(Change(float(at), int(node), bool(there)))
    return tuple(changes)
