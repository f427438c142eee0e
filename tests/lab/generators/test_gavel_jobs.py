"""The heterogeneous setting: completion times of a toy cluster by hand, and what the generator draws."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.errors import InvalidInput
from farlane.lab.generators.gavel_jobs import gavel_jobs
from farlane.lab.gpu_worlds import gavel_world
from farlane.lab.traces.gavel import GavelTable, Kind
from farlane.scheduler.sim.checking import check_world
from farlane.scheduler.sim.choices import Choice
from farlane.scheduler.sim.fleet import simulate
from farlane.scheduler.sim.fleet_scores import fleet_scores
from farlane.scheduler.sim.orders import Order

KINDS = (Kind("vision", 1), Kind("words", 1), Kind("vision", 4))
TOY = GavelTable(
    KINDS, ("old", "new"), np.array([[1.0, 10.0], [4.0, 8.0], [0.0, 30.0]]), np.full((2, 3, 3), np.nan)
)
"""Vision is ten times as quick on the new card, words twice."""


def test_completion_times_by_hand() -> None:
    """One card of each; all arrive at once: words 100 s, vision 100 s, vision 10 s on the new card.

    By speed: words takes the new one to 100; vision has only the old one left, 1000 s; the third waits for the new one,
    100 to 110. Mean (100 + 1000 + 110) / 3. With the shortest first, vision of 10 s takes the new one, words the old
    one to 200, the other vision the new one, 10 to 110: mean (10 + 200 + 110) / 3.
    """
    nodes = (("old", 1, 1), ("new", 1, 1))
    world = gavel_world(TOY, nodes, "new", np.array([1, 0, 0]), np.zeros(3), np.array([100.0, 100.0, 10.0]))
    check_world(world)
    first_come = simulate(world, Order.FCFS, Choice.FASTEST)
    assert first_come.ends.tolist() == [100.0, 1000.0, 110.0]
    assert fleet_scores(world, first_come).completion_mean_s == pytest.approx(1210 / 3)
    shortest = simulate(world, Order.SJF, Choice.FASTEST)
    assert shortest.ends.tolist() == [200.0, 110.0, 10.0]
    assert fleet_scores(world, shortest).completion_mean_s == pytest.approx(320 / 3)


def test_who_got_least_service_goes_first() -> None:
    """One new card; user 0 had 100 s of it when both ask again; user 1 none."""
    world = gavel_world(
        TOY,
        (("new", 1, 1),),
        "new",
        np.zeros(3, np.int64),
        np.array([0.0, 1.0, 2.0]),
        np.array([100.0, 10.0, 50.0]),
    )
    world = world._replace(tasks=world.tasks._replace(user=np.array([0, 0, 1])))
    assert simulate(world, Order.LAS, Choice.FASTEST).started.tolist() == [0.0, 150.0, 100.0]
    assert simulate(world, Order.FCFS, Choice.FASTEST).started.tolist() == [0.0, 100.0, 110.0]


def test_drawn_jobs_have_the_published_spread() -> None:
    world = gavel_jobs(TOY, (("old", 2, 4), ("new", 2, 4)), "new", jobs=4000, an_hour=6.0, seed=1)
    check_world(world)
    minutes = world.tasks.run_s / 60.0
    assert 10**1.5 <= minutes.min() <= minutes.max() <= 10**4
    assert (minutes < 1000).mean() == pytest.approx(0.8, abs=0.03)
    assert (world.tasks.gpus == 4).mean() == pytest.approx(0.15 / 0.85, abs=0.03)
    assert np.diff(world.tasks.arrival).mean() == pytest.approx(600.0, rel=0.05)
    again = gavel_jobs(TOY, (("old", 2, 4), ("new", 2, 4)), "new", jobs=4000, an_hour=6.0, seed=1)
    assert np.array_equal(world.tasks.run_s, again.tasks.run_s)


@pytest.mark.parametrize(
    ("reference", "jobs", "an_hour", "size"),
    [
        ("newest", 1, 1.0, 1),
        ("new", 0, 1.0, 1),
        ("new", 1, 0.0, 1),
        ("new", 1, 1.0, 0),
        ("new", 1, float("nan"), 1),
    ],
)
def test_what_makes_no_work_is_refused(reference: str, jobs: int, an_hour: float, size: int) -> None:
    with pytest.raises(InvalidInput):
        gavel_jobs(TOY, (("new", 1, size),), reference, jobs=jobs, an_hour=an_hour, seed=1)
