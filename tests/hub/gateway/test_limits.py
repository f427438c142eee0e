"""Limits in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.errors import Exhausted
from farlane.hub.gateway.limits import Bucket, ByteBudget, Concurrency, RateLimits, Rates


def test_a_bucket_fills_evenly_and_holds_a_minute() -> None:
    bucket = Bucket(60, 0.0)
    bucket.draw(0.0, 60)
    assert bucket.wait_s(0.0, 1) == 1.0
    assert bucket.wait_s(1.0, 1) == 0.0
    assert bucket.full_in_s(1.0) == 59.0
    assert bucket.full_in_s(1000.0) == 0.0


def test_tokens_may_overdraw_and_the_next_waits() -> None:
    limits = RateLimits(Rates(tokens=100), Rates())
    limits.admit(0.0, "acme", "m")
    limits.spend(0.0, "acme", "m", 300)
    with pytest.raises(Exhausted, match="100 tokens a minute") as caught:
        limits.admit(0.0, "acme", "m")
    assert caught.value.facts["retry_after_s"] == pytest.approx(120.6)
    limits.admit(0.0, "other", "m")
    limits.admit(121.0, "acme", "m")


def test_a_model_has_a_rate_of_its_own_and_refusals_cost_nothing() -> None:
    limits = RateLimits(Rates(requests=10), Rates(requests=1))
    limits.admit(0.0, "acme", "m")
    with pytest.raises(Exhausted, match="model 'm'"):
        limits.admit(0.0, "acme", "m")
    assert limits.headers(0.0, "acme")["x-ratelimit-remaining-requests"] == "9"


@given(st.lists(st.floats(0, 30), max_size=200), st.integers(1, 50))
def test_never_more_than_the_rate_and_one_burst(pauses: list[float], per_minute: int) -> None:
    limits, now, admitted = RateLimits(Rates(requests=per_minute), Rates()), 0.0, 0
    for pause in pauses:
        now += pause
        try:
            limits.admit(now, "acme", "m")
        except Exhausted:
            continue
        admitted += 1
    assert admitted <= per_minute * (1 + now / 60) + 1e-6


def test_places_are_given_back_however_a_request_ends() -> None:
    places = Concurrency(total=2, each=1)
    with places.slot("a"):
        with pytest.raises(Exhausted, match="'a'"), places.slot("a"):
            raise AssertionError("unreachable")
        with places.slot("b"), pytest.raises(Exhausted, match="answers 2"), places.slot("c"):
            raise AssertionError("unreachable")
    with pytest.raises(KeyError), places.slot("a"):
        raise KeyError
    assert places.running == {}


def test_bytes_that_do_not_fit_do_not_count() -> None:
    budget = ByteBudget(10)
    budget.take(8)
    with pytest.raises(Exhausted):
        budget.take(3)
    budget.take(2)
    budget.give_back(10)
    assert budget.held == 0
