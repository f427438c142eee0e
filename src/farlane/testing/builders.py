"""Builders: small valid values for tests, each field open to change."""

from __future__ import annotations

from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import NodeId
from farlane.domain.jobs import BlobRef, CommandWork, FunctionWork, InputFile, JobSpec
from farlane.domain.nodes import NodeSpec
from farlane.domain.prices import RateVector
from farlane.domain.records import Column
from farlane.domain.resources import GIB, Capacity, GpuKind, GpuRequest, Resources

PYTHON = "3.11"
RATES = RateVector(core_second=1000, gib_second=100, gpu_second=(("*", 50_000),), gib_moved=1_000_000)
T4, A100 = GpuKind("T4", 16 * GIB), GpuKind("A100", 80 * GIB)


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


def a_command(run: str = "wc -l data", **changes: object) -> JobSpec:
    """Return a command job with one input file of 1,000 bytes."""
    work = CommandWork(run, inputs=(InputFile("data", BlobRef("bafkreiinput", 1000)),), outputs=("out/*",))
    return a_job(**({"function": None, "command": work, "profile": ""} | changes))


def gpus(count: int = 1, model: str | None = None, *, vram_gib: int = 0) -> Resources:
    """Return half a core, 1 GiB and some GPUs."""
    return Resources(500, GIB, GIB, GpuRequest(count, model, vram_gib * GIB))


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


def a_gpu_node(name: str = "g1", *kinds: tuple[GpuKind, int], **changes: object) -> NodeSpec:
    """Return a node of eight cores with some kinds of GPU."""
    return a_node(name, capacity=Capacity(8000, 64 * GIB, 100 * GIB, kinds or ((T4, 2),)), **changes)  # type: ignore[arg-type]


def payloads(count: int, size_bytes: int = 4) -> Column:
    """Return a column of distinct payloads."""
    return Column([index.to_bytes(4, "big").ljust(size_bytes, b".") for index in range(count)])


def a_failure(kind: FailureKind = FailureKind.EXCEPTION, message: str = "it broke") -> Failure:
    """Return a failure."""
    return Failure(kind, message)
