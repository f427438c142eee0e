"""What a job can cost at most, will probably cost, and what each node asks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from farlane.domain.jobs import MAX_RESULT_BYTES
from farlane.domain.prices import RateVector, amount_ceiling
from farlane.domain.resources import GIB, GpuKind, GpuRequest
from farlane.domain.units import CREDIT
from farlane.scheduler.eligibility import ObstacleKind
from farlane.scheduler.quoting import quote

A100, T4 = GpuKind("A100", 80 * GIB), GpuKind("T4", 16 * GIB)


def rates(core_second, **more):
    return RateVector(core_second=core_second, **more)


def test_the_bound_is_the_dearest_eligible_node_for_every_attempt(build):
    spec = build.job_spec(timeout_ms=60_000, retries=2)
    nodes = [
        build.node_spec("cheap", rates=rates(10)),
        build.node_spec("dear", rates=rates(30)),
        build.node_spec("foreign", rates=rates(900), organisation="uni"),
    ]
    found = quote(spec, 5, nodes)
    assert (found.attempt, found.hourly) == (30 * 60, 30 * 3600)
    assert found.upper_bound == found.at_most == 5 * 3 * 30 * 60
    assert found.expected is None
    assert [each.eligible for each in found.offers] == [True, True, False]
    assert [each.hourly for each in found.offers] == [36_000, 108_000, 900 * 3600]
    assert found.offers[2].obstacle.kind is ObstacleKind.ORGANISATION


def test_the_budget_caps_the_bound(build):
    spec = build.job_spec(timeout_ms=60_000, budget=700)
    found = quote(spec, 5, [build.node_spec(rates=rates(10))])
    assert (found.upper_bound, found.at_most) == (3000, 700)
    assert (
        quote(build.job_spec(timeout_ms=60_000, budget=9000), 5, [build.node_spec(rates=rates(10))]).at_most
        == 3000
    )


def test_what_is_expected_follows_the_run_time_and_never_the_time_out(build):
    spec = build.job_spec(timeout_ms=60_000)
    nodes = [build.node_spec("a", rates=rates(10)), build.node_spec("b", rates=rates(21))]
    found = quote(spec, 3, nodes, run_time_s=2.0)
    assert [each.expected for each in found.offers] == [20, 42]
    assert found.expected == 93
    assert quote(spec, 1, nodes[:1], run_time_s=9999.0).expected == 600


def test_bytes_moved_are_part_of_both(build):
    spec = build.job_spec(timeout_ms=1000)
    node = build.node_spec(rates=RateVector(gib_moved=GIB))
    found = quote(spec, 1, [node], payload_bytes=1000, run_time_s=1.0)
    assert found.attempt == MAX_RESULT_BYTES + 1000
    assert found.expected == 1000


def test_without_an_eligible_node_there_is_no_price(build):
    spec = build.job_spec(gpu=GpuRequest(1))
    found = quote(spec, 5, [build.node_spec()])
    assert (found.attempt, found.hourly, found.upper_bound, found.at_most, found.expected) == (None,) * 5
    assert (found.offers[0].hourly, found.offers[0].attempt) == (None, None)
    assert quote(spec, 5, []).offers == ()


def test_gpu_offers_use_the_dearest_kind_within_the_cap(build):
    priced = RateVector(gpu_second=(("T4", CREDIT), ("A100", 9 * CREDIT)))
    node = build.node_spec(rates=priced, gpus=((T4, 1), (A100, 1)))
    open_price = quote(build.job_spec(gpu=GpuRequest(1), timeout_ms=1000), 1, [node])
    assert (open_price.hourly, open_price.attempt) == (9 * 3600 * CREDIT, 9 * CREDIT)
    capped = quote(build.job_spec(gpu=GpuRequest(1), timeout_ms=1000, max_price=3600 * CREDIT), 1, [node])
    assert (capped.hourly, capped.attempt) == (3600 * CREDIT, CREDIT)
    refused = quote(build.job_spec(gpu=GpuRequest(1), max_price=1), 1, [node])
    assert refused.offers[0].obstacle.kind is ObstacleKind.PRICE
    assert refused.offers[0].hourly == 9 * 3600 * CREDIT
    assert refused.upper_bound is None


@given(st.data())
def test_no_lease_within_its_limits_costs_more_than_an_attempt(build, data):
    priced = RateVector(
        *[data.draw(st.integers(0, 10**9)) for _ in range(2)], (), data.draw(st.integers(0, 10**9))
    )
    spec = build.job_spec(cores=data.draw(st.integers(1, 8)), timeout_ms=data.draw(st.integers(1, 10**7)))
    payload = data.draw(st.integers(0, 10**6))
    found = quote(spec, 1, [build.node_spec(rates=priced)], payload)
    lease_ms = data.draw(st.integers(0, spec.timeout_ms))
    moved = payload + data.draw(st.integers(0, MAX_RESULT_BYTES))
    assert amount_ceiling(priced, spec.resources, lease_ms, moved) <= found.attempt
