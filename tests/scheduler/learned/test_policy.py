"""Whatever the weights are: decisions are valid, nothing starves, priorities keep their meaning, waiting is bounded."""

from __future__ import annotations

import heapq
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.scheduler.heuristics import BEST_FIT
from farlane.scheduler.learned.choices import MAX_WAIT_S, PRIORITY_SPREADS
from farlane.scheduler.learned.ensemble import Ensemble, load
from farlane.scheduler.learned.features import TASK_FEATURES
from farlane.scheduler.learned.policy import LearnedPolicy
from farlane.scheduler.learned.rule_equal import rule_equal_checkpoint
from farlane.scheduler.learned.shipped import shipped_bytes, shipped_ensemble, shipped_names
from farlane.scheduler.ordering import PATIENCE_S, shortest_order
from farlane.scheduler.policy import policy_named, validate
from farlane.scheduler.view import RunningColumns

QUICK = settings(max_examples=60, deadline=None)
SEEDS = st.integers(0, 1 << 20)
ALWAYS, NEVER = 1e6, -1e6


@pytest.fixture(scope="module")
def rules():
    """The policy whose weights equal rules."""
    return LearnedPolicy(Ensemble(load(rule_equal_checkpoint())))


@QUICK
@given(st.data())
def test_any_weights_decide_validly_repeatably_and_leave_the_view_alone(views, networks, data):
    view = data.draw(views())
    policy = networks(data.draw(SEEDS), data.draw(st.integers(1, 3)))
    free = view.nodes.free.copy()
    decision = policy.decide(view)
    assert validate(view, decision) is decision
    assert policy.decide(view) == decision
    assert (view.nodes.free == free).all()


@QUICK
@given(st.data())
def test_any_weights_serve_the_aged_first_by_age(views, networks, data):
    view = data.draw(views())
    order = networks(data.draw(SEEDS)).order(view)
    assert sorted(group.key for group in order) == sorted(group.key for group in view.groups)
    old = [group for group in order if view.now - group.since >= PATIENCE_S]
    assert order[: len(old)] == sorted(old, key=lambda group: (group.since, group.key))


@QUICK
@given(st.data())
def test_a_higher_priority_never_comes_later_where_networks_do_not_see_it(views, networks, data):
    view, policy = data.draw(views()), networks(data.draw(SEEDS), blind=True)
    if not view.groups:
        return
    raised = data.draw(st.sampled_from(view.groups))
    more = data.draw(st.integers(raised.priority, 100))
    groups = tuple(replace(each, priority=more) if each is raised else each for each in view.groups)
    before, after = (
        [each.key for each in policy.order(each_view)] for each_view in (view, replace(view, groups=groups))
    )
    assert after.index(raised.key) <= before.index(raised.key)


def test_priority_counts_in_spreads_of_the_scores(build, rules):
    """Scores are run times and shares: three groups, of which the longest is raised until it is first."""
    nodes = build.nodes((64, 64))

    def first(priority):
        groups = [
            build.group(nodes, key, run_time_s=run_s, priority=priority if key == 2 else 0)
            for key, run_s in enumerate((10.0, 100.0, 1000.0))
        ]
        return rules.order(build.view(nodes, *groups))[0].key

    # Even steps of run time's logarithm: the last is two steps behind the first, 2 / sqrt(2 / 3) spreads.
    needed = 100 * 2 / np.sqrt(2 / 3) / PRIORITY_SPREADS
    assert first(int(needed) - 3) == 0
    assert first(int(needed) + 3) == 2


def test_shipped_weights_leave_priority_to_the_guard():
    at = TASK_FEATURES.index("priority")
    for name in shipped_names():
        for weights in shipped_ensemble(name).members:
            assert not weights.value.any() or not weights.encode[at].any()
            assert not weights.skip[at]
            assert not weights.experts[:, at].any()


