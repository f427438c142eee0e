"""The hub's own reactor in virtual time: exact starts, ends and nodes of small histories."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.domain.resources import GIB, Resources
from farlane.errors import InvalidInput
from farlane.lab.history import Change, History
from farlane.lab.replay import Outcome, replay
from farlane.scheduler.policy import policy_named
from farlane.testing.builders import T4, a_gpu_node, a_job, a_node, gpus
from farlane.testing.past_worlds import START_S, a_history, a_past_job

ELM, OAK = a_node("elm", cpu=1000), a_node("oak", cpu=1000)
FIFO = policy_named("fifo")


def run(history: History, policy: str = "fifo", round_s: float | None = None) -> Outcome:
    return replay(history, policy_named(policy), round_s=round_s)


def seconds(times: np.ndarray) -> list[float]:
    return [round(float(at) - START_S, 6) for at in times]


def test_tasks_wait_for_room_in_order() -> None:
    found = run(a_history([ELM], [a_past_job(0, [5.0, 3.0]), a_past_job(1, [2.0])]))
    assert seconds(found.started) == [0, 5, 8]
    assert seconds(found.ended) == [5, 8, 10]
    assert (found.node.tolist(), found.done.tolist(), found.leases) == ([0, 0, 0], [1, 1, 1], 3)


def test_the_policy_decides() -> None:
    jobs = [a_past_job(0, [1.0]), a_past_job(0.1, [9.0], a_job(profile="", estimate_ms=9000)),
            a_past_job(0.2, [2.0], a_job(profile="", estimate_ms=2000))]  # fmt: skip
    assert seconds(run(a_history([ELM], jobs)).started) == [0, 1, 10]
    assert seconds(run(a_history([ELM], jobs), "shortest-first").started) == [0, 3, 1]


def test_work_of_a_node_that_goes_starts_again_elsewhere() -> None:
    history = a_history(
        [ELM], [a_past_job(0, [10.0])], [Change(START_S + 4, 0, False), Change(START_S + 6, 0, True)]
    )
    found = run(history)
    assert (seconds(found.started), seconds(found.ended), found.leases) == ([6], [16], 2)


def test_batches_come_when_they_came() -> None:
    found = run(a_history([ELM, OAK], [a_past_job(0, [0.5, 0.5, 3.0], batches=[2, 1])]))
    assert seconds(found.started) == [0, 0, 1]


def test_what_somebody_stopped_is_stopped() -> None:
    job = a_past_job(0, [np.inf, 4.0], stopped_at=START_S + 6)
    found = run(a_history([ELM], [job, a_past_job(1, [2.0])]))
    assert seconds(found.started)[2] == 6
    assert found.done.tolist() == [0, 0, 1]


def test_deadlines_end_what_is_late() -> None:
    late = a_past_job(0, [9.0], a_job(profile="", deadline_at=START_S + 3))
    found = run(a_history([ELM], [late, a_past_job(1, [1.0])]))
    assert found.done.tolist() == [0, 1]
    assert seconds(found.ended) == [3, 4]


def test_attempts_that_failed_fail_again() -> None:
    job = a_past_job(0, [2.0], a_job(profile="", retries=1), mishaps={0: (3.0,)})
    found = run(a_history([ELM], [job]))
    assert (seconds(found.ended), found.leases) == ([5], 2)


def test_kinds_of_gpus_that_come_later_do_not_matter() -> None:
    nodes = [ELM, a_gpu_node("g", (T4, 1))]
    jobs = [a_past_job(0, [2.0, 2.0], a_job(resources=gpus(1), profile=""))]
    found = run(a_history(nodes, jobs))
    assert (found.node.tolist(), seconds(found.started)) == ([1, 1], [0, 2])


def test_short_tasks_queue_ahead_on_their_node() -> None:
    job = a_past_job(0, [0.01] * 20, a_job(profile="", estimate_ms=10))
    found = run(a_history([ELM], [job]))
    assert found.rounds <= 11  # not one for each task
    assert seconds(found.ended)[-1] == pytest.approx(0.2)


def test_budgets_end_what_they_do_not_cover() -> None:
    found = run(a_history([ELM], [a_past_job(0, [1.0], a_job(profile="", budget=1))]))
    assert found.done.tolist() == [0]


def test_rounds_follow_while_work_waits() -> None:
    small, large = Resources(1000, GIB, GIB), Resources(2000, GIB, GIB)
    history = a_history([a_node("elm", cpu=2000)], [
        a_past_job(0, [100.0], a_job(profile="", resources=small)),
        a_past_job(1, [1.0], a_job(profile="", resources=large)),
    ])  # fmt: skip
    assert replay(history, FIFO, round_s=10.0).rounds >= replay(history, FIFO, round_s=None).rounds + 9


def test_progress_is_told_and_nothing_is_refused() -> None:
    told: list[tuple[int, int]] = []
    replay(
        a_history([ELM], [a_past_job(0, [1.0])]),
        FIFO,
        progress=lambda done, tasks: told.append((done, tasks)),
    )
    assert told == [(1, 1)]
    with pytest.raises(InvalidInput, match="no task"):
        replay(a_history([ELM], []), FIFO)


def test_work_of_high_priority_displaces_where_that_is_asked_for() -> None:
    low, high = a_job(profile="", priority=10), a_job(profile="", priority=90)
    history = a_history(
        [ELM], [a_past_job(0, [100.0], low), a_past_job(1, [1.0], high), a_past_job(20, [1.0], high)]
    )
    assert seconds(replay(history, FIFO, round_s=5.0).started)[1] == 100
    assert seconds(replay(history, FIFO, round_s=5.0, preempt=True).started)[1] < 30
