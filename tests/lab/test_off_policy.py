"""Off-policy evaluation: the truth of a made-up log lies in the intervals; estimates are right where they must be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from farlane.errors import InvalidInput
from farlane.hub.deciding.decision_log import (
    FEATURES,
    Chosen,
    DecisionWriter,
    LoggedDecision,
    Sent,
    read_decisions,
)
from farlane.lab.off_policy import Samples, evaluate, predicted, shadow_samples

ACTIONS = 3


def softmax(scores):
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


class Bandit:
    """Contexts x, three actions of known mean reward, and two policies over them."""

    def __init__(self, seed: int, count: int) -> None:
        self.random = np.random.default_rng(seed)
        self.x = self.random.normal(size=(count, 2))
        self.mean = np.column_stack((self.x[:, 0], 1 - self.x[:, 0], 0.5 + self.x[:, 1] ** 2 * 0.3))
        self.logging = softmax(np.column_stack((self.x[:, 1], 0.5 * self.x[:, 0], np.zeros(count))))
        self.target = softmax(2.0 * self.mean)
        self.truth = float((self.target * self.mean).sum(axis=1).mean())

    def features(self, action):
        """Of context and action: one block for each action, so that a linear model can be right."""
        wide = np.zeros((len(self.x), ACTIONS * 3))
        for at in range(ACTIONS):
            part = (action == at)[:, None] * np.column_stack((np.ones(len(self.x)), self.x))
            wide[:, at * 3 : at * 3 + 3] = part
        return wide

    def samples(self, *, wrong_model: bool = False, wrong_propensity: bool = False) -> Samples:
        count = len(self.x)
        uniform = self.random.random((count, 1))
        action = (self.logging.cumsum(axis=1) < uniform).sum(axis=1)
        rows = np.arange(count)
        reward = self.mean[rows, action] + self.random.normal(scale=0.3, size=count)
        wanted = sum(self.features(np.full(count, at)) * self.target[:, at : at + 1] for at in range(ACTIONS))
        logged = self.features(action)
        blank = np.zeros((count, 1))
        return Samples(
            rows, np.full(count, 1 / 3) if wrong_propensity else self.logging[rows, action],
            self.target[rows, action], reward, blank if wrong_model else logged, blank if wrong_model else wanted,
        )  # fmt: skip


def test_the_truth_lies_in_most_intervals_and_the_estimates_are_near_it() -> None:
    covered = {"ips": 0, "snips": 0, "dr": 0}
    wide: dict[str, list[float]] = {name: [] for name in covered}
    runs = 20
    for seed in range(runs):
        bandit = Bandit(seed, 1000)
        found = evaluate(bandit.samples(), seed=seed, resamples=200)
        assert found["logged"].high < bandit.truth  # the log's policy earns less: nothing here is read off it
        for name in covered:
            covered[name] += found[name].low <= bandit.truth <= found[name].high
            wide[name].append(found[name].high - found[name].low)
            assert abs(found[name].value - bandit.truth) < 0.25
    assert all(count >= 0.8 * runs for count in covered.values()), covered
    assert np.mean(wide["dr"]) < np.mean(wide["ips"])


@pytest.mark.parametrize("wrong", ["wrong_model", "wrong_propensity"])
def test_doubly_robust_bears_one_wrong_part(wrong: str) -> None:
    errors = [
        evaluate(bandit.samples(**{wrong: True}), seed=1, resamples=2)["dr"].value - bandit.truth
        for bandit in (Bandit(seed, 4000) for seed in range(6))
    ]
    assert abs(np.mean(errors)) < 0.06
    if wrong == "wrong_propensity":
        ips = [
            evaluate(bandit.samples(wrong_propensity=True), seed=1, resamples=2)["ips"].value - bandit.truth
            for bandit in (Bandit(seed, 4000) for seed in range(6))
        ]
        assert abs(np.mean(ips)) > abs(np.mean(errors))


def test_the_same_policy_earns_what_was_earned() -> None:
    samples = Bandit(1, 500).samples()
    found = evaluate(replace(samples, target=samples.propensity), seed=3)
    assert found["ips"].value == pytest.approx(found["logged"].value)
    assert found["ips"].effective == pytest.approx(500)
    assert found["ips"].beats(found["ips"].low - 1e-9)
    assert not found["ips"].beats(found["ips"].value)
    assert evaluate(samples, seed=3) == evaluate(samples, seed=3)


def test_a_policy_that_the_log_never_follows_has_no_effective_samples() -> None:
    samples = Bandit(1, 50).samples()
    found = evaluate(replace(samples, target=np.zeros(50)), seed=3)
    assert (found["snips"].value, found["snips"].effective) == (0.0, 0.0)


def test_weights_can_be_cut_off() -> None:
    samples = Bandit(2, 500).samples()
    assert evaluate(samples, seed=1, most=1.0)["ips"].value < evaluate(samples, seed=1)["ips"].value


def test_one_decision_cannot_be_split_into_folds() -> None:
    samples = Bandit(2, 20).samples()
    at_logged, at_wanted = predicted(
        replace(samples, decision=np.zeros(20, np.int64)), np.random.default_rng(1)
    )
    assert set(at_logged) == set(at_wanted) == {samples.reward.mean()}


def test_what_is_no_sample_is_refused() -> None:
    samples = Bandit(2, 20).samples()
    with pytest.raises(InvalidInput, match="propensities"):
        replace(samples, propensity=np.zeros(20))
    with pytest.raises(InvalidInput, match="no sample"):
        shadow_samples([], "fifo", lambda decision, chosen: 1.0)


def test_a_log_alone_serves_to_compare_a_shadow_rule(tmp_path: Path) -> None:
    """On node `b` a placement earns 1, on `a` nothing; the log's policy tosses a coin, the rule always takes `b`."""
    random = np.random.default_rng(5)
    writer = DecisionWriter(tmp_path, 16 << 20)
    blank = (0.0,) * (len(FEATURES) - 1)
    for at in range(400):
        on_b = random.random() < 0.3
        chosen = Chosen(at, "b" if on_b else "a", 1, 0, (float(on_b), *blank), 1.0, 0.3 if on_b else 0.7)
        shadow = Sent(at, "b", 2, 0, (1.0, *blank))
        writer.write(
            LoggedDecision(
                float(at), "", "policy", "policy", "coin", 2, 1, 1, (chosen,), shadows={"rule": (shadow,)}
            )
        )
    writer.write(
        LoggedDecision(1e3, "", "rule", "timeout", "coin", 2, 1, 1, (chosen,), shadows={"rule": (shadow,)})
    )
    writer.write(LoggedDecision(1e3, "", "policy", "policy", "coin", 2, 1, 1, (chosen,)))
    samples = shadow_samples(read_decisions(tmp_path), "rule", lambda decision, each: float(each.node == "b"))
    assert (len(samples.reward), samples.left_out) == (400, 2)
    found = evaluate(samples, seed=1)
    assert found["logged"].value == pytest.approx(0.3, abs=0.07)
    for name in ("ips", "snips", "dr"):
        assert found[name].value == pytest.approx(1.0, abs=0.25)
        assert found[name].low > found["logged"].high
    assert found["dr"].high - found["dr"].low < found["ips"].high - found["ips"].low
