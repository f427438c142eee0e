"""The worked example of docs/explanation/money.md is what the code computes."""

from __future__ import annotations

from pathlib import Path

import pytest

from farlane.domain.billing import meter
from farlane.domain.ids import NodeId
from farlane.domain.jobs import BlobRef, FunctionWork, JobSpec
from farlane.domain.nodes import NodeSpec
from farlane.domain.prices import hourly_ceiling
from farlane.domain.resources import GIB, Capacity, Resources
from farlane.domain.units import credits_text
from farlane.node.offer import rates_ceiling
from farlane.node.settings import NodeSettings
from farlane.scheduler.quoting import quote

ARGUMENT_BYTES = 16 << 10
RESULT_BYTES = 1 << 20
RATES = rates_ceiling(NodeSettings(core_hour="0.02", gib_hour="0.002", gib_moved="0.01"))
SPEC = JobSpec(
    name="example",
    function=FunctionWork(BlobRef("cid", 1), "3.11"),
    resources=Resources(2000, 4 * GIB),
    timeout_ms=600_000,
    retries=1,
)
NODE = NodeSpec(NodeId("n"), "n", "", Capacity(8000, 16 * GIB, 16 * GIB), "3.11", "linux-x86_64", RATES)


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs/explanation/money.md").read_text(encoding="utf-8")


def test_the_rates(page: str) -> None:
    for name, rate in (
        ("core-second", RATES.core_second),
        ("GiB-second", RATES.gib_second),
        ("GiB moved", RATES.gib_moved),
    ):
        assert f"| {name} | {rate:,} |" in page


def test_the_quote_and_the_reserve(page: str) -> None:
    found = quote(SPEC, 100, [NODE], ARGUMENT_BYTES)
    assert found.attempt == meter(RATES, SPEC).reserve_ceiling(ARGUMENT_BYTES)
    assert found.attempt is not None
    assert found.upper_bound is not None
    assert f"=  {found.attempt:,}\n" in page
    shown = f"100 x (1 + 1) x {found.attempt:,}  =  {found.upper_bound:,}  =  {credits_text(found.upper_bound)} credits"
    assert shown in page
    assert f"{hourly_ceiling(RATES, SPEC.resources):,} nano-credits" in page


def test_the_charge(page: str) -> None:
    charged = meter(RATES, SPEC).charge_ceiling(min(42_480, 42_512), ARGUMENT_BYTES + RESULT_BYTES)
    assert f"=  {charged:,}  =  {credits_text(charged)} credits" in page
    assert meter(RATES, SPEC).charge_ceiling(1000, 0) == 13_336