@QUICK
@given(st.data())
def test_weights_that_never_wait_leave_no_room_unused(views, networks, data):
    view = data.draw(views())
    decision = validate(view, networks(data.draw(SEEDS), wait=NEVER).decide(view))
    free, groups = view.nodes.free.copy(), {group.key: group for group in view.groups}
    for placement in decision.placements:
        free[placement.node] -= groups[placement.group].demands[placement.demand] * placement.count
    reserved = {each.node for each in decision.reservations}
    for group in view.groups:
        mask = group.eligible & view.nodes.online
        if group.avoid is not None and (mask & ~group.avoid).any():
            mask = mask & ~group.avoid
        if sum(each.count for each in decision.placements if each.group == group.key) >= min(
            group.count, group.affordable
        ):
            continue
        for node in set(np.flatnonzero(mask).tolist()) - reserved:
            for option, demand in enumerate(group.demands):
                if group.allowed is None or group.allowed[option][node]:
                    assert (free[node][demand > 0] < demand[demand > 0]).any()


@QUICK
@given(st.data())
def test_weights_that_always_wait_hold_back_only_fresh_work_while_something_runs(views, networks, data):
    view = data.draw(views())
    seed = data.draw(SEEDS)
    waiting, eager = networks(seed, wait=ALWAYS), networks(seed, wait=NEVER)
    if data.draw(st.booleans()):
        width = view.nodes.capacity.shape[1]
        none = RunningColumns(np.zeros(0, np.int64), np.zeros((0, width), np.int64), np.zeros(0))
        view = replace(view, running=none)
    decision = validate(view, waiting.decide(view))
    if not len(view.running.node):
        assert decision == eager.decide(view)
    old = replace(view, groups=tuple(replace(each, since=each.since - MAX_WAIT_S) for each in view.groups))
    assert waiting.decide(old) == eager.decide(old)


def test_waiting_needs_something_to_wait_for_and_ends(build, networks):
    policy = networks(3, wait=ALWAYS)
    nodes = build.nodes((8, 64), (8, 64))
    fresh, running = build.group(nodes, timeout_s=100.0), [(0, (1, 1), 30.0)]
    assert policy.decide(build.view(nodes, fresh, running=running)).placements == ()
    assert build.placed(policy.decide(build.view(nodes, fresh)))
    elsewhere = replace(fresh, eligible=np.array([False, True]))
    assert build.placed(policy.decide(build.view(nodes, elsewhere, running=running)))
    for changes in ({"since": build.now - MAX_WAIT_S}, {"deadline_at": build.now + 150.0}):
        view = build.view(nodes, replace(fresh, **changes), running=running)
        assert build.placed(policy.decide(view))
    later = build.view(nodes, replace(fresh, deadline_at=build.now + 200.0), running=running)
    assert policy.decide(later).placements == ()
    assert [group.key for group in policy.order(later)] == [0]


class Stream:
    """Virtual time: fresh small work that the network may love, and one large task from the beginning."""

    def __init__(self, build, policy, priority):
        self.build, self.policy, self.priority = build, policy, priority
        self.nodes = build.nodes((4, 64), (4, 64))

    def started_after(self, limit_s, every_s=60.0, lasts_s=150.0):
        """Return when the large task started."""
        build, now, key, running, waiting = self.build, 0.0, 1, [], {0: (0.0, 4.0, 30.0, 0)}
        for busy in (0, 1):
            heapq.heappush(running, (50.0, -1 - busy, busy, 4.0))
        while now < limit_s:
            for _ in range(3):
                waiting[key] = (now, 1.0, lasts_s, self.priority)
                key += 1
            while running and running[0][0] <= now:
                heapq.heappop(running)
            shift = build.now - now
            groups = [
                build.group(self.nodes, at, demand=(cores, 1), since=since + shift, run_time_s=lasts, priority=points,
                            timeout_s=600.0)
                for at, (since, cores, lasts, points) in waiting.items()
            ]  # fmt: skip
            view = build.view(
                self.nodes,
                *groups,
                running=[(node, (cores, 1), ends - now) for ends, _, node, cores in running],
            )
            for placement in validate(view, self.policy.decide(view)).placements:
                _, cores, lasts, _ = waiting.pop(placement.group)
                heapq.heappush(running, (now + lasts, placement.group, placement.node, cores))
                if placement.group == 0:
                    return now
            now += every_s
        return None


