"""Columns: a history as the compiled simulator of the hub's own rules wants it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from farlane.domain.nodes import NodeSpec
from farlane.domain.resources import GpuKind
from farlane.errors import InvalidInput
from farlane.hub.reactor.requirements import Requirement, requirement_of
from farlane.lab.history import History, first_tasks
from farlane.lab.replay import Outcome
from farlane.scheduler.eligibility import allowed, capacity_row, demands, eligible
from farlane.scheduler.queue_ahead import HORIZON_S
from farlane.scheduler.sharing import prices
from farlane.scheduler.sim.hub_rules import run_hub
from farlane.scheduler.sim.hub_world import (
    LEASES,
    NONE,
    ROUNDS,
    HubChoice,
    HubOrder,
    HubWorld,
    new_hub_state,
)
from farlane.scheduler.sim.world import Bools, Floats, Ints
from farlane.scheduler.view import NodeColumns

RULES: dict[str, tuple[HubOrder, HubChoice]] = {
    "fifo": (HubOrder.FIFO, HubChoice.CHEAPEST),
    "shortest-first": (HubOrder.SHORTEST, HubChoice.CHEAPEST),
    "best-fit": (HubOrder.FIFO, HubChoice.TIGHTEST),
    "spread": (HubOrder.FIFO, HubChoice.EMPTIEST),
}
"""The rules of `farlane.scheduler.heuristics` that are compiled."""
K = TypeVar("K")


def unlike(history: History) -> list[str]:
    """Return what of a history the compiled rules do not know: empty where they do it all."""
    found = []
    if any(job.spec.budget is not None for job in history.jobs):
        found.append("jobs with budgets")
    if any(job.spec.serve is not None for job in history.jobs):
        found.append("replicas of models")
    return found


def simulate(history: History, rule: str, round_s: float | None) -> Outcome:
    """Run a history under one of the hub's rules, compiled: what `replay` gives.

    Raises:
        InvalidInput: the rule is not compiled, or the history has what is not mirrored.
    """
    if rule not in RULES or unlike(history):
        raise InvalidInput(
            f"{rule!r} cannot be simulated here: {', '.join(unlike(history)) or 'it is no rule'}"
        )
    world, nodes = hub_world(history)
    state = new_hub_state(world)
    order, choice = RULES[rule]
    run_hub(world, state, int(order), int(choice), np.inf if round_s is None else round_s)
    node = np.where(state.node == NONE, NONE, nodes[state.node])
    rounds, leases = int(state.marks[ROUNDS]), int(state.marks[LEASES])
    return Outcome(state.started, state.ended, node, state.done, rounds, leases)


def hub_world(history: History) -> tuple[HubWorld, Ints]:
    """Return the columns of a history, and which of its nodes each row is: (n,)."""
    order = _first_coming(history)
    rows = {node: row for row, node in enumerate(order)}
    specs = [history.nodes[node] for node in order]
    kinds = tuple(dict.fromkeys(kind for spec in specs for kind, _ in spec.capacity.gpus))
    classes = list(dict.fromkeys(requirement_of(job.spec) for job in history.jobs))
    cls = {requirement: row for row, requirement in enumerate(classes)}
    requirements = [requirement_of(job.spec) for job in history.jobs]
    waits = [(job.spec.priority, job.spec.project) for job in history.jobs]
    queues = _numbers(list(zip(waits, requirements, strict=True)))
    profiles = _numbers([job.spec.profile for job in history.jobs])
    profile = np.where([bool(job.spec.profile) for job in history.jobs], profiles, NONE)
    changes = [change for change in history.changes if change.node in rows]
    run_s = np.concatenate([job.run_s for job in history.jobs])
    options, demand, can, may, price = _classes(classes, specs, kinds)
    batches, endings = _batches(history), _endings(history)
    first, mishaps = _mishaps(history)
    world = HubWorld(
        capacity=np.array([capacity_row(spec.capacity, kinds) for spec in specs], np.int64),
        window=np.full(len(specs), HORIZON_S), options=options, demand=demand, eligible=can, allowed=may, price=price,
        cls=np.array([cls[wanted] for wanted in requirements], np.int64),
        priority=np.array([job.spec.priority for job in history.jobs], np.int64),
        deadline=_floats([job.spec.deadline_at for job in history.jobs], np.inf),
        stop_at=_floats([job.stopped_at for job in history.jobs], np.inf),
        timeout_s=np.array([job.spec.timeout_ms / 1000 for job in history.jobs]),
        estimate_s=_floats([job.spec.estimate_ms for job in history.jobs], np.nan) / 1000,
        profile=profile.astype(np.int64), queue=queues,
        retries=np.array([job.spec.retries for job in history.jobs], np.int64),
        batches=np.array([len(job.batches) for job in history.jobs], np.int64), first_task=first_tasks(history),
        run_s=run_s, lease_ms=_rounded(run_s * 1000), cpu_us=_rounded(run_s * 1e6), first_mishap=first,
        mishap_s=mishaps, batch_at=batches[0], batch_job=batches[1].astype(np.int64),
        batch_count=batches[2].astype(np.int64), end_at=endings[0], end_job=endings[1].astype(np.int64),
        end_kind=endings[2].astype(np.int64), change_at=np.array([change.at for change in changes]),
        change_node=np.array([rows[change.node] for change in changes], np.int64),
        change_online=np.array([change.online for change in changes], np.bool_),
        sizes=np.array([profiles.max(initial=0) + 1, queues.max(initial=0) + 1, len(mishaps)], np.int64),
    )  # fmt: skip
    return world, np.array(order, np.int64)


def _first_coming(history: History) -> list[int]:
    """Return the nodes in the order in which they first came; the hub numbers them so."""
    return list(dict.fromkeys(change.node for change in history.changes if change.online))


def _classes(
    classes: Sequence[Requirement], specs: Sequence[NodeSpec], kinds: tuple[GpuKind, ...]
) -> tuple[Ints, Ints, Bools, Bools, Floats]:
    """Return of each class: how many alternatives, their demands, where they could and may run, and at what price."""
    found = [demands(wanted.resources, kinds) for wanted in classes]
    n, k = len(specs), max([1, *(len(rows) for rows in found)])
    options = np.array([len(rows) for rows in found], np.int64)
    demand = np.zeros((len(classes), k, 3 + len(kinds)), np.int64)
    may, price = np.zeros((len(classes), k, n), np.bool_), np.zeros((len(classes), k, n))
    can = np.zeros((len(classes), n), np.bool_)
    columns = _node_columns(specs, kinds)
    for row, wanted in enumerate(classes):
        demand[row, : len(found[row])] = found[row]
        can[row] = [eligible(wanted, spec) for spec in specs]
        where = allowed(wanted, specs, kinds)
        may[row, : len(found[row])] = True if where is None else where
        for option, each in enumerate(found[row].tolist()):
            price[row, option] = prices(columns, each, np.arange(n))
    return options, demand, can, may, price


def _node_columns(specs: Sequence[NodeSpec], kinds: tuple[GpuKind, ...]) -> NodeColumns:
    capacity = np.array([capacity_row(spec.capacity, kinds) for spec in specs], np.int64)
    gpu = np.array([[spec.rates.gpu_rate(kind) for kind in kinds] for spec in specs], np.int64)
    return NodeColumns(
        tuple(spec.node for spec in specs), kinds, capacity, capacity, np.ones(len(specs), np.bool_),
        np.array([spec.rates.core_second for spec in specs], np.int64),
        np.array([spec.rates.gib_second for spec in specs], np.int64), gpu.reshape(len(specs), len(kinds)),
        np.zeros(len(specs)), np.zeros(len(specs)),
    )  # fmt: skip


def _batches(history: History) -> Floats:
    """Return batches as (when, job, how many), by time and then in the order of jobs: (3, b)."""
    rows = [(at, row, many) for row, job in enumerate(history.jobs) for at, many in job.batches]
    return np.array(sorted(rows, key=lambda each: each[0])).T


def _endings(history: History) -> Floats:
    """Return stops (0) and deadlines (1) as (when, job, kind), by time: (3, e)."""
    rows = [(job.stopped_at, row, 0) for row, job in enumerate(history.jobs) if job.stopped_at is not None]
    rows += [
        (job.spec.deadline_at, row, 1)
        for row, job in enumerate(history.jobs)
        if job.spec.deadline_at is not None
    ]
    return np.array(sorted(rows, key=lambda each: (each[0], each[2]))).reshape(len(rows), 3).T


def _mishaps(history: History) -> tuple[Ints, Floats]:
    """Return where each task's failed attempts begin, and their seconds."""
    each = [job.mishaps.get(index, ()) for job in history.jobs for index in range(job.tasks)]
    first = np.concatenate([[0], np.cumsum([len(times) for times in each])]).astype(np.int64)
    return first, np.array([time for times in each for time in times], np.float64)


def _numbers(keys: Sequence[K]) -> Ints:
    """Return a number for each key, equal ones alike: (j,)."""
    seen: dict[K, int] = {}
    return np.array([seen.setdefault(key, len(seen)) for key in keys], np.int64)


def _floats(values: Sequence[float | None], none: float) -> Floats:
    return np.array([none if value is None else value for value in values], np.float64)


def _rounded(values: Floats) -> Ints:
    return np.round(np.where(np.isfinite(values), values, 0.0)).astype(np.int64)
