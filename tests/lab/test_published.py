"""The published protocols: which jobs the tables are of."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.errors import InvalidInput
from farlane.lab.published import inflated_order, table_starts
from farlane.lab.traces.openb import OpenbNodes, OpenbPods
from farlane.scheduler.sim.queueing import run_queue
from farlane.scheduler.sim.rules import Rule
from farlane.scheduler.sim.scores import bounded_slowdowns, gpu_allocation
from farlane.scheduler.sim.state import new_state
from farlane.testing.sim_worlds import gpu_nodes, pool


def test_sequences_begin_where_those_of_the_tables_do() -> None:
    """The rows that gym's generator with seed 1 draws for traces of 10,000 jobs."""
    assert table_starts(10_000).tolist() == [1981, 2756, 4299, 8850, 3316, 2714, 5228, 7762, 4022, 7085]
    assert table_starts(202_871).tolist() == table_starts(10_000).tolist()


def test_a_trace_that_is_too_short_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no room for sequences of 1024"):
        table_starts(2000)


def test_tasks_arrive_until_enough_gpus_were_asked_for_each_as_often_as_any() -> None:
    one = np.ones(3, np.int64)
    pods = OpenbPods(one, one, np.array([1, 0, 2]), np.array([500, 0, 1000]), one)
    nodes = OpenbNodes(one[:1], one[:1], np.array([8]), np.array([0]), ("A10",))
    order = inflated_order(nodes, pods, seed=0, arrivals=1.25)
    assert 10_000 <= pods.gpu_total[order].sum() < 12_000
    assert np.ptp(np.bincount(order, minlength=3)) <= 1


def test_a_slowdown_counts_short_jobs_as_ten_seconds() -> None:
    world = pool(1, [(0, 2, 1), (0, 100, 1)])
    state = new_state(world)
    run_queue(world, state, int(Rule.FCFS), False)
    assert bounded_slowdowns(world, state).tolist() == [1.0, 1.02]


def test_a_run_that_is_not_over_has_no_slowdown() -> None:
    world = pool(1, [(0, 2, 1)])
    with pytest.raises(InvalidInput, match="1 tasks never started"):
        bounded_slowdowns(world, new_state(world))


def test_allocation_is_of_gpus_and_needs_some() -> None:
    world = gpu_nodes([2], [])
    state = new_state(world)
    state.gpu_free[0, 0] = 500
    assert gpu_allocation(world, state) == 0.25
    world = gpu_nodes([0], [])
    with pytest.raises(InvalidInput, match="no GPU"):
        gpu_allocation(world, new_state(world))
