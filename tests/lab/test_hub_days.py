"""Made-up days on the hub's own reactor: what is written is what arrives, runs at its node's pace, and is scored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from farlane.lab.generators.settings import scenario
from farlane.lab.hub_days import HubDay, day_scores, hub_day
from farlane.lab.replay import Outcome, replay
from farlane.lab.replay_report import arrivals
from farlane.scheduler.policy import policy_named


def small(name: str, seed: int = 3) -> HubDay:
    return hub_day(replace(scenario(name), nodes=4, hours=0.5), seed)


@pytest.fixture(scope="module")
def day() -> HubDay:
    return small("churny")


@pytest.fixture(scope="module")
def outcome(day: HubDay) -> Outcome:
    return replay(day.history, policy_named("fifo"), stretch=day.stretch)


def test_equal_seeds_give_equal_days_and_others_do_not(day: HubDay) -> None:
    assert small("churny").history.changes == day.history.changes
    assert [job.spec for job in small("churny").history.jobs] == [job.spec for job in day.history.jobs]
    assert [job.spec for job in small("churny", 4).history.jobs] != [job.spec for job in day.history.jobs]


def test_like_tasks_are_one_job_and_stages_come_after_what_they_wait_for(day: HubDay) -> None:
    jobs = day.history.jobs
    assert len(day.deadline) == day.history.tasks == sum(job.tasks for job in jobs)
    assert len(jobs) < day.history.tasks
    assert [job.opened_at for job in jobs] == sorted(job.opened_at for job in jobs)
    assert day.pace.shape == day.price.shape == (len(jobs), 4)


def test_tasks_run_at_the_pace_of_their_node(day: HubDay, outcome: Outcome) -> None:
    of = np.repeat(np.arange(len(day.history.jobs)), [job.tasks for job in day.history.jobs])
    run_s = np.concatenate([job.run_s for job in day.history.jobs])
    done = outcome.done > 0
    took = (outcome.ended - outcome.started)[done]
    assert took == pytest.approx((run_s * day.pace[of, outcome.node])[done], abs=1e-3)
    assert len(set(day.pace.ravel().tolist())) > 1


def test_scores_are_those_of_what_ended_and_the_rest_ends_with_all(day: HubDay, outcome: Outcome) -> None:
    scores = day_scores(day, outcome)
    done, came = outcome.done > 0, arrivals(day.history)
    assert scores.lost == int((~done).sum())
    over = np.nanmax(np.concatenate([outcome.ended, came]))
    assert scores.completion_mean_s == pytest.approx((np.where(done, outcome.ended, over) - came).mean())
    assert scores.slowdown_mean >= 1.0
    assert scores.cost > 0.0
    nothing = replace(outcome, done=np.zeros(len(done), np.int64))
    worse = day_scores(day, nothing)
    assert worse.completion_mean_s > scores.completion_mean_s
    assert (worse.lost, worse.cost) == (len(done), 0.0)
    assert worse.missed == 1.0 >= scores.missed


def test_every_scenario_can_be_replayed_under_the_learned_policy() -> None:
    for name in ("calm", "busy", "models"):
        day = small(name)
        outcome = replay(day.history, policy_named("learned"), stretch=day.stretch)
        assert outcome.done.all() or np.isfinite(day.deadline[outcome.done == 0]).all()
