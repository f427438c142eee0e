"""What the network sees of a view: in bounds, as training sees it, and exact where it matters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.scheduler.board import Board
from farlane.scheduler.learned.features import (
    GLOBAL_FEATURES,
    NODE_FEATURES,
    PAIR_FEATURES,
    TASK_FEATURES,
    global_features,
    task_features,
)
from farlane.scheduler.learned.pairing import Pairing, usual
from farlane.scheduler.learned.view_features import (
    BANDWIDTH,
    NO_OPENING_S,
    node_view,
    task_columns,
    task_view,
    whole,
)
from farlane.scheduler.sharing import Places


def pairing(view, group, rows, option=0):
    rows = np.array(rows, np.int64)
    places = Places(rows, np.full(len(rows), option, np.int64), np.ones(len(rows), np.int64))
    return Pairing(Board(view), group, places, usual(view), node_view(view))


def column(matrix, names, name):
    return matrix[:, names.index(name)].tolist()


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_everything_is_finite_and_of_the_right_shape(views, data):
    view = data.draw(views())
    seen, y = task_view(view), node_view(view)
    assert seen.x.shape == (len(view.groups), len(TASK_FEATURES))
    assert seen.g.shape == (len(GLOBAL_FEATURES),)
    assert y.shape == (len(view.nodes.ids), len(NODE_FEATURES))
    for part in (seen.x, seen.g, seen.share, y):
        assert np.isfinite(part).all()
        assert (np.abs(part) <= 3).all()
    for group in view.groups:
        rows = np.flatnonzero(group.eligible)
        if len(rows) and len(group.demands):
            option = data.draw(st.integers(0, len(group.demands) - 1))
            p, near = pairing(view, group, rows, option).features(
                np.arange(len(rows)), np.zeros(len(rows), np.int64)
            )
            assert p.shape == (len(rows), len(PAIR_FEATURES))
            assert near == pytest.approx(y[rows], abs=1e-6)
            assert np.isfinite(p).all()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_with_one_task_a_group_the_whole_is_that_of_training(views, data):
    view = data.draw(views())
    columns = task_columns(view)
    x = task_features(columns)
    ones = np.ones(len(view.groups))
    mine = whole(view, columns, x, ones)
    if len(ones):
        theirs = global_features(columns, x, float(mine[1]), 1.0, int(view.nodes.online.sum()), 0.0)
        assert mine == pytest.approx(theirs, abs=1e-9)


def test_a_group_counts_as_its_tasks(build):
    nodes = build.nodes((8, 64))
    many = task_view(build.view(nodes, build.group(nodes, count=99), build.group(nodes, 1, run_time_s=9.0)))
    assert many.share.tolist() == pytest.approx([0.99, 0.01])
    assert many.g[GLOBAL_FEATURES.index("queue")] == pytest.approx(np.log10(101) / 3)


def test_fits_and_openings(build):
    nodes = build.nodes((8, 64), (4, 64), (16, 64), offline=[2])
    groups = [
        build.group(nodes, 0, demand=(2, 1)),
        build.group(nodes, 1, demand=(5, 1)),
        build.group(nodes, 2, demand=(2, 1), eligible=np.array([True, False, True])),
        build.group(nodes, 3, demand=(12, 1)),
    ]
    view = build.view(nodes, *groups, running=[(0, (4, 1), 30.0), (0, (3, 1), 10.0)])
    found = task_columns(view)
    assert found.fits.tolist() == [1.0, 0.0, 0.0, 0.0]
    # Four cores are free at most: one is lacking, and the first to end gives three.
    assert found.opening_s.tolist() == [0.0, 10.0, 10.0, NO_OPENING_S]
    assert found.options.tolist() == pytest.approx([1, 2 / 3, 2 / 3, 1 / 3])


def test_ages_deadlines_and_budgets(build):
    nodes = build.nodes((8, 64))
    groups = [
        build.group(nodes, 0, since=build.now - 50, deadline_at=build.now + 100, run_time_s=30.0),
        build.group(nodes, 1, since=build.now - 90, count=4, affordable=6),
        build.group(nodes, 2, since=build.now - 90, run_time_s=9e9),
    ]
    found = task_columns(build.view(nodes, *groups))
    assert found.wait_s.tolist() == [50, 90, 90]
    assert found.rank.tolist() == [1, 0, 0]
    assert found.slack_s.tolist() == [70, np.inf, np.inf]
    assert found.spare_budget.tolist() == [np.inf, 0.5, np.inf]
    assert found.expected_s.tolist() == [30, 3600, 3600]
    assert found.known.tolist() == [1, 0, 1]


def test_gpus_are_counted_and_wanted_ones_known(build):
    nodes = build.nodes(
        (8, 64, 9, (4, 0)), (8, 64, 9, (0, 2)), (8, 64, 9, (0, 0)), kinds=(build.t4, build.a100)
    )
    one = build.group(nodes, 0, count=3, demand=[(1, 1, 0, (1, 0)), (1, 1, 0, (0, 1))])
    two = build.group(nodes, 1, count=3, demand=(1, 1, 0, (0, 2)))
    view = build.view(nodes, one, two, build.group(nodes, 2))
    assert task_columns(view).gpus.tolist() == [0.25, 0.5, 0.0]
    y = node_view(view)
    assert column(y, NODE_FEATURES, "wanted") == pytest.approx([1 / 3, 1, 0])
    assert column(y, NODE_FEATURES, "gpus") == [1, 0.5, 0]
    p, _ = pairing(view, view.groups[2], [0, 1, 2]).features(np.arange(3), np.zeros(3, np.int64))
    assert column(p, PAIR_FEATURES, "needless") == [1, 1, 0]
    assert column(p, PAIR_FEATURES, "fragments") == [0, 0, 0]
    full = build.view(nodes, one, two, build.group(nodes, 2, demand=(8, 1)))
    # A task that takes all cores strands every GPU that somebody could have used.
    p, _ = pairing(full, full.groups[2], [0, 1]).features(np.arange(2), np.zeros(2, np.int64))
    assert column(p, PAIR_FEATURES, "fragments") == pytest.approx([4 * 3 / 7 / 2, 2 * 6 / 7 / 2])


def test_what_tasks_of_the_group_took_is_seen(build):
    nodes = build.nodes((8, 64), (4, 64), price=[2, 1])
    group = build.group(nodes, count=9, run_time_s=60.0, missing=np.array([0, 10**9]), alike=np.array([2, 0]))
    view = build.view(nodes, group)
    made = pairing(view, group, [0, 1])
    first, _ = made.features(np.arange(2), np.zeros(2, np.int64))
    later, y = made.features(np.array([0]), np.array([3]))
    assert column(first, PAIR_FEATURES, "left_cpu") == pytest.approx([7 / 8, 3 / 4])
    assert column(later, PAIR_FEATURES, "left_cpu") == pytest.approx([4 / 8])
    assert column(first, PAIR_FEATURES, "load") == pytest.approx([0, np.log10(1 + 1e9 / BANDWIDTH) / 3])
    assert column(first, PAIR_FEATURES, "alike") == pytest.approx(np.log10([3, 1]).tolist())
    assert column(later, PAIR_FEATURES, "alike") == pytest.approx([np.log10(6)])
    # Costs are told against the cheapest place, also where that is not asked about.
    assert column(later, PAIR_FEATURES, "cost") == pytest.approx([np.log10(2)])
    assert column(y, NODE_FEATURES, "free_cpu") == pytest.approx([5 / 8])
    assert column(y, NODE_FEATURES, "idle") == [0]
    # Taking up again is the same as a view in which they run.
    running = build.view(nodes, replace(group, alike=np.array([5, 0])), running=[(0, (3, 3), 60.0)])
    again, _ = pairing(running, running.groups[0], [0, 1]).features(np.arange(1), np.zeros(1, np.int64))
    assert again == pytest.approx(later, abs=1e-6)