@pytest.mark.parametrize(
    ("seed", "priority", "wait"), [(0, 0, NEVER), (1, 50, NEVER), (2, 50, ALWAYS), (3, 0, ALWAYS)]
)
def test_nothing_starves_under_any_weights(build, networks, seed, priority, wait):
    # After six hours it is the oldest of those that go first, and has the next node.
    assert Stream(build, networks(seed, wait=wait), priority).started_after(PATIENCE_S + 400.0) is not None


def test_work_of_the_highest_priority_ages_too(build, networks):
    nodes = build.nodes((8, 64))
    for seed in range(8):
        old = build.group(nodes, 0, priority=100, since=build.now - PATIENCE_S, demand=(8, 1), timeout_s=1e6)
        fresh = [build.group(nodes, key, priority=100, run_time_s=1.0) for key in range(1, 4)]
        assert networks(seed).order(build.view(nodes, *fresh, old))[0] is old


def test_rule_equal_weights_order_as_smallest_area_first(build, rules):
    rng = np.random.default_rng(1)
    nodes = build.nodes((32, 256, 9))
    for _ in range(20):
        groups = [
            build.group(
                nodes, key, run_time_s=float(rng.uniform(1, 900)),
                demand=(float(rng.uniform(0.1, 32)), float(rng.uniform(1, 256))),
            )
            for key in range(12)
        ]  # fmt: skip
        view = build.view(nodes, *groups)
        assert [each.key for each in rules.order(view)] == [each.key for each in shortest_order(view)]


def test_rule_equal_weights_place_as_best_fit(build, rules):
    rng = np.random.default_rng(1)
    for _ in range(30):
        nodes = build.nodes(*[(int(cores), 4096) for cores in rng.choice([4, 8, 16, 32], 12)])
        running = [(at, (float(rng.integers(0, 4)) + at / 100, 1), 60.0) for at in range(12)]
        group = build.group(nodes, count=int(rng.integers(1, 30)), demand=(1, 1))
        view = build.view(nodes, group, running=running)
        assert build.placed(rules.decide(view)) == build.placed(BEST_FIT.decide(view))


def test_the_shipped_weights_load_and_are_small():
    assert "default" in shipped_names()
    for name in shipped_names():
        assert len(shipped_bytes(name)) <= 100_000
        assert shipped_ensemble(name).checkpoint.manifest.licence
    assert policy_named("learned").ensemble is shipped_ensemble()


def test_many_tasks_of_few_groups_and_many_nodes(build, networks):
    nodes = build.nodes(*[(8, 64)] * 200)
    groups = [build.group(nodes, key, count=500_000, priority=99 * key, run_time_s=600.0) for key in range(2)]
    view = build.view(nodes, *groups)
    decision = validate(view, networks(1).decide(view))
    assert sum(build.placed(decision, 1).values()) == 1600
    few = build.view(nodes, build.group(nodes, count=700, run_time_s=600.0))
    assert sum(build.placed(validate(few, networks(1).decide(few))).values()) == 700


def test_empty_views_and_one_node(build, networks):
    policy = networks(2)
    nothing = build.nodes()
    assert policy.decide(build.view(nothing)).placements == ()
    assert policy.decide(build.view(nothing, build.group(nothing))).placements == ()
    one = build.nodes((4, 8))
    assert policy.decide(build.view(one)).placements == ()
    assert build.placed(policy.decide(build.view(one, build.group(one, count=9)))) == {0: 4}
