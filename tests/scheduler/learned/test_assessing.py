"""How sure the policy is: propensities of its choices, drift from training, members that disagree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.scheduler.assessment import DISAGREEMENT, DRIFT, assess
from farlane.scheduler.learned.assessing import LOGGED, NAMES
from farlane.scheduler.learned.confidence import LEAST_PROPENSITY
from farlane.scheduler.learned.ensemble import FEATURES
from farlane.scheduler.learned.manifest import Span
from farlane.scheduler.ordering import PATIENCE_S

ANYTHING = {kind: tuple(Span(-1e3, 0.0, 1e3) for _ in names) for kind, names in FEATURES.items()}
NOTHING = {kind: tuple(Span(900.0, 950.0, 1e3) for _ in names) for kind, names in FEATURES.items()}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_an_assessment_is_of_what_is_decided_and_in_bounds(views, networks, data):
    view = data.draw(views())
    policy = networks(data.draw(st.integers(0, 99)), data.draw(st.integers(1, 3)), spans=ANYTHING)
    found = assess(policy, view)
    count = len(found.decision.placements)
    assert found.decision == policy.decide(view)
    assert found.scores.shape == found.propensities.shape == (count,)
    assert np.isfinite(found.scores).all()
    assert ((found.propensities > 0) & (found.propensities <= 1)).all()
    assert 0 <= found.disagreement <= 1
    assert found.drift == 0
    assert found.features.shape in ((count, len(NAMES)), (0, 0))
    assert np.isfinite(found.features).all()


def test_without_a_choice_all_is_certain(build, networks):
    nodes = build.nodes((4, 64))
    found = networks(1).assess(build.view(nodes, build.group(nodes, count=9)))
    assert found.propensities.tolist() == [1.0]
    assert (found.drift, found.disagreement, found.doubt) == (0.0, 0.0, "")
    aged = [build.group(nodes, key, priority=100, since=build.now - PATIENCE_S - key) for key in range(3)]
    assert networks(1).assess(build.view(nodes, *aged)).propensities.tolist() == [1.0, 1.0, 1.0]


def test_propensities_multiply_that_of_the_group_and_that_of_the_node(build, networks):
    nodes = build.nodes((4, 64), (8, 64), (16, 64))
    groups = [build.group(nodes, key, run_time_s=float(10**key)) for key in range(3)]
    policy = networks(5)
    found = policy.assess(build.view(nodes, *groups))
    last = found.decision.placements[-1].group
    alone = policy.assess(build.view(nodes, groups[last]))
    assert len(found.propensities) == 3
    assert alone.propensities[0] < 1
    assert found.propensities[:2].prod() < 1
    values = found.features[-1, len(FEATURES["task"]) + len(FEATURES["global"]) :]
    assert values.any()


def test_tasks_that_queue_ahead_are_assessed_too(build, networks):
    nodes = build.nodes((2, 64), (2, 64), (4, 64))
    group = build.group(nodes, count=30, run_time_s=0.01)
    view = build.view(nodes, group, running=[(0, (2, 1), 0.005)])
    found = networks(1).assess(view)
    assert {each.node for each in found.decision.placements} == {0, 1, 2}
    assert found.propensities.tolist() == [1.0, 1.0, 1.0]


def test_features_unlike_training_are_doubted(build, networks):
    nodes = build.nodes((4, 64), (8, 64))
    view = build.view(nodes, build.group(nodes))
    assert networks(1, spans=ANYTHING).assess(view).doubt == ""
    found = networks(1, spans=NOTHING).assess(view)
    assert (found.drift, found.doubt) == (1.0, DRIFT)
    assert networks(1, spans=NOTHING).assess(build.view(nodes)).drift == 0.0


def test_members_that_see_it_otherwise_are_doubted(build, networks):
    nodes = build.nodes(*[(2 + at, 64) for at in range(9)])
    groups = [build.group(nodes, key, run_time_s=float(10**key)) for key in range(4)]
    found = [networks(seed, members=4).assess(build.view(nodes, *groups)) for seed in range(0, 40, 4)]
    assert {each.doubt for each in found} >= {DISAGREEMENT}
    assert all((each.doubt == DISAGREEMENT) == (each.disagreement > 0.5) for each in found)
    assert networks(0, members=1).assess(build.view(nodes, *groups)).disagreement == 0.0


def test_scores_that_are_no_numbers_are_doubted_and_harm_nothing(build, networks):
    nodes = build.nodes((4, 64), (8, 64))
    strange = build.group(nodes, timeout_s=float("inf"), since=float("-inf"), priority=0)
    with np.errstate(all="ignore"):
        found = networks(1).assess(build.view(nodes, strange, build.group(nodes, 1)))
    assert found.doubt == DRIFT
    assert np.isfinite(found.scores).all()
    assert build.placed(found.decision, 1)


def test_large_decisions_tell_no_features(build, networks):
    count = LOGGED + 1
    nodes = build.nodes(*[(1, 64)] * count)
    group = build.group(nodes, count=count)
    found = networks(1).assess(build.view(nodes, group))
    assert len(found.propensities) == count
    assert found.names == ()


def test_a_choice_of_almost_no_chance_is_no_impossible_one(build, networks):
    nodes = build.nodes((4, 64))
    policy = networks(2)
    weights = policy.ensemble.members[0]
    policy.ensemble.members = (weights._replace(skip=weights.skip * 1e4),)
    groups = [build.group(nodes, key, run_time_s=float(10**key)) for key in range(3)]
    found = policy.assess(replace(build.view(nodes, *groups)))
    assert found.propensities.min() >= LEAST_PROPENSITY
    assert found.propensities[0] == pytest.approx(1.0)
