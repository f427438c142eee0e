"""The search on the true measure: robust, better than where it began, and exactly resumed; the panel it asks."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cma", reason="the lab extra is not installed: pip install 'farlane[lab]'")

from tests.lab.training.small import queue

from farlane.errors import InvalidSetting
from farlane.lab.training.config import Judging, Search
from farlane.lab.training.coordinates import coordinates, of_expert
from farlane.lab.training.losses import losses_each
from farlane.lab.training.metric_search import MetricSearch
from farlane.lab.training.panel import Episode, Panel
from farlane.scheduler.learned.features import GLOBAL_FEATURES, TASK_FEATURES
from farlane.scheduler.learned.network import SIZE, flatten, random_weights, unflatten
from farlane.scheduler.sim.rules import Rule
from farlane.scheduler.sim.world import Floats

SEARCH = Search(generations=30, population=8, spread=0.3, check_every=5)


def bowl(size: int) -> MetricSearch:
    """A search whose loss is the distance from a point, and chance that is common to a generation."""

    def judge(vector: Floats) -> float:
        return float(np.abs(vector - 0.5).mean())

    def trial(vectors: list[Floats], centre: Floats, step: int) -> Floats:
        assert centre.shape == vectors[0].shape
        return np.array([judge(vector) for vector in vectors]) + step % 3

    return MetricSearch(SEARCH, judge, trial, seed=2, start=np.zeros(size), free=np.arange(size))


@pytest.mark.parametrize("size", [5, 230])  # the second with a diagonal covariance
def test_it_comes_closer(size: int) -> None:
    search = bowl(size)
    rows = [search.step() for _ in range(SEARCH.generations)]
    checks = [float(row["check"]) for row in rows if "check" in row]
    assert len(checks) == 6
    assert np.abs(search.result - 0.5).mean() < (0.3 if size < 10 else 0.95) * 0.5
    assert np.abs(search.result - 0.5).mean() == checks[-1]
    assert rows[-1]["before"] == 0.5


def test_what_is_no_better_than_the_start_is_left() -> None:
    """Trials praise what looks on kept sequences do not."""
    search = MetricSearch(
        SEARCH, lambda vector: float(np.abs(vector).mean()),
        lambda vectors, centre, step: -np.array(vectors).sum(axis=1),
        seed=2, start=np.zeros(4), free=np.arange(4),
    )  # fmt: skip
    for _ in range(6):
        search.step()
    search.end()
    np.testing.assert_array_equal(search.result, np.zeros(4))


def test_a_rate_below_one_makes_smaller_steps() -> None:
    def after(rate: float) -> float:
        search = MetricSearch(
            Search(generations=3, population=8, spread=0.3, rate=rate),
            lambda vector: 0.0, lambda vectors, centre, step: np.array(vectors).sum(axis=1),
            seed=2, start=np.zeros(5), free=np.arange(5),
        )  # fmt: skip
        search.step()
        return float(np.linalg.norm(search.state()["centre"]))

    assert after(0.25) == pytest.approx(0.25 * after(1.0))


def test_the_deviation_halves_where_it_is_told_to() -> None:
    search = MetricSearch(
        Search(generations=5, population=8, spread=0.4, halving=2),
        lambda vector: 0.0, lambda vectors, centre, step: np.array(vectors)[:, 0],
        seed=2, start=np.zeros(3), free=np.arange(3),
    )  # fmt: skip
    spreads = []
    for _ in range(5):
        before = search.steps
        search.step()
        spreads.append(0.4 * 0.5 ** (before / 2))
    again = MetricSearch(
        Search(generations=5, population=8, spread=0.4, halving=2),
        lambda vector: 0.0, lambda vectors, centre, step: np.array(vectors)[:, 0],
        seed=2, start=np.zeros(3), free=np.arange(3),
    )  # fmt: skip
    again.restore(search.state())
    assert again.step() == search.step()
    assert spreads[-1] == pytest.approx(0.1)
    assert float(search.step()["spread"]) < 0.2


def test_it_goes_on_from_a_kept_state_exactly() -> None:
    straight, first, second = bowl(230), bowl(230), bowl(230)
    rows = [straight.step() for _ in range(12)]
    for _ in range(7):
        first.step()
    second.restore(first.state())
    assert [second.step() for _ in range(5)] == rows[7:]
    straight.end()
    second.end()
    np.testing.assert_array_equal(second.result, straight.result)


def test_one_awful_sequence_does_not_decide() -> None:
    episodes = [Episode(0, 1), Episode(0, 2), Episode(1, 1), Episode(1, 2)]
    reference = np.full(4, 10.0)
    costs = np.array([[9.0, 9.0, 9.0, 1e9], [10.0, 10.0, 10.0, 10.0], [0.0, np.nan, 10.0, 10.0]])
    losses = losses_each(Judging(clip=1.0, mean_share=0.0), costs, reference, episodes)
    np.testing.assert_allclose(losses.mean(axis=1), [(3 * np.log(0.9) + 1.0) / 4, 0.0, 0.0], atol=1e-12)
    losses = losses_each(Judging(clip=1.0, mean_share=1.0), costs, reference, episodes)
    np.testing.assert_allclose(losses, [[np.log(0.9), 1.0], [0.0, 0.0], [1.0, 0.0]], atol=1e-12)


def test_only_weights_that_can_matter_are_searched() -> None:
    tasks = np.zeros((len(TASK_FEATURES), 3))
    tasks[:2, 2] = 1.0  # two features vary
    spans = {"task": tasks, "global": np.tile([0.0, 0.5, 1.0], (len(GLOBAL_FEATURES), 1))}
    named = unflatten(np.arange(SIZE))
    assert coordinates({"skip": []}, spans).tolist() == named.skip[:2].tolist()
    passing = GLOBAL_FEATURES.index("passing")
    assert coordinates({"gate": ["passing"]}, spans).tolist() == named.gate[:, passing].tolist()
    experts = coordinates({"experts": []}, spans)
    assert experts.tolist() == named.experts[:, :2].ravel().tolist()
    assert of_expert(experts, 3).tolist() == named.experts[3, :2].tolist()
    with pytest.raises(InvalidSetting, match="did you mean 'passing'"):
        coordinates({"gate": ["pasing"]}, spans)
    found = set(coordinates({}, spans).tolist())
    assert found >= set(named.value.tolist())
    assert found >= set(named.encode[:2].ravel().tolist())
    assert not found & set(named.encode[2:].ravel().tolist())
    assert not found & {*named.pair_value.tolist(), *named.wait.tolist(), *named.wait_bias.tolist()}
    with pytest.raises(InvalidSetting, match="did you mean 'skip'"):
        coordinates({"skipp": []}, spans)
    with pytest.raises(InvalidSetting, match="ever varies"):
        coordinates({"pair_skip": []}, spans)


def test_the_panel_finds_the_best_rule_and_processes_give_the_same() -> None:
    here, there = Panel([queue(count=12)]), Panel([queue(count=12)], workers=1)
    try:
        assert here.best_rules([1, 2, 3]) == (int(Rule.SJF),)
        episodes = [Episode(0, 1), Episode(0, 2)]
        vectors = [flatten(random_weights(1)), flatten(random_weights(2))]
        np.testing.assert_array_equal(here.costs(vectors, episodes), there.costs(vectors, episodes))
        np.testing.assert_array_equal(
            here.reference([int(Rule.SJF)], episodes), there.reference([int(Rule.SJF)], episodes)
        )
    finally:
        there.close()
