"""The Lublin-Feitelson model: what it draws has the moments that its parameters say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from farlane.errors import InvalidInput
from farlane.lab.generators.lublin import (
    BATCH,
    DAY_BEGINS,
    DAY_S,
    INTERACTIVE,
    LONGEST_LOG_S,
    PUBLISHED,
    ROUND_S,
    SLOTS,
    LublinSettings,
    arrivals_s,
    day_weights,
    job_seconds,
    job_sizes,
    lublin_world,
    requested_s,
    typed_lublin_world,
)
from farlane.scheduler.sim.checking import check_world
from farlane.scheduler.sim.queueing import run_queue
from farlane.scheduler.sim.rules import Rule
from farlane.scheduler.sim.scores import bounded_slowdowns
from farlane.scheduler.sim.state import new_state
from farlane.scheduler.sim.world import CPU

MANY = 200_000


def random() -> np.random.Generator:
    return np.random.default_rng(11)


def test_sizes_have_the_published_shares() -> None:
    size = job_sizes(PUBLISHED, MANY, random())
    powers = (size & (size - 1)) == 0
    assert size.min() == 1
    assert size.max() == 256
    assert (size == 1).mean() == pytest.approx(0.244, abs=0.005)
    # Of the others by chance some are powers of two, too.
    assert 0.576 < (powers & (size > 1)).mean() < 0.66
    lower = np.log2(size[size > 1]) < 8 - 2.5
    assert lower.mean() == pytest.approx(0.86, abs=0.03)


def test_the_logarithm_of_run_times_has_the_mean_and_variance_of_two_gammas() -> None:
    p = 0.78 - 0.0054
    seconds = job_seconds(PUBLISHED, np.ones(MANY, np.int64), random())
    logarithm = np.log(seconds)
    first, second = 4.2 * 0.94, 312 * 0.03
    mean = p * first + (1 - p) * second
    square = p * (4.2 * 0.94**2 + first**2) + (1 - p) * (312 * 0.03**2 + second**2)
    assert logarithm.mean() == pytest.approx(
        mean, abs=0.06
    )  # whole seconds and the cut at two days take a little
    assert logarithm.var() == pytest.approx(square - mean**2, rel=0.04)
    assert logarithm.max() <= LONGEST_LOG_S
    assert seconds.min() >= 1.0


def test_large_jobs_run_longer() -> None:
    small, large = (job_seconds(PUBLISHED, np.full(20_000, size), random()) for size in (1, 128))
    assert np.median(large) > 10 * np.median(small)


def test_gaps_have_the_mean_of_a_log_gamma_distribution() -> None:
    arrival = arrivals_s(PUBLISHED, MANY, random())
    assert (np.diff(arrival) >= 0.0).all()
    shape, scale = 10.2303 * 1.0225, 0.4871
    # E exp(gamma) is (1 - scale)^-shape; the cut at 13 leaves what a gamma of scale / (1 - scale) has below it.
    below = (np.random.default_rng(1).gamma(shape, scale / (1 - scale), MANY) <= 13.0).mean()
    assert arrival[-1] / MANY == pytest.approx((1 - scale) ** -shape * below, rel=0.06)
    twice = arrivals_s(replace(PUBLISHED, load=2.0), MANY, random())
    assert twice[-1] == pytest.approx(arrival[-1] / 2, rel=0.001)


def test_arrivals_follow_the_day() -> None:
    weights = day_weights(PUBLISHED)
    assert weights.mean() == pytest.approx(1.0)
    peak = (8.1737 - 1.0) * 3.9631  # the gamma's mode, in slots
    assert weights.argmax() == round(peak) - 1
    assert weights.argmin() == DAY_BEGINS - 1
    counts, _ = np.histogram(arrivals_s(PUBLISHED, MANY, random()) % DAY_S, bins=SLOTS, range=(0, DAY_S))
    assert counts / counts.mean() == pytest.approx(weights, abs=0.15)


def test_users_ask_for_round_times_that_are_long_enough() -> None:
    run_s = job_seconds(PUBLISHED, np.ones(5_000, np.int64), random())
    asked = requested_s(run_s, random())
    assert (asked >= run_s).all()
    assert np.isin(asked, ROUND_S).mean() > 0.99


def test_equal_seeds_give_equal_worlds_that_run() -> None:
    world, again = lublin_world(200, seed=4), lublin_world(200, seed=4)
    assert np.array_equal(world.tasks.run_s, again.tasks.run_s)
    assert not np.array_equal(world.tasks.run_s, lublin_world(200, seed=5).tasks.run_s)
    check_world(world)
    state = new_state(world)
    run_queue(world, state, int(Rule.SJF), True)
    assert bounded_slowdowns(world, state).min() >= 1.0
    exact = lublin_world(50, seed=4, settings=replace(PUBLISHED, requests=False, processors=64))
    assert np.array_equal(exact.tasks.run_s, exact.tasks.estimate_s)
    assert exact.tasks.demand[:, CPU].max() <= 64


@pytest.mark.parametrize(
    "wrong",
    [{"processors": 1}, {"load": 0.0}, {"load": float("nan")}, {"serial": 0.6}, {"a1": 0.0}, {"users": 0}],
)
def test_parameters_of_no_model_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        LublinSettings(**wrong)  # type: ignore[arg-type]


def test_a_queue_has_jobs() -> None:
    with pytest.raises(InvalidInput, match="at least 1"):
        lublin_world(0, seed=1)


def test_jobs_of_two_types_come_as_often_as_each_type_does_and_in_clusters() -> None:
    worlds = [
        typed_lublin_world(1024, seed, LublinSettings(processors=256, requests=False)) for seed in range(40)
    ]
    run_s = np.concatenate([world.tasks.run_s for world in worlds])
    size = np.concatenate([world.tasks.demand[:, CPU] for world in worlds])
    # Means of log-gamma gaps, in points of the clock of a day, are rates: what comes quicker is more of the jobs.
    quick, slow = (
        (1.0 - each.b_gap) ** (each.a_gap * each.rush_all) for each in (INTERACTIVE, BATCH)
    )  # inverse of the mean of exp(gamma), without those drawn again
    interactive = quick / (quick + slow)
    assert 0.7 < interactive < 1.0
    serial = (size == 1).mean()
    assert INTERACTIVE.serial < serial < 0.5 * (INTERACTIVE.serial + BATCH.serial)
    assert np.median(run_s) < 60.0  # of interactive jobs
    assert np.quantile(run_s, 0.95) > 3_600.0  # of batch jobs
    neighbours = [
        np.corrcoef(np.log(world.tasks.run_s[1:]), np.log(world.tasks.run_s[:-1]))[0, 1] for world in worlds
    ]
    assert np.mean(neighbours) > 0.1
    for world in worlds[:3]:
        check_world(world)
        assert (np.diff(world.tasks.arrival) >= 0.0).all()
        assert (world.tasks.estimate_s == world.tasks.run_s).all()


def test_jobs_of_two_types_are_equal_for_equal_seeds_and_ask_for_more_where_told() -> None:
    one, same, other = (typed_lublin_world(50, seed, LublinSettings(processors=64)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.tasks.arrival, same.tasks.arrival)
    assert (one.tasks.arrival != other.tasks.arrival).any()
    assert one.tasks.demand[:, CPU].max() <= 64
    assert (one.tasks.estimate_s > one.tasks.run_s).any()
    with pytest.raises(InvalidInput, match="at least 1"):
        typed_lublin_world(0, 1)
