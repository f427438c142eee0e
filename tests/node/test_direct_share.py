"""The share of direct calls: taken out of the offer, never given twice, refused where it cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.domain.ids import NodeId
from farlane.domain.nodes import NodeSpec
from farlane.domain.prices import RateVector
from farlane.domain.resources import GIB, Capacity, GpuKind, GpuRequest, Resources
from farlane.errors import Exhausted, InvalidInput, InvalidSetting
from farlane.node.direct.beside import plan_direct
from farlane.node.direct.share import Share, carve
from farlane.node.settings import NodeSettings

T4, A100 = GpuKind("T4", 16 * GIB), GpuKind("A100", 80 * GIB)
DEVICES = ((0, A100), (1, A100), (2, T4))
SPEC = NodeSpec(
    NodeId("n"), "n", "lab", Capacity(4000, 8 * GIB, 100 * GIB, ((A100, 2), (T4, 1))), "3.11", "linux-x86_64",
    RateVector(1),
)  # fmt: skip
SETTINGS = NodeSettings(
    direct_listen="127.0.0.1:0", direct_endpoint="https://node:7718", rpc=("http://chain",),
    network_file=Path("net.json"),
    direct_allow=("0x" + "ab" * 20,), direct_cpu=1.5, direct_memory="2GiB", direct_disk="10GiB", direct_gpus=1,
)  # fmt: skip


def test_what_direct_calls_get_the_hub_does_not() -> None:
    left, kept, share = carve(SETTINGS, SPEC, DEVICES)
    assert left.capacity == Capacity(2500, 6 * GIB, 90 * GIB, ((A100, 2),))
    assert kept == ((0, A100), (1, A100))
    assert share.capacity == Capacity(1500, 2 * GIB, 10 * GIB, ((T4, 1),))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"direct_cpu": 4.0}, r"direct_cpu.*less than the 4 cores"),
        ({"direct_cpu": 0.0}, "direct_cpu"),
        ({"direct_memory": "9GiB"}, "direct_memory sets 9 GiB aside"),
        ({"direct_memory": "lots"}, "direct_memory"),
        ({"direct_disk": "1TB"}, "direct_disk"),
        ({"direct_gpus": 4}, r"direct_gpus is 4; expected 0 to the 3"),
        ({"direct_endpoint": None}, r"node\.direct_endpoint"),
        ({"direct_endpoint": "ftp://x"}, r"node\.direct_endpoint"),
        ({"rpc": None}, r"node\.rpc"),
        ({"direct_network_file": Path("other.json")}, "go together"),
        ({"direct_delegation": Path("delegation.json")}, r"node\.direct_delegation with both"),
        ({"direct_listen": "7718"}, r"node\.direct_listen.*HOST:PORT"),
        ({"direct_allow": ("me",)}, r"node\.direct_allow"),
        ({"direct_tasks": 65}, r"node\.direct_tasks is 65; expected 1 to 64"),
        ({"direct_credit": "much"}, r"node\.direct_credit"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        plan_direct(replace(SETTINGS, **changes), SPEC, DEVICES)  # type: ignore[arg-type]


def test_a_node_that_serves_no_direct_calls_offers_all_it_has() -> None:
    assert plan_direct(NodeSettings(), SPEC, DEVICES) == (SPEC, DEVICES, None)


def test_a_share_refuses_what_it_never_has_and_what_it_has_not_now() -> None:
    share = Share(Capacity(1000, GIB, GIB), ((5, T4), (7, T4)))
    with pytest.raises(InvalidInput, match="2 cores"):
        share.take(Resources(2000, GIB, GIB))
    with pytest.raises(InvalidInput, match="3 GPU"):
        share.take(Resources(100, 1, 1, GpuRequest(3)), T4)
    one = Resources(400, 1, 1, GpuRequest(1))
    assert share.take(one, T4) == (5,)
    assert share.take(one, T4) == (7,)
    with pytest.raises(Exhausted, match="busy"):
        share.take(replace(one, cpu_milli=100), T4)
    share.give_back(one, (5,))
    assert share.take(replace(one, cpu_milli=100), T4) == (5,)


@given(st.lists(st.tuples(st.integers(1, 700), st.integers(0, 2)), max_size=30))
def test_nothing_is_ever_given_twice(wishes: list[tuple[int, int]]) -> None:
    share = Share(Capacity(1000, GIB, GIB), tuple(enumerate((T4, T4, T4))))
    held: list[tuple[Resources, tuple[int, ...]]] = []
    for number, (cpu, gpus) in enumerate(wishes):
        wanted = Resources(cpu, 1, 0, GpuRequest(gpus) if gpus else None)
        try:
            held.append((wanted, share.take(wanted, T4 if gpus else None)))
        except Exhausted:
            if held:
                share.give_back(*held.pop(number % len(held)))
        assert sum(one.cpu_milli for one, _ in held) <= 1000
        given_out = [index for _, indices in held for index in indices]
        assert len(given_out) == len(set(given_out))
    for one in held:
        share.give_back(*one)
    assert len(share.take(Resources(1000, GIB, GIB, GpuRequest(3)), T4)) == 3
