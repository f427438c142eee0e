"""Off-policy evaluation: what another policy would have earned, estimated from a log of decisions and their rewards.

Each sample is one placement that was made: how likely the policy that made it was to make it (its propensity), how
likely the policy in question would have been, and what it earned.

Three estimates of the mean reward under the policy in question:

* IPS weighs each reward by target / propensity. Unbiased, of great variance.
* SNIPS divides by the sum of the weights instead of their number. Slightly biased, steadier.
* DR predicts rewards by a model and corrects it by weighted residuals. Unbiased if propensities or model are right.

All of them say nothing of actions that the log's policy never takes: see `Estimate.effective`.

Source: Horvitz and Thompson 1952 (IPS); Swaminathan and Joachims 2015 (SNIPS); Dudik, Langford and Li 2011 (DR);
Chernozhukov et al. 2018 (cross-fitting: no sample is predicted by a model that has seen it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farlane.errors import InvalidInput
from farlane.hub.deciding.decision_log import Chosen, LoggedDecision, Sent

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Reward = Callable[[LoggedDecision, Chosen], float | None]
"""What a placement has earned, higher is better; None where that is not known."""

RESAMPLES = 1000
LEVEL = 0.95
RIDGE = 1e-2
"""Of the reward's model, on standardised features."""
FOLDS = 2


