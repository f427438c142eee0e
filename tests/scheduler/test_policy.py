"""Policies by name, and the check that a decision can be applied."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.errors import Internal, InvalidSetting
from farlane.scheduler.policy import POLICIES, policy_named, validate
from farlane.scheduler.view import Decision, Placement, Reservation


def test_the_policies_are_known_by_name():
    assert sorted(POLICIES) == ["best-fit", "fifo", "learned", "shortest-first", "spread"]
    assert all(policy_named(name).name == name for name in POLICIES)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(
        InvalidSetting, match=r"'bestfit' is not a placement policy; did you mean 'best-fit'\?"
    ) as caught:
        policy_named("bestfit")
    assert caught.value.facts == {"setting": "policy", "value": "bestfit"}


@pytest.fixture
def view(build):
    nodes = build.nodes((4, 64), (4, 64), (4, 64), offline=[2])
    first = build.group(nodes, 0, count=9, eligible=np.array([True, False, True]))
    short = build.group(nodes, 1, count=100, run_time_s=0.05, affordable=50)
    return build.view(nodes, first, short)


def test_a_decision_that_fits_is_returned_as_it_is(view):
    decision = Decision(
        (Placement(0, 0, 3), Placement(1, 0, 1), Placement(1, 1, 6), Placement(1, 1, 6)),
        (Reservation(0, 0, 5.0),),
    )
    assert validate(view, decision) is decision


@pytest.mark.parametrize(
    ("placements", "message"),
    [
        ((Placement(7, 0, 1),), "group 7, which is not in the view"),
        ((Placement(0, 0, 0),), "expected a count of at least 1"),
        ((Placement(0, 3, 1),), "node row below 3"),
        ((Placement(0, -1, 1),), "node row below 3"),
        ((Placement(0, 0, 10),), "1 tasks of group 0 more than are ready and affordable"),
        ((Placement(1, 0, 12), Placement(1, 1, 39)), "1 tasks of group 1 more than are ready and affordable"),
        ((Placement(0, 0, 1, 1),), "used demand 1 of group 0, which has 1"),
        ((Placement(0, 0, 1, -1),), "used demand -1"),
        ((Placement(0, 1, 1),), "on n1, which is offline, draining or not eligible"),
        ((Placement(0, 2, 1),), "on n2, which is offline, draining or not eligible"),
        ((Placement(0, 0, 5),), "5 tasks of group 0 on n0, which has room for 4"),
        ((Placement(1, 0, 13),), "13 tasks of group 1 on n0, which has room for 12"),
        ((Placement(1, 0, 7), Placement(1, 0, 6)), "13 tasks of group 1 on n0, which has room for 12"),
        ((Placement(1, 0, 12), Placement(0, 0, 1)), "1 tasks of group 0 on n0, which has room for 0"),
    ],
)
def test_what_would_overcommit_is_refused(view, placements, message):
    with pytest.raises(Internal, match=message):
        validate(view, Decision(placements))


@pytest.mark.parametrize(
    "reservation",
    [
        Reservation(7, 0, 1.0),
        Reservation(0, 3, 1.0),
        Reservation(0, -1, 1.0),
        Reservation(0, 0, float("nan")),
    ],
)
def test_a_reservation_that_means_nothing_is_refused(view, reservation):
    with pytest.raises(Internal, match="means nothing"):
        validate(view, Decision((), (reservation,)))


def test_an_alternative_above_the_price_cap_is_refused(build):
    nodes = build.nodes((8, 64, 0, (1, 1)), kinds=(build.t4, build.a100))
    both = [(1, 1, 0, (1, 0)), (1, 1, 0, (0, 1))]
    view = build.view(nodes, build.group(nodes, demand=both, allowed=np.array([[True], [False]])))
    assert validate(view, Decision((Placement(0, 0, 1, 0),)))
    with pytest.raises(Internal, match="not eligible"):
        validate(view, Decision((Placement(0, 0, 1, 1),)))
