"""Node specifications: round trip and refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.domain.ids import NodeId
from farlane.domain.nodes import NodeSpec
from farlane.domain.prices import RateVector
from farlane.domain.resources import GIB, MAX_BYTES, Capacity, GpuKind
from farlane.errors import InvalidInput
from farlane.wire.nodes import MAX_RATE, node_spec_from_wire, node_spec_to_wire
from farlane.wire.v1 import types_pb2

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
NAMED = TEXT.filter(bool)
RATES = st.integers(0, MAX_RATE)
GPUS = st.tuples(st.builds(GpuKind, NAMED, st.integers(0, MAX_BYTES)), st.integers(1, 1024))
SPECS = st.builds(
    NodeSpec,
    node=NAMED.map(NodeId),
    name=NAMED,
    organisation=NAMED,
    capacity=st.builds(
        Capacity,
        st.integers(1, 10**6),
        st.integers(1, MAX_BYTES),
        st.integers(0, MAX_BYTES),
        st.lists(GPUS, max_size=3).map(tuple),
    ),
    python=TEXT,
    platform=TEXT,
    rates=st.builds(
        RateVector,
        RATES,
        RATES,
        st.dictionaries(NAMED, RATES, max_size=4).map(lambda rates: tuple(sorted(rates.items()))),
        RATES,
    ),
    labels=st.dictionaries(NAMED, TEXT, max_size=4).map(lambda pairs: tuple(pairs.items())),
)
SPEC = NodeSpec(NodeId("n1"), "box", "lab", Capacity(4000, 8 * GIB, 100 * GIB), "3.11", "linux")


@settings(deadline=None)
@given(SPECS)
def test_a_node_survives_the_wire(spec: NodeSpec) -> None:
    data = node_spec_to_wire(spec).SerializeToString()
    assert node_spec_from_wire(types_pb2.NodeSpec.FromString(data)) == spec


def capacity(**fields: object) -> Callable[[types_pb2.NodeSpec], None]:
    return lambda message: message.capacity.MergeFrom(types_pb2.Capacity(**fields))


def rates(**fields: object) -> Callable[[types_pb2.NodeSpec], None]:
    return lambda message: message.rates.MergeFrom(types_pb2.RateVector(**fields))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda message: message.ClearField("node"), "node id is missing"),
        (lambda message: message.ClearField("name"), "node name is missing"),
        (lambda message: message.ClearField("organisation"), "organisation is missing"),
        (lambda message: message.ClearField("capacity"), "CPU in thousandths of a core is 0"),
        (lambda message: message.MergeFrom(types_pb2.NodeSpec(node="n" * 129)), "node id has 129"),
        (capacity(cpu_milli=4294967295), "CPU in thousandths of a core is 4294967295"),
        (capacity(memory_bytes=(1 << 64) - 1), "memory in bytes is 18446744073709551615"),
        (capacity(disk_bytes=(1 << 64) - 1), "disk in bytes"),
        (capacity(gpus=[types_pb2.GpuCount(model="A100")]), "count of GPU 'A100' is 0"),
        (capacity(gpus=[types_pb2.GpuCount(count=1)]), "GPU model is missing"),
        (capacity(gpus=[types_pb2.GpuCount(model="A", vram_bytes=1 << 60, count=1)]), "memory of GPU 'A'"),
        (capacity(gpus=[types_pb2.GpuCount(model="A", count=1)] * 65), "65 kinds of GPU"),
        (rates(core_second=(1 << 64) - 1), "rate of core-second in nano-credits is 18446744073709551615"),
        (rates(gib_second=1 << 63), "rate of GiB-second in nano-credits is 9223372036854775808"),
        (rates(gib_moved=MAX_RATE + 1), "rate of GiB moved in nano-credits is 1000000000001"),
        (rates(gpu_second={"A100": (1 << 64) - 1}), "rate of A100"),
        (rates(gpu_second={"*": 1 << 63}), r"rate of \* in nano-credits is 9223372036854775808"),
        (rates(gpu_second={"": 1}), "GPU model of a rate is missing"),
        (rates(gpu_second={str(n): 1 for n in range(65)}), "65 GPU rates"),
    ],
)
def test_nonsense_is_refused_by_name(spoil: Callable[[types_pb2.NodeSpec], None], said: str) -> None:
    message = node_spec_to_wire(SPEC)
    spoil(message)
    with pytest.raises(InvalidInput, match=said):
        node_spec_from_wire(message)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(SPEC, capacity=Capacity(-1, 1, 1)),
        replace(SPEC, rates=RateVector(core_second=-1)),
        replace(SPEC, rates=RateVector(gpu_second=(("A", 1 << 64),))),
        replace(SPEC, name="\ud800"),
    ],
)
def test_what_cannot_travel_is_refused_before_it_leaves(wrong: NodeSpec) -> None:
    with pytest.raises(InvalidInput, match="cannot be sent"):
        node_spec_to_wire(wrong)
