"""Prices: exact integers, rounded up once; one rule for quote, cap and bill."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.domain.billing import MAX_ATTEMPT_NANO, meter, moved_bound
from farlane.domain.jobs import MAX_RESULT_BYTES, BlobRef, CommandWork, InputFile, JobSpec
from farlane.domain.prices import RateVector, amount_ceiling, ceil_div, hourly_ceiling
from farlane.domain.resources import GIB, GpuKind, GpuRequest, Resources

T4, A100, H100 = GpuKind("T4", 16 * GIB), GpuKind("A100", 80 * GIB), GpuKind("H100", 80 * GIB)

rate = st.integers(0, 10**12)
rates_of = st.builds(
    RateVector, rate, rate, st.just(()) | st.tuples(st.tuples(st.sampled_from(["T4", "*"]), rate)), rate
)
resources_of = st.builds(
    Resources, st.integers(1, 10**6), st.integers(1, 1 << 45), st.integers(0, 1 << 45),
    st.none() | st.builds(GpuRequest, st.integers(1, 1024)),
)  # fmt: skip
kind_of = st.none() | st.sampled_from([T4, A100])
lease_ms_of = st.integers(0, 10**10)
bytes_of = st.integers(0, 1 << 50)


def exact(rates: RateVector, wanted: Resources, ms: int, moved: int, gpu: GpuKind | None) -> Fraction:
    """Return the price in nano-credits as a fraction: the sentence in the docstring, written out."""
    second = Fraction(rates.core_second * wanted.cpu_milli, 1000) + Fraction(
        rates.gib_second * wanted.memory_bytes, GIB
    )
    if wanted.gpu is not None and gpu is not None:
        second += wanted.gpu.count * rates.gpu_rate(gpu)
    return second * Fraction(ms, 1000) + Fraction(rates.gib_moved * moved, GIB)


@given(rates_of, resources_of, lease_ms_of, bytes_of, kind_of)
def test_amounts_are_the_exact_price_rounded_up(
    rates: RateVector, wanted: Resources, ms: int, moved: int, gpu: GpuKind | None
) -> None:
    price = ceil(exact(rates, wanted, ms, moved, gpu))
    assert amount_ceiling(rates, wanted, ms, moved, gpu) == price
    assert meter(rates, JobSpec(name="j", resources=wanted), gpu).charge_ceiling(ms, moved) == price


@given(rates_of, resources_of, kind_of, lease_ms_of, bytes_of, st.integers(0, 10**6), st.integers(0, 1 << 40))
def test_more_time_or_more_bytes_never_cost_less(
    rates: RateVector, wanted: Resources, gpu: GpuKind | None, ms: int, moved: int, more_ms: int, more: int
) -> None:
    price = meter(rates, JobSpec(name="j", resources=wanted), gpu).charge_ceiling
    assert 0 <= price(ms, moved) <= price(ms + more_ms, moved) <= price(ms + more_ms, moved + more)


@given(
    rates_of,
    resources_of,
    kind_of,
    st.integers(1, 10**9),
    st.integers(0, 1 << 40),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_a_reserve_covers_whatever_an_attempt_may_do(
    rates: RateVector,
    wanted: Resources,
    gpu: GpuKind | None,
    timeout_ms: int,
    payload: int,
    time: float,
    moved: float,
) -> None:
    spec = JobSpec(name="j", resources=wanted, timeout_ms=timeout_ms, command=CommandWork("run"))
    prices = meter(rates, spec, gpu)
    most = moved_bound(spec, payload)
    reserve = prices.reserve_ceiling(payload)
    assert reserve == min(MAX_ATTEMPT_NANO, ceil(exact(rates, wanted, timeout_ms, most, gpu)))
    charge = prices.charge_ceiling(int(timeout_ms * time), int(most * moved))
    assert min(MAX_ATTEMPT_NANO, charge) <= reserve


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**18))
def test_ceil_div_rounds_up(numerator: int, denominator: int) -> None:
    assert ceil_div(numerator, denominator) == ceil(Fraction(numerator, denominator))


def test_an_amount_by_hand() -> None:
    rates = RateVector(core_second=1000, gib_second=100, gpu_second=(("T4", 50_000),), gib_moved=1_000_000)
    wanted = Resources(2500, 3 * GIB, GIB, GpuRequest(2))
    # A second: 2.5 x 1000 + 3 x 100 + 2 x 50,000 = 102,800. Half a GiB moved: 500,000.
    assert amount_ceiling(rates, wanted, 1500, GIB // 2, T4) == 154_200 + 500_000
    assert amount_ceiling(rates, wanted, 1500, GIB // 2, None) == 4_200 + 500_000
    assert amount_ceiling(rates, wanted, 1, 0, T4) == 103  # 102.8
    assert amount_ceiling(rates, wanted, 0, 1, T4) == 1  # 0.00093
    assert amount_ceiling(rates, wanted, 0, 0, T4) == 0
    assert hourly_ceiling(rates, wanted, T4) == 3600 * 102_800
    assert hourly_ceiling(rates, wanted) == 3600 * 2_800


@pytest.mark.parametrize(("kind", "rate"), [(T4, 5), (A100, 70), (H100, 9)])
def test_a_star_is_the_rate_of_every_kind_without_one_of_its_own(kind: GpuKind, rate: int) -> None:
    assert RateVector(gpu_second=(("T4", 5), ("*", 9), ("A100", 70))).gpu_rate(kind) == rate
    assert RateVector(gpu_second=(("L4", 5),)).gpu_rate(kind) == 0


def test_a_function_may_return_so_much_and_a_command_may_fill_its_disk() -> None:
    assert moved_bound(JobSpec(name="j"), 7) == 7 + MAX_RESULT_BYTES
    work = CommandWork("run", inputs=(InputFile("a", BlobRef("cid", 20)), InputFile("b", BlobRef("cid", 3))))
    spec = JobSpec(name="j", command=work, resources=Resources(1, 1, 1000))
    assert moved_bound(spec, 7) == 7 + 23 + 1000
