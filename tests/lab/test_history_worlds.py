"""Histories as worlds and worlds as histories."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.domain.resources import GIB, GpuRequest, Resources
from farlane.errors import InvalidInput
from farlane.lab.agreement import agree
from farlane.lab.history import Change
from farlane.lab.history_worlds import history_of_world, world_of
from farlane.scheduler.sim.queueing import run_queue
from farlane.scheduler.sim.rules import Rule
from farlane.scheduler.sim.state import new_state
from farlane.scheduler.sim.world import ANY_GPU, World
from farlane.testing.builders import A100, T4, a_gpu_node, a_job, a_node
from farlane.testing.past_worlds import START_S, a_history, a_past_job
from farlane.testing.sim_worlds import gpu_nodes, pool


def test_a_history_becomes_columns() -> None:
    wanted = Resources(500, GIB, GIB, GpuRequest(1, "A100"))
    jobs = [
        a_past_job(0, [5.0, 7.0], a_job(profile="", resources=wanted, estimate_ms=9000, priority=70), batches=[1, 1]),
        a_past_job(0.5, [np.inf], a_job(profile="", publisher="bob", deadline_at=START_S + 60), stopped_at=START_S + 8),
    ]  # fmt: skip
    nodes = [a_node("n"), a_gpu_node("g", (T4, 2)), a_gpu_node("h", (A100, 1))]
    away = [Change(START_S + 20, 1, False), Change(START_S + 50, 1, True)]
    world, order = world_of(a_history(nodes, jobs, away))
    assert order.tolist() == [0, 2, 1]
    assert world.tasks.arrival.tolist() == [0, 0.5, 1]
    assert world.tasks.run_s.tolist() == [5, 7.5, 7]
    assert world.tasks.estimate_s.tolist() == [9, 60, 9]
    assert world.tasks.gpu_models.tolist() == [0b10, ANY_GPU, 0b10]
    assert (world.tasks.user.tolist(), world.tasks.priority.tolist()) == ([0, 1, 0], [70, 50, 70])
    assert world.tasks.deadline.tolist() == [np.inf, 60, np.inf]
    assert (world.nodes.gpus.tolist(), world.nodes.gpu_model.tolist()) == ([0, 2, 1], [-1, 0, 1])
    assert world.changes.at.tolist() == [20, 50]
    assert world.nodes.hazard.tolist() == [0, 1 / 50, 0]


def test_nodes_that_come_later_are_away_at_first() -> None:
    history = a_history([a_node("elm")], [a_past_job(0, [1.0])])
    late = type(history)(history.nodes, (Change(START_S + 9, 0, True),), history.jobs)
    changes = world_of(late)[0].changes
    assert (changes.at.tolist(), changes.online.tolist()) == ([0, 9], [False, True])


def test_nodes_with_several_kinds_are_refused() -> None:
    with pytest.raises(InvalidInput, match="g have several"):
        world_of(a_history([a_gpu_node("g", (T4, 1), (A100, 1))], [a_past_job(0, [1.0])]))


def test_a_queue_runs_through_the_reactor_as_on_paper() -> None:
    world = pool(4, [(0, 10, 3), (1, 5, 2), (2, 5, 1), (3, 2, 4)])
    ran = new_state(world)
    run_queue(world, ran, int(Rule.FCFS), False)
    history = history_of_world(world)
    found = agree(history, "fifo")
    assert found.exact, found.text(history)
    # The hub lets work pass that delays nobody: the third starts at once, on paper without backfill it waits.
    assert ran.started.tolist() == [0, 10, 10, 15]
    assert found.real.started.tolist() == [0, 10, 2, 15]


def test_what_the_hub_does_not_do_is_refused() -> None:
    world = gpu_nodes([2], [(1, 1, 300)])
    with pytest.raises(InvalidInput, match="it has shares of GPUs"):
        history_of_world(world)
    whole = gpu_nodes([2, 1, 1], [(1, 1, 1000)], models=[0, 1, 2])
    tasks = whole.tasks._replace(gpu_models=np.array([0b11]))
    with pytest.raises(InvalidInput, match="task 0 can use some models"):
        history_of_world(World(whole.nodes, tasks, whole.changes, whole.speed, whole.model_bytes))
