"""Runs of a queue on one pool, by hand and against known laws."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.scheduler.sim.events import advance
from farlane.scheduler.sim.placing import TIGHTEST, place, unqueue
from farlane.scheduler.sim.queueing import run_queue
from farlane.scheduler.sim.rules import Rule, expected_s
from farlane.scheduler.sim.state import DONE, DROPPED, FINISHED, GONE, QUEUED, State, new_state
from farlane.scheduler.sim.world import World
from farlane.testing.sim_worlds import pool


def run(world: World, rule: Rule, backfill: bool = False) -> State:
    state = new_state(world)
    run_queue(world, state, int(rule), backfill)
    return state


def test_first_come_is_first_served() -> None:
    state = run(pool(4, [(0, 10, 4), (1, 5, 4), (2, 1, 4)]), Rule.FCFS)
    assert state.started.tolist() == [0, 10, 15]
    assert state.ends.tolist() == [10, 15, 16]


def test_the_shortest_goes_first_of_those_that_wait() -> None:
    state = run(pool(4, [(0, 10, 4), (0, 9, 4), (1, 5, 4), (2, 1, 4)]), Rule.SJF)
    assert state.started.tolist() == [0, 10, 20, 19]  # the second was chosen before the others came


def test_of_equals_the_one_that_arrived_first_goes_first() -> None:
    state = run(pool(4, [(0, 3, 4), (0, 3, 4), (0, 3, 4)]), Rule.SMALLEST)
    assert state.started.tolist() == [0, 3, 6]


def test_what_is_chosen_holds_up_all_others_until_it_fits() -> None:
    state = run(pool(4, [(0, 10, 3), (1, 5, 4), (2, 1, 1)]), Rule.FCFS)
    assert state.started.tolist() == [0, 10, 15]


def test_with_backfill_short_tasks_pass_what_is_held_up() -> None:
    state = run(pool(4, [(0, 10, 3), (1, 5, 4), (2, 1, 1), (2, 9, 1)]), Rule.FCFS, backfill=True)
    assert state.started.tolist() == [0, 10, 2, 15]  # 9 s would end behind the start at 10


def test_estimates_decide_what_may_pass_and_run_times_when_it_ends() -> None:
    jobs = [(0.0, 10.0, 3), (1.0, 5.0, 4), (2.0, 1.0, 1)]
    assert run(pool(4, jobs, [10, 5, 100]), Rule.FCFS, backfill=True).started.tolist() == [0, 10, 15]


def test_what_can_never_run_is_given_up_and_the_rest_goes_on() -> None:
    state = run(pool(2, [(0, 1, 3), (0, 1, 2)]), Rule.FCFS)
    assert state.status.tolist() == [GONE, DONE]
    assert (state.marks[DROPPED], state.marks[FINISHED]) == (1, 1)


@pytest.mark.parametrize("rule", list(Rule))
@pytest.mark.parametrize("backfill", [False, True])
def test_every_rule_runs_everything_and_never_more_than_there_is(rule: Rule, backfill: bool) -> None:
    random = np.random.default_rng(int(rule))
    arrivals = np.sort(random.integers(0, 200, 60)).tolist()
    jobs = [(float(at), float(random.integers(1, 40)), int(random.integers(1, 9))) for at in arrivals]
    state = run(pool(8, jobs), rule, backfill)
    assert state.marks[FINISHED] == 60
    assert state.free.tolist() == [[8, 0, 0]]
    assert (state.started >= np.array(arrivals)).all()
    for at in np.unique(state.started):
        running = (state.started <= at) & (state.ends > at)
        assert sum(job[2] for job, runs in zip(jobs, running, strict=True) if runs) <= 8


def test_what_a_users_last_two_tasks_took_is_expected_of_the_next_one() -> None:
    jobs = [(0.0, 4.0, 1), (0.0, 2.0, 1), (0.0, 6.0, 1), (10.0, 1.0, 2), (10.0, 1.0, 2), (10.0, 1.0, 2)]
    world = pool(3, jobs, [100.0, 100.0, 100.0, 100.0, 3.0, 50.0])
    world = world._replace(tasks=world.tasks._replace(user=np.array([7, 7, 7, 7, 7, 1])))
    state = new_state(world)
    while advance(world, state):
        while state.marks[QUEUED] and state.clock[0] < 10.0:
            place(world, state, unqueue(state, 0), 0, TIGHTEST)
    assert expected_s(world, state, 3) == 5.0
    assert expected_s(world, state, 4) == 3.0  # never more than was asked for
    assert expected_s(world, state, 5) == 50.0  # nothing is known of that user
