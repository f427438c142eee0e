"""What replays come to: means over tasks that all policies ended, and intervals over windows."""

from __future__ import annotations

import numpy as np

from farlane.lab.history import Change
from farlane.lab.replay import replay
from farlane.lab.replay_report import (
    DAY_S,
    RECORDED,
    compared,
    figures,
    recorded,
    utilisation,
    window_means,
    windows,
)
from farlane.scheduler.policy import policy_named
from farlane.testing.builders import a_node
from farlane.testing.past_worlds import START_S, a_history, a_past_job

ELM = a_node("elm", cpu=1000)


def test_figures_are_means_over_tasks() -> None:
    history = a_history([ELM], [a_past_job(0, [20.0, 20.0]), a_past_job(10, [20.0])])
    (found,) = figures(history, {"fifo": replay(history, policy_named("fifo"))})
    assert (found.policy, found.completion_s.value, found.wait_s.value) == (
        "fifo",
        (20 + 40 + 50) / 3,
        50 / 3,
    )
    assert found.slowdown.value == (1 + 2 + 2.5) / 3
    assert (found.utilisation, found.lost) == (1.0, 0)
    assert np.isnan(found.wait_s.low)


def test_intervals_hold_the_mean_where_there_are_windows() -> None:
    rng = np.random.default_rng(3)
    jobs = [a_past_job(at, rng.uniform(1, 30, 3)) for at in np.cumsum(rng.uniform(1, 60, 60))]
    history = a_history([ELM, a_node("oak", cpu=1000)], jobs)
    found = figures(history, {name: replay(history, policy_named(name)) for name in ("fifo", "spread")})
    for each in found:
        assert each.wait_s.low < each.wait_s.value < each.wait_s.high
        assert each.wait_p95_s.low <= each.wait_p95_s.value <= each.wait_p95_s.high


def test_days_are_windows_where_there_are_enough_of_them() -> None:
    days = a_history([ELM], [a_past_job(day * DAY_S, [1.0, 1.0]) for day in range(12)])
    assert windows(days).tolist() == np.repeat(range(12), 2).tolist()
    few = a_history([ELM], [a_past_job(at, [1.0]) for at in range(12)])
    assert windows(few).tolist() == [0] * 6 + [1] * 6
    assert window_means(np.arange(12.0), windows(few)).tolist() == [2.5, 8.5]


def test_only_what_ended_under_all_is_compared() -> None:
    known = {"started_at": np.array([START_S, np.nan]), "ended_at": np.array([START_S + 5, np.nan]),
             "node": np.array([0, -1]), "counted": (True, False)}  # fmt: skip
    history = a_history([ELM], [a_past_job(0, [5.0, 5.0], **known)])
    outcomes = {RECORDED: recorded(history), "fifo": replay(history, policy_named("fifo"))}
    assert compared(history, outcomes).tolist() == [True, False]
    assert figures(history, outcomes)[0].completion_s.value == 5


def test_utilisation_counts_nodes_while_they_are_there() -> None:
    away = [Change(START_S + 10, 1, False)]
    history = a_history([ELM, a_node("oak", cpu=1000)], [a_past_job(0, [20.0])], away)
    assert utilisation(history, replay(history, policy_named("fifo"))) == 20 / 30
