"""What was weighed: parts that sum to the lead, in words that fit, for turns and for nodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from farlane.scheduler.learned.choices import Round, serve
from farlane.scheduler.learned.ensemble import FEATURES, Ensemble, load
from farlane.scheduler.learned.features import GLOBAL_FEATURES, NODE_FEATURES, PAIR_FEATURES, TASK_FEATURES
from farlane.scheduler.learned.policy import LearnedPolicy
from farlane.scheduler.learned.rule_equal import rule_equal_checkpoint
from farlane.scheduler.learned.weighing import weighed_groups, weighed_nodes
from farlane.scheduler.learned.wording import (
    GLOBAL_WORDS,
    HERE,
    NODE_WORDS,
    PAIR_WORDS,
    TASK_WORDS,
    meaning,
    words,
)
from farlane.scheduler.ordering import PATIENCE_S


def name(node):
    return f"<{node}>"


@pytest.fixture(scope="module")
def rules():
    return LearnedPolicy(Ensemble(load(rule_equal_checkpoint())))


def scene(build, **changes):
    nodes = build.nodes((4, 64), (8, 128), (32, 256), price=[3, 2, 1])
    groups = [
        build.group(nodes, 0, run_time_s=500.0, demand=(2, 4), **changes),
        build.group(nodes, 1, run_time_s=50.0, demand=(1, 4)),
    ]
    return build.view(nodes, *groups, running=[(1, (3, 4), 60.0)])


def choices_of(policy, view):
    choices = []
    a_round = Round(policy.ensemble, view, choices.append)
    serve(a_round)
    return a_round, {choice.group.key: choice for choice in choices}


def test_every_feature_has_words():
    assert (set(TASK_WORDS), set(NODE_WORDS)) == (set(TASK_FEATURES), set(NODE_FEATURES))
    assert (set(PAIR_WORDS), set(GLOBAL_WORDS)) == (set(PAIR_FEATURES), set(GLOBAL_FEATURES))
    assert all(meaning(kind, each) for kind, names in FEATURES.items() for each in names)
    assert words("pair", "load", 0.0, 0.5) == HERE
    assert words("pair", "load", 0.1, 0.5) == "less of its model to fetch"
    assert words("pair", "load", 0.5, 0.0) == "more of its model to fetch"


@pytest.mark.parametrize("seed", range(5))
def test_parts_sum_to_the_lead(build, networks, seed):
    view, policy = scene(build), networks(seed, members=2)
    a_round, choices = choices_of(policy, view)
    groups = weighed_groups(a_round, view.groups[0], view.groups[1])
    assert sum(term.part for term in groups.terms) == pytest.approx(groups.lead, rel=0.03, abs=0.03)
    for choice in choices.values():
        for node in (None, 0, 2):
            nodes = weighed_nodes(a_round, choice, name, node)
            assert sum(term.part for term in nodes.terms) == pytest.approx(nodes.lead, rel=0.03, abs=0.03)
            assert [abs(term.part) for term in nodes.terms] == sorted(
                (abs(term.part) for term in nodes.terms), reverse=True
            )


def test_what_a_rule_weighs_is_told_in_its_words(build, rules):
    told = rules.weigh(scene(build), 1, name)
    assert told == (
        "j2 before j1: shorter expected run (+1.00), smaller part of the network (+0.30)",
        "<n0> before <n1>: leaves fewer cores over (+0.03)",
    )
    assert rules.weigh(scene(build), 0, name)[0] == told[0]
    assert rules.weigh(scene(build), 1, name, 2)[1] == "<n2> before <n0>: leaves more cores over (-0.88)"
    # A node where it could not go is not explained; the best is.
    assert rules.weigh(scene(build), 1, name, 9)[1] == told[1]


def test_guards_are_named_where_they_decide(build, rules, networks):
    old = rules.weigh(scene(build, since=build.now - PATIENCE_S, priority=100), 0, name)
    assert old[0] == "it has waited 6h00m: work this old goes first, the oldest in front"
    assert "waited for very long goes first" in rules.weigh(
        scene(build, since=build.now - PATIENCE_S, priority=100), 1, name
    )[0]  # fmt: skip
    urgent = rules.weigh(scene(build, priority=100), 0, name)
    assert urgent[0].startswith("j1 before j2: higher priority (+")
    assert "; but longer expected run (-1.00)" in urgent[0]
    assert rules.weigh(scene(build, priority=100), 1, name)[0] == urgent[0]
    patient, view = networks(1, wait=1e6), scene(build, timeout_s=100.0, since=build.now - 20)
    assert patient.weigh(view, 0, name)[0].startswith(
        "waiting before j1: the networks expect a better moment (+"
    )
    assert patient.held_s(view, 0) == 40.0
    assert networks(1, wait=-1e6).held_s(view, 0) == 0.0


def test_one_node_or_group_leaves_nothing_to_weigh(build, rules):
    nodes = build.nodes((4, 64))
    assert rules.weigh(build.view(nodes, build.group(nodes)), 0, name) == ()
    a_round, choices = choices_of(
        rules, build.view(nodes, build.group(nodes), build.group(nodes, 1, count=9))
    )
    assert all(weighed_nodes(a_round, choice, name) is None for choice in choices.values())
    two = build.nodes((4, 64), (4, 64))
    same = build.view(two, build.group(two))
    assert rules.weigh(same, 0, name) == ("<n0> before <n1>: they score the same",)


def test_a_model_that_is_there_is_named(build, networks):
    nodes = build.nodes((8, 64), (8, 64))
    group = build.group(nodes, missing=np.array([10**9, 10**9]), run_time_s=60.0)
    policy = networks(3)
    view = build.view(nodes, group)
    a_round, choices = choices_of(policy, view)
    near = replace(choices[0], p=choices[0].p.copy())
    near.p[0, PAIR_FEATURES.index("load")] = 0.0
    found = weighed_nodes(a_round, near, name, 0)
    assert HERE in {term.text for term in found.terms}
