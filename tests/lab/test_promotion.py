"""When a policy may replace another: only where an interval excludes a loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from farlane.errors import InvalidInput
from farlane.lab.history import History
from farlane.lab.promotion import judge, weigh
from farlane.lab.replay import Outcome, replay
from farlane.scheduler.policy import policy_named
from farlane.testing.builders import a_job, a_node
from farlane.testing.past_worlds import a_history, a_past_job

SHORT, FIFO = ("shortest-first", policy_named("shortest-first")), ("fifo", policy_named("fifo"))


def crowded(jobs: int, seed: int = 1) -> History:
    """Return jobs of very different length that queue on one node, as many at once as wait for one another."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(jobs):
        run_s = float(random.choice([1.0, 60.0]))
        spec = a_job(profile="", estimate_ms=int(run_s * 1000))
        found.append(a_past_job(300.0 * (number // 10) + number % 10, [run_s], spec))
    return a_history([a_node("elm", cpu=1000)], found)


def test_a_policy_that_is_better_throughout_passes() -> None:
    evidence = judge(crowded(100), SHORT, FIFO)
    assert (evidence.passed, evidence.reasons) == (True, ())
    assert evidence.completion.high < 1.0
    assert (evidence.windows, evidence.jobs, evidence.tasks, evidence.lost) == (20, 100, 100, 0)


def test_one_that_is_worse_does_not() -> None:
    evidence = judge(crowded(100), FIFO, SHORT)
    assert not evidence.passed
    assert "completion times are" in evidence.reasons[0]
    assert "times as long, at the least" in evidence.reasons[0]


def scaled(outcome: Outcome, history: History, factors: np.ndarray) -> Outcome:
    """Return an outcome whose completion times are those of another times a factor each."""
    arrived = np.array([job.opened_at for job in history.jobs])
    ended = arrived + (outcome.ended - arrived) * factors
    return replace(outcome, ended=ended, started=np.minimum(outcome.started, ended))


def test_a_doubt_is_told_with_the_jobs_that_would_settle_it() -> None:
    history = crowded(100)
    real = replay(history, FIFO[1])
    factors = np.where(np.arange(100) // 10 % 2, 0.7, 1.25)
    evidence = weigh(history, {"new": scaled(real, history, factors), "fifo": real}, "new", "fifo")
    assert evidence.completion.value < 1.0 < evidence.completion.high
    assert any("more jobs would settle it" in reason for reason in evidence.reasons)


def test_tasks_that_are_lost_stand_against_it() -> None:
    history = crowded(100)
    real = replay(history, FIFO[1])
    better = scaled(real, history, np.full(100, 0.5))
    done = better.done.copy()
    done[3] = 0
    evidence = weigh(history, {"new": replace(better, done=done), "fifo": real}, "new", "fifo")
    assert evidence.reasons == ("1 more tasks end without a result",)


def test_a_history_that_is_too_short_says_how_much_is_missing() -> None:
    with pytest.raises(
        InvalidInput, match=r"10 jobs in 2 windows; at least 8 windows are needed.*some 30 more jobs"
    ):
        judge(crowded(10), SHORT, FIFO)
    with pytest.raises(InvalidInput, match="nothing to compare"):
        judge(crowded(60), FIFO, FIFO)
