"""Builders: small valid values for tests, each field open to change."""

from __future__ import annotations

from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import NodeId
from farlane.domain.jobs import BlobRef, FunctionWork, JobSpec
from farlane.domain.nodes import NodeSpec
from farlane.domain.prices import RateVector
from farlane.domain.records import Column
from farlane.domain.resources import GIB, Capacity, Resources

PYTHON = "3.11"
RATES = RateVector(core_second=1000, gib_second=100, gpu_second=(("*", 50_000),), gib_moved=1_000_000)


def a_job(**changes: object) -> JobSpec:
    """Return a function job of one core and 1 GiB."""
    values: dict[str, object] = {
        "name": "job",
        "function": FunctionWork(BlobRef("bafkreifunction", 100), PYTHON, "f"),
        "resources": Resources(1000, GIB, GIB),
        "timeout_ms": 60_000,
        "organisation": "lab",
        "publisher": "lab/ada",
        "profile": "f",
    }
    return JobSpec(**(values | changes))  # type: ignore[arg-type]


def a_node(name: str = "n1", *, cpu: int = 4000, rates: RateVector = RATES, **changes: object) -> NodeSpec:
    """Return a node of four cores and 16 GiB."""
    values: dict[str, object] = {
        "node": NodeId(f"id-{name}"),
        "name": name,
        "organisation": "lab",
        "capacity": Capacity(cpu, 16 * GIB, 100 * GIB),
        "python": PYTHON,
        "platform": "linux-x86_64",
        "rates": rates,
    }
    return NodeSpec(**(values | changes))  # type: ignore[arg-type]


def payloads(count: int, size_bytes: int = 4) -> Column:
    """Return a column of distinct payloads."""
    return Column([index.to_bytes(4, "big").ljust(size_bytes, b".") for index in range(count)])


def a_failure(kind: FailureKind = FailureKind.EXCEPTION, message: str = "it broke") -> Failure:
    """Return a failure."""
    return Failure(kind, message)