@dataclass(frozen=True, slots=True)
class Samples:
    """n placements of a log.

    decision: (n,) int64, which decision made it: those of one are drawn together; propensity: (n,) in (0, 1], how
    likely the log's policy was to make it; target: (n,) in [0, 1], how likely the policy in question is; reward: (n,);
    logged, wanted: (n, f), features of what was chosen, and of what the policy in question chooses in its place (their
    mean where it chooses among several); left_out: placements of the log that tell nothing.
    """

    decision: Ints
    propensity: Floats
    target: Floats
    reward: Floats
    logged: Floats
    wanted: Floats
    left_out: int = 0

    def __post_init__(self) -> None:
        if not len(self.reward):
            raise InvalidInput(
                "no sample to evaluate; the log needs placements by a policy whose reward is known"
            )
        wrong = (self.propensity <= 0) | (self.propensity > 1) | (self.target < 0) | (self.target > 1)
        if wrong.any() or not np.isfinite(self.reward).all():
            raise InvalidInput("propensities must be in (0, 1], targets in [0, 1] and rewards finite")

    @property
    def weights(self) -> Floats:
        """Target / propensity: (n,)."""
        return self.target / self.propensity


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean reward with its bootstrap interval.

    effective: how many samples of equal weight would be as good, (sum w)^2 / sum w^2; an estimate of which few are
    effective is worth little, whatever its interval says.

    Source of `effective`: Kish 1965.
    """

    name: str
    value: float
    low: float
    high: float
    samples: int
    effective: float

    def beats(self, other: float) -> bool:
        """Tell whether the interval excludes that the policy earns no more than this."""
        return self.low > other


def shadow_samples(decisions: Iterable[LoggedDecision], rule: str, reward: Reward) -> Samples:
    """Return the samples for a shadow rule, of which the log tells what it would have done.

    The rule's chance of a placement is the share of the job's tasks that it would have sent to that node. Placements of
    jobs that it would have left waiting tell nothing of it and are left out, as are those that a rule made: only what a
    policy chose by chance tells of what it did not choose.

    Raises:
        InvalidInput: no placement is left.
    """
    rows: list[tuple[float, ...]] = []
    logged: list[tuple[float, ...]] = []
    wanted: list[tuple[float, ...]] = []
    left_out = 0
    for number, decision in enumerate(decisions):
        sent = _by_job(decision.shadows.get(rule, ()))
        for each in decision.chosen:
            earned = reward(decision, each)
            there = sent.get(each.job)
            if decision.who != "policy" or earned is None or there is None:
                left_out += 1
                continue
            total = sum(one.count for one in there)
            same = sum(one.count for one in there if one.node == each.node)
            mean = np.average(
                [widened(one.features) for one in there], axis=0, weights=[one.count for one in there]
            )
            rows.append((number, each.propensity, same / total, earned))
            logged.append(widened(each.features))
            wanted.append(tuple(mean.tolist()))
    columns = np.array(rows, np.float64).reshape(-1, 4).T
    return Samples(
        columns[0].astype(np.int64), columns[1], columns[2], columns[3], np.array(logged, np.float64),
        np.array(wanted, np.float64), left_out,
    )  # fmt: skip


def widened(features: tuple[float, ...]) -> tuple[float, ...]:
    """Return logarithms of features, by size and with their sign, and the squares of those: for a linear model."""
    raised = np.sign(features) * np.log1p(np.abs(features))
    return (*raised.tolist(), *np.square(raised).tolist())


def evaluate(
    samples: Samples, *, seed: int, most: float = np.inf, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Return the estimates `logged` (what was earned), `ips`, `snips` and `dr` of the mean reward of a placement.

    Args:
        samples: what the log tells.
        seed: of the bootstrap and of the folds.
        most: weights are cut off there: less variance, some bias.
        resamples: of the bootstrap.
    """
    random = np.random.default_rng(seed)
    weights = np.minimum(samples.weights, most)
    at_logged, at_wanted = predicted(samples, random)
    terms = {
        "logged": (samples.reward, None),
        "ips": (weights * samples.reward, None),
        "snips": (weights * samples.reward, weights),
        "dr": (at_wanted + weights * (samples.reward - at_logged), None),
    }
    drawn = _resampled(samples.decision, resamples, random)
    total = float(np.square(weights).sum())
    effective = float(weights.sum()) ** 2 / total if total else 0.0
    found = {}
    for name, (over, under) in terms.items():
        ones = np.ones_like(over) if under is None else under
        spread = _ratio(drawn @ _summed(samples.decision, over), drawn @ _summed(samples.decision, ones))
        low, high = np.quantile(spread, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        value = float(_ratio(over.sum(), ones.sum()))
        count = float(len(over)) if name == "logged" else effective
        found[name] = Estimate(name, value, float(low), float(high), len(over), count)
    return found


def predicted(samples: Samples, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Return rewards as a model predicts them: of what was chosen, and of what the policy in question would choose.

    A ridge regression on standardised features, in folds by decision: no sample is predicted by a model that has seen
    it. Linear, so that what it predicts of a mean is the mean of what it predicts. (n,) each.
    """
    decisions = np.unique(samples.decision)
    fold_of = random.integers(0, FOLDS, len(decisions))
    fold = fold_of[np.searchsorted(decisions, samples.decision)]
    at_logged = np.full(len(fold), samples.reward.mean())
    at_wanted = at_logged.copy()
    for each in range(FOLDS):
        seen, unseen = fold != each, fold == each
        if seen.any() and unseen.any():
            model = _fitted(samples.logged[seen], samples.reward[seen])
            at_logged[unseen] = model(samples.logged[unseen])
            at_wanted[unseen] = model(samples.wanted[unseen])
    return at_logged, at_wanted


def _fitted(features: Floats, reward: Floats) -> Callable[[Floats], Floats]:
    centre = features.mean(axis=0)
    scale = np.maximum(features.std(axis=0), 1e-9)

    def wide(rows: Floats) -> Floats:
        return np.column_stack((np.ones(len(rows)), (rows - centre) / scale))

    seen = wide(features)
    weight = np.linalg.solve(seen.T @ seen + RIDGE * len(seen) * np.eye(seen.shape[1]), seen.T @ reward)
    return lambda rows: wide(rows) @ weight


def _resampled(decision: Ints, resamples: int, random: np.random.Generator) -> Floats:
    """Return how often each decision is drawn in each resample: (resamples, decisions)."""
    count = len(np.unique(decision))
    return random.multinomial(count, np.full(count, 1.0 / count), resamples).astype(np.float64)


def _summed(decision: Ints, values: Floats) -> Floats:
    """Return the sum of the values of each decision, in the order of their numbers."""
    _, at = np.unique(decision, return_inverse=True)
    return np.bincount(at, values).astype(np.float64)


def _ratio(over: Floats | float, under: Floats | float) -> Floats:
    """Return over / under, 0 where nothing has any weight."""
    below = np.asarray(under, np.float64)
    found: Floats = np.where(below > 0, np.asarray(over) / np.where(below > 0, below, 1.0), 0.0)
    return found


def _by_job(sent: Iterable[Sent]) -> dict[int, list[Sent]]:
    found: dict[int, list[Sent]] = {}
    for each in sent:
        found.setdefault(each.job, []).append(each)
    return found
