"""Splits: nobody is judged on what anybody may train on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.errors import InvalidInput
from farlane.lab.evaluation.splits import (
    SEQUENCES,
    TEST_SEEDS,
    TRAINING_SEEDS,
    VALIDATION_SEEDS,
    Range,
    draw_sequences,
    split_jobs,
    validation_sequences,
)
from farlane.lab.published import SEQUENCE_JOBS, TABLE_JOBS, table_starts

LOGS = st.integers(6_000, 400_000)


def rows(ranges: tuple[Range, ...]) -> set[int]:
    return {row for first, last in ranges for row in range(first, last)}


@settings(max_examples=25, deadline=None)
@given(LOGS, st.integers(0, 5))
def test_no_job_of_a_test_sequence_is_for_training_or_choosing(jobs: int, seed: int) -> None:
    split = split_jobs(jobs)
    taken = draw_sequences(split.test, seed)
    judged = np.unique(taken.starts[:, None] + np.arange(taken.length))
    assert judged.min() >= 0
    assert judged.max() < jobs
    for first, last in split.train + split.validation:
        assert first < last
        assert not ((judged >= first) & (judged < last)).any()
    assert len(taken.starts) >= SEQUENCES


@settings(max_examples=25, deadline=None)
@given(LOGS)
def test_ranges_are_apart_with_gaps(jobs: int) -> None:
    split = split_jobs(jobs)
    ranges = sorted(split.train + split.validation + split.test)
    for (_, last), (first, _) in itertools.pairwise(ranges):
        assert first - last >= 512


@pytest.mark.parametrize("jobs", [59_705, 202_871])
def test_published_sequences_of_long_logs_are_for_judging(jobs: int) -> None:
    split = split_jobs(jobs)
    trained = rows(split.train) | rows(split.validation)
    for start in table_starts(jobs).tolist():
        assert trained.isdisjoint(range(start, start + SEQUENCE_JOBS))
    assert min(trained) > TABLE_JOBS


def test_where_there_is_room_sequences_share_no_job_and_follow_the_seed() -> None:
    split = split_jobs(202_871)
    taken = draw_sequences(split.test, 3)
    assert taken.block == 1
    assert (np.diff(taken.starts) >= SEQUENCE_JOBS).all()
    assert taken.starts.tolist() == draw_sequences(split.test, 3).starts.tolist()
    assert taken.starts.tolist() != draw_sequences(split.test, 4).starts.tolist()


def test_where_there_is_none_they_are_spread_and_say_how_many_share_jobs() -> None:
    taken = draw_sequences(split_jobs(10_000).test)
    strides = np.diff(taken.starts)
    assert len(taken.starts) == SEQUENCES
    assert strides.max() - strides.min() <= 1
    assert taken.block == -(-SEQUENCE_JOBS // int(np.median(strides)))


def test_validation_sequences_are_in_the_validation_range() -> None:
    split = split_jobs(10_000)
    taken = validation_sequences(split)
    (first, last) = split.validation[0]
    assert first <= taken.starts.min()
    assert taken.starts.max() + taken.length <= last


def test_an_unseen_log_is_all_for_judging() -> None:
    assert split_jobs(10_000, unseen=True).test == ((0, 10_000),)


def test_seeds_by_use_are_apart() -> None:
    assert TEST_SEEDS.stop <= VALIDATION_SEEDS.start
    assert VALIDATION_SEEDS.stop <= TRAINING_SEEDS.start


def test_short_logs_are_refused() -> None:
    with pytest.raises(InvalidInput, match="too short"):
        split_jobs(3_000)
    with pytest.raises(InvalidInput, match="no range"):
        draw_sequences(((0, 100),))
