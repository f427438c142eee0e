"""A day of a global AI network, made up: machines of several owners and time zones, and the work that arrives."""

from __future__ import annotations

import numpy as np

from farlane.lab.generators.jobs import MAKERS, Crowd, Job, arrival_s, make_crowd
from farlane.lab.generators.machines import HOUR, make_machines, speeds
from farlane.lab.generators.settings import NetworkSettings
from farlane.scheduler.sim.world import Changes, Floats, Nodes, Tasks, World


def global_network(settings: NetworkSettings, seed: int, *, most: int = 1 << 62) -> World:
    """Return a day of a network; equal settings and seed give equal worlds.

    Nodes, catalogue and each kind of work have random numbers of their own: more load leaves the nodes as they are. Of
    each kind of work no more is made up once it has `most` tasks.
    """
    streams = [np.random.default_rng(each) for each in np.random.SeedSequence(seed).spawn(2 + len(MAKERS))]
    nodes, changes = make_machines(settings, streams[0])
    crowd = make_crowd(settings, streams[1])
    work = settings.load * capacity(nodes, changes, settings.hours * HOUR)
    jobs, users, arrivals = [], [], []
    for share, maker, random in zip(settings.mix, MAKERS, streams[2:], strict=True):
        left, count = work * share / sum(settings.mix), 0
        while left > 0.0 and count < most:
            job = maker(settings, crowd, random)
            count += len(job.run_s)
            user = int(random.choice(settings.users, p=crowd.weight))
            left -= job.work
            jobs.append(job)
            users.append(user)
            arrivals.append(arrival_s(settings, random, int(crowd.region[user])))
    tasks = _tasks(jobs, users, np.array(arrivals))
    return World(nodes, tasks, changes, speeds(), crowd.model_bytes)


def capacity(nodes: Nodes, changes: Changes, until_s: float) -> float:
    """Return what GPUs that are online could do until some time: seconds of a T4, kinds of work in equal parts."""
    online = online_s(len(nodes.gpus), changes, until_s)
    speed = speeds()[:2].mean(axis=0)[nodes.gpu_model]
    return float((online * nodes.gpus * speed).sum())


def online_s(nodes: int, changes: Changes, until_s: float) -> Floats:
    """Return how long each node is online from 0 to some time: (nodes,) seconds."""
    total, since = np.zeros(nodes), np.zeros(nodes)
    for at, node, online in zip(
        changes.at.tolist(), changes.node.tolist(), changes.online.tolist(), strict=True
    ):
        if online:
            since[node] = min(at, until_s)
        else:
            total[node] += min(at, until_s) - since[node]
            since[node] = np.inf
    there = np.isfinite(since)
    total[there] += until_s - since[there]
    return total


def _tasks(jobs: list[Job], users: list[int], arrivals: Floats) -> Tasks:
    """Return all jobs' tasks in the order of their arrival."""
    order = np.argsort(arrivals, kind="stable")
    chosen = [jobs[row] for row in order]
    counts = np.array([len(job.run_s) for job in chosen])
    first = np.cumsum(counts) - counts
    arrival = np.repeat(arrivals[order], counts)
    patience = np.repeat([job.patience_s for job in chosen], counts)
    edges = [
        (row + parent, row + child)
        for row, job in zip(first.tolist(), chosen, strict=True)
        for parent, child in job.edges
    ]
    pairs = np.array(edges, np.int64).reshape(-1, 2)
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    total = int(counts.sum())

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(job, name) for job in chosen])

    return Tasks(
        arrival=arrival, demand=column("demand"), gpus=column("gpus"), gpu_milli=column("gpu_milli"),
        gpu_models=np.repeat(np.array([job.gpu_models for job in chosen], np.int64), counts), vram=column("vram"),
        run_s=column("run_s"), kind=column("kind"), estimate_s=column("estimate_s"),
        user=np.repeat(np.array(users, np.int64)[order], counts), model=column("model"),
        parents=np.bincount(pairs[:, 1], minlength=total).astype(np.int64),
        first_child=np.searchsorted(pairs[:, 0], np.arange(total + 1)).astype(np.int64),
        children=np.ascontiguousarray(pairs[:, 1]),
        priority=np.repeat(np.array([job.priority for job in chosen], np.int64), counts),
        deadline=arrival + patience, budget=column("budget"),
        gang=column("gang") + np.repeat(first, counts),
    )  # fmt: skip


__all__ = ["Crowd", "capacity", "global_network", "online_s"]
