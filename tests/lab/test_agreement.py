"""The hub's real reactor and the compiled simulator of its rules do the same with any history."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.errors import InvalidInput
from farlane.lab.agreement import Agreement, agree
from farlane.lab.hub_columns import RULES, simulate
from farlane.lab.replay import replay
from farlane.lab.traces.journal import read_journal
from farlane.scheduler.heuristics import HEURISTICS
from farlane.testing.builders import a_job, a_node
from farlane.testing.past_worlds import a_history, a_past_job, a_random_history
from farlane.testing.running_hub import RunningHub, submit

ELM = a_node("elm", cpu=1000)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    rule=st.sampled_from(sorted(RULES)),
    round_s=st.sampled_from([None, 0.25, 7.0, 60.0]),
)
def test_random_histories_agree(seed: int, rule: str, round_s: float | None) -> None:
    history = a_random_history(seed, jobs=5, nodes=3)
    found = agree(history, rule, None if round_s == 0.25 and seed % 8 else round_s)
    assert found.exact, found.text(history)


def test_every_rule_is_compiled() -> None:
    assert sorted(RULES) == sorted(rule.name for rule in HEURISTICS)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_many_short_tasks_agree_while_they_queue_ahead(rule: str) -> None:
    jobs = [a_past_job(at, [0.02] * 30, a_job(profile="f", estimate_ms=30)) for at in (0.0, 0.1)]
    history = a_history([ELM, a_node("oak", cpu=2000)], [*jobs, a_past_job(0.05, [5.0])])
    found = agree(history, rule, None)
    assert found.exact, found.text(history)
    assert found.real.rounds < 60


async def test_what_a_real_hub_recorded_agrees(tmp_path: Path) -> None:
    async with (
        RunningHub(tmp_path) as hub,
        hub.client() as client,
        hub.node("elm", cpu=500) as elm,
        hub.node("oak", cpu=250) as oak,
    ):
        await elm.work(lambda lease: b"")
        await oak.work(lambda lease: b"")
        for number in range(4):
            job = await submit(client, [b"x"] * (3 + number), key=str(number))
            await job.wait()
    history = read_journal(tmp_path / "store.db")
    assert history.tasks == 3 + 4 + 5 + 6
    for rule in RULES:
        found = agree(history, rule, 0.25)
        assert found.exact, found.text(history)


def test_what_differs_is_said() -> None:
    history = a_history([ELM], [a_past_job(0, [1.0]), a_past_job(0, [2.0, 3.0])])
    real = replay(history, HEURISTICS[0], round_s=None)
    other = replace(real, started=real.started + np.array([0.0, 0.0, 1.0]))
    assert "1 of 3 tasks differ, first of job 1 task 2: real: start" in Agreement(
        3, np.array([2]), real, other
    ).text(history)
    assert "but 3 rounds" in Agreement(3, np.array([]), real, replace(real, rounds=9)).text(history)
    assert Agreement(3, np.array([]), real, real).text(history) == "3 tasks, 3 rounds: equal"


@pytest.mark.parametrize(
    ("spec", "rule", "says"),
    [(a_job(budget=10), "fifo", "jobs with budgets"), (a_job(), "learned", "it is no rule")],
)
def test_what_is_not_mirrored_is_refused(spec: object, rule: str, says: str) -> None:
    history = a_history([ELM], [a_past_job(0, [1.0], spec)])  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=says):
        simulate(history, rule, None)
