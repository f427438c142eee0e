"""The guard: nothing unsound is applied, what no longer holds is left out, and nobody waits for ever."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farlane.hub.deciding.guard import Why, agreement, carried, judge, what_holds
from farlane.scheduler.assessment import DISAGREEMENT, DRIFT, Assessment, assess
from farlane.scheduler.ordering import PATIENCE_S
from farlane.scheduler.policy import policy_named, validate
from farlane.scheduler.view import Decision, Placement, Reservation, View
from farlane.testing import odd_policies
from farlane.testing.odd_policies import Says

FIFO = policy_named("fifo")


def sure(decision: Decision, **changes: object) -> Assessment:
    ones = np.ones(len(decision.placements))
    return replace(Assessment(decision, ones, ones), **changes)  # type: ignore[arg-type]


@pytest.fixture
def view(build) -> View:
    nodes = build.nodes((4, 8), (2, 4))
    made: View = build.view(nodes, build.group(nodes, count=3), build.group(nodes, 1, demand=(4,)))
    return made


def test_a_sound_answer_counts(view: View) -> None:
    assert judge(view, assess(FIFO, view)).why is Why.POLICY


@pytest.mark.parametrize(
    "policy",
    [
        policy
        for policy in vars(odd_policies).values()
        if isinstance(policy, Says) and policy.name not in ("nothing", "no-number")
    ],
    ids=lambda policy: policy.name,
)
def test_a_lie_does_not(view: View, policy: Says) -> None:
    found = judge(view, assess(policy, view))
    assert found.why is Why.INVALID
    assert found.text


def test_neither_does_what_does_not_fit(view: View) -> None:
    assert judge(view, assess(odd_policies.Misfits(), view)).why is Why.INVALID


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"scores": np.array([math.nan])}, Why.INVALID),
        ({"propensities": np.array([0.0])}, Why.INVALID),
        ({"propensities": np.array([1.1])}, Why.INVALID),
        ({"drift": math.nan}, Why.INVALID),
        ({"drift": 0.5, "doubt": DRIFT}, Why.DRIFT),
        ({"disagreement": 0.5, "doubt": DISAGREEMENT}, Why.DISAGREEMENT),
        ({"drift": 0.5}, Why.POLICY),
    ],
)
def test_neither_does_one_that_is_no_number_or_unsure(view: View, changes, why: Why) -> None:
    found = judge(view, sure(Decision((Placement(0, 0, 1),)), **changes))
    assert found.why is why
    assert bool(found.text) == (why is not Why.POLICY)


def test_placements_follow_their_group_to_its_new_key() -> None:
    placements = [Placement(0, 3, 2), Placement(1, 4, 1), Placement(2, 5, 1)]
    found = carried(placements, {0: "a", 1: "gone", 2: "b"}, {"b": 0, "a": 7})
    assert found == [Placement(7, 3, 2), Placement(0, 5, 1)]


def test_what_holds_of_any_decision_can_be_applied(views) -> None:
    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(views(), views(), st.data())
    def check(view: View, other: View, data: st.DataObject) -> None:
        keys, rows = len(view.groups), len(view.nodes.ids)
        placements = [
            each for each in FIFO.decide(other).placements if each.group < keys and each.node < rows
        ]
        if keys and rows:
            drawn = st.builds(
                Placement,
                st.integers(0, keys - 1),
                st.integers(0, rows - 1),
                st.integers(1, 1 << 33),
                st.integers(0, 2),
            )
            placements += data.draw(st.lists(drawn, max_size=6))
        kept, dropped, passed_over = what_holds(view, placements)
        validate(view, Decision(tuple(kept)))
        if passed_over is None:
            assert sum(each.count for each in kept) + dropped == sum(each.count for each in placements)

    check()


def test_a_decision_of_this_very_view_holds_whole(views) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(views())
    def check(view: View) -> None:
        fresh = replace(view, groups=tuple(replace(each, since=view.now) for each in view.groups))
        placements = FIFO.decide(fresh).placements
        kept, dropped, passed_over = what_holds(fresh, placements)
        assert (dropped, passed_over) == (0, None)
        assert sum(each.count for each in kept) == sum(each.count for each in placements)
        assert what_holds(fresh, placements, sound=True) == (list(placements), 0, None)

    check()


def test_a_group_that_waited_longest_is_not_passed_over_where_there_is_room(build) -> None:
    nodes = build.nodes((4, 8))
    old = build.group(nodes, 1, since=build.now - PATIENCE_S)
    view = build.view(nodes, build.group(nodes), old)
    assert what_holds(view, [Placement(0, 0, 1)]) == ([], 0, old)
    kept, _, passed_over = what_holds(view, [Placement(0, 0, 1), Placement(1, 0, 1)])
    assert (len(kept), passed_over) == (2, None)


@pytest.mark.parametrize(("run_time_s", "kept"), [(5.0, 1), (50.0, 0)])
def test_nothing_delays_a_group_that_waited_longest_and_has_no_room(
    build, run_time_s: float, kept: int
) -> None:
    nodes = build.nodes((4, 8))
    old = build.group(nodes, 1, demand=(4,), since=build.now - PATIENCE_S)
    short = build.group(nodes, timeout_s=run_time_s)
    view = build.view(nodes, short, old, running=((0, (2,), 10.0),))
    found, dropped, passed_over = what_holds(view, [Placement(0, 0, 1)])
    assert (len(found), dropped, passed_over) == (kept, 1 - kept, None)


def test_agreement_is_the_share_of_tasks_that_go_to_the_same_node() -> None:
    assert agreement([], []) == 1.0
    assert agreement([Placement(0, 0, 2)], []) == 0.0
    assert agreement([Placement(0, 0, 2), Placement(0, 1, 2)], [Placement(0, 0, 4)]) == 0.5


def test_a_reservation_of_a_group_that_is_not_there_is_a_lie(view: View) -> None:
    assert judge(view, sure(Decision((), (Reservation(9, 0, 1.0),)))).why is Why.INVALID
