"""Clocks move as told and delays stay in bounds."""

from __future__ import annotations

import itertools
import time
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.errors import InvalidSetting
from farlane.kit.backoff import Backoff
from farlane.kit.clock import Clock, ManualClock, SystemClock


def test_the_system_clock_reads_the_machine() -> None:
    clock: Clock = SystemClock()
    before, before_monotonic = time.time(), time.monotonic()
    assert before <= clock.now() <= time.time()
    assert before_monotonic <= clock.monotonic() <= time.monotonic()


def test_a_manual_clock_stands_still_until_advanced() -> None:
    clock = ManualClock(now_s=1000.0)
    assert (clock.now(), clock.monotonic()) == (1000.0, 0.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (1002.5, 2.5)


def test_setting_the_wall_clock_back_leaves_monotonic_time() -> None:
    clock = ManualClock(now_s=1000.0)
    clock.step_wall(-600)
    assert (clock.now(), clock.monotonic()) == (400.0, 0.0)


def test_time_does_not_pass_backwards() -> None:
    with pytest.raises(ValueError, match="step_wall"):
        ManualClock().advance(-1)


def test_ceilings_grow_to_the_cap_and_stay() -> None:
    ceilings = itertools.islice(Backoff(first_s=1, cap_s=10, factor=3).ceilings(), 5)
    assert list(ceilings) == [1, 3, 9, 10, 10]


def test_the_same_seed_gives_the_same_delays() -> None:
    backoff = Backoff()
    one, other, third = (list(itertools.islice(backoff.delays(Random(seed)), 20)) for seed in (1, 1, 2))
    assert one == other != third


def test_jitter_uses_the_whole_range() -> None:
    delays = list(itertools.islice(Backoff(first_s=1, cap_s=1).delays(Random(7)), 1000))
    assert min(delays) < 0.05
    assert max(delays) > 0.95
    assert 0.45 < sum(delays) / len(delays) < 0.55


@given(
    first_s=st.floats(0.001, 10),
    cap_s=st.floats(10, 100),
    factor=st.floats(1, 10),
    seed=st.integers(0, 2**32),
)
def test_no_delay_leaves_its_bounds(first_s: float, cap_s: float, factor: float, seed: int) -> None:
    backoff = Backoff(first_s, cap_s, factor)
    pairs = list(itertools.islice(zip(backoff.delays(Random(seed)), backoff.ceilings(), strict=False), 50))
    assert all(0 <= delay <= ceiling <= cap_s for delay, ceiling in pairs)


def test_the_five_thousandth_delay_does_not_overflow() -> None:
    assert next(itertools.islice(Backoff(cap_s=5).ceilings(), 5000, None)) == 5


@pytest.mark.parametrize(("first_s", "cap_s", "factor"), [(0, 1, 2), (-1, 1, 2), (2, 1, 2), (1, 2, 0.5)])
def test_impossible_backoffs_are_refused(first_s: float, cap_s: float, factor: float) -> None:
    with pytest.raises(InvalidSetting, match="choose 0 < first_s"):
        Backoff(first_s, cap_s, factor)
