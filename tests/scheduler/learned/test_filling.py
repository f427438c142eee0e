"""Tasks go where scores are highest, and to equals evenly; few looks do."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.scheduler.learned.filling import PASSES, fill


class Scores:
    """Fixed scores of places, falling by `slope` with each task they get; counts what it was asked."""

    def __init__(self, base, slope=0.0):
        self.base, self.slope = np.array(base, np.float64), slope
        self.asked = []

    def __call__(self, places, got):
        self.asked.append(len(places))
        return self.base[places] - self.slope * got


def amounts(*numbers):
    return np.array(numbers, np.int64)


def test_the_best_place_is_filled_first():
    shared = fill(Scores([1, 3, 2]), amounts(5, 5, 5), 7)
    assert shared.tolist() == [0, 5, 2]


def test_one_task_takes_one_look():
    scores = Scores([1, 3, 2])
    assert fill(scores, amounts(5, 5, 5), 1).tolist() == [0, 1, 0]
    assert scores.asked == [3]


def test_equals_share_evenly_where_tasks_change_nothing():
    assert fill(Scores([1, 1, 0]), amounts(80, 80, 80), 80).tolist() == [40, 40, 0]
    assert fill(Scores([2, 1, 1]), amounts(3, 8, 4), 9, passes=1).tolist() == [3, 4, 2]


def test_scores_that_fall_with_use_spread_and_those_that_rise_pack():
    room = amounts(90, 90, 90)
    assert fill(Scores([1.0, 1.1], slope=0.2), amounts(9, 9), 6).tolist() == [3, 3]
    assert fill(Scores([1, 1, 1], slope=0.01), room, 99).tolist() == [33, 33, 33]
    assert fill(Scores([1, 1, 1], slope=-0.01), room, 99).tolist() == [90, 9, 0]


def test_many_tasks_take_few_looks_at_few_places():
    scores = Scores(np.linspace(0, 1, 10_000), slope=1e-6)
    shared = fill(scores, np.full(10_000, 100), 10_000)
    assert shared.sum() == 10_000
    assert len(scores.asked) <= 2 * PASSES
    assert sum(scores.asked[1:]) <= 150 * PASSES


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_one_block_of_evenly_falling_scores_is_what_one_task_after_the_other_gives(data):
    places = data.draw(st.integers(1, 5))
    room = amounts(*data.draw(st.lists(st.integers(1, 9), min_size=places, max_size=places)))
    base = data.draw(st.lists(st.integers(0, 9), min_size=places, max_size=places, unique=True))
    base = [score + at / 100 for at, score in enumerate(base)]
    count = data.draw(st.integers(1, int(room.sum())))
    blockwise = fill(Scores(base, 0.37), room, count, passes=1)
    assert blockwise.tolist() == fill(Scores(base, 0.37), room, count, passes=count).tolist()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_scores_give_shares_that_fit_and_sum_up(data):
    places = data.draw(st.integers(1, 8))
    room = amounts(*data.draw(st.lists(st.integers(1, 9), min_size=places, max_size=places)))
    base = data.draw(st.lists(st.sampled_from([0.0, 1.0, 2.0, -1e30]), min_size=places, max_size=places))
    count = data.draw(st.integers(1, int(room.sum())))
    shared = fill(
        Scores(base, data.draw(st.sampled_from([0.0, 0.3]))),
        room,
        count,
        data.draw(st.integers(1, 9)),
    )
    assert shared.sum() == count
    assert ((shared >= 0) & (shared <= room)).all()


def test_a_block_smaller_than_the_best_equals_is_shared_among_some_of_them():
    shared = fill(Scores([1, 1, 1], slope=0.1), amounts(9, 9, 9), 2, passes=1)
    assert sorted(shared.tolist()) == [0, 1, 1]
