"""Resources have bounds, and a capacity holds what fits in every dimension."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.domain.resources import (
    GIB,
    MAX_BYTES,
    MAX_CPU_MILLI,
    MAX_GPUS,
    Capacity,
    GpuKind,
    GpuRequest,
    Resources,
)
from farlane.errors import InvalidJob

T4, A100 = GpuKind("T4", 16 * GIB), GpuKind("A100", 80 * GIB)
NODE = Capacity(4000, 8 * GIB, 10 * GIB, ((T4, 2), (A100, 1)))

kinds = st.builds(GpuKind, st.sampled_from(["T4", "a100"]), st.integers(1, 80).map(lambda gib: gib * GIB))
requests = st.builds(
    GpuRequest,
    st.integers(1, 4),
    st.sampled_from([None, "t4", "A100"]),
    st.integers(0, 80).map(lambda gib: gib * GIB),
)
amounts = st.integers(-5, 1 << 52)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 1, 0), "cpu is 0 thousandths of a core; expected 1 to 1000000"),
        ((-1, 1, 0), "cpu is -1"),
        ((MAX_CPU_MILLI + 1, 1, 0), "cpu is 1000001"),
        ((1, 0, 0), "memory is 0 bytes; expected 1 to"),
        ((1, MAX_BYTES + 1, 0), "memory is"),
        ((1, 1, -1), "disk is -1 bytes; expected 0 to"),
        ((1, 1, MAX_BYTES + 1), "disk is"),
        ((1, 1, 0, GpuRequest(0)), "gpu count is 0 devices; expected 1 to 1024"),
        ((1, 1, 0, GpuRequest(MAX_GPUS + 1)), "gpu count is 1025"),
    ],
)
def test_what_is_out_of_range_is_refused(values: tuple[int, int, int], message: str) -> None:
    with pytest.raises(InvalidJob, match=message) as caught:
        Resources(*values)
    assert set(caught.value.facts) == {"field", "value", "low", "high"}


def test_the_bounds_themselves_are_allowed() -> None:
    assert Resources(1, 1, 0).gpu is None
    most = Resources(MAX_CPU_MILLI, MAX_BYTES, MAX_BYTES, GpuRequest(MAX_GPUS))
    assert most.cpu_milli == MAX_CPU_MILLI


@given(amounts, amounts, amounts, st.none() | st.integers(-2, 2000))
def test_no_resource_is_ever_negative(cpu: int, memory: int, disk: int, gpus: int | None) -> None:
    try:
        made = Resources(cpu, memory, disk, None if gpus is None else GpuRequest(gpus))
    except InvalidJob:
        assert (
            cpu < 1
            or memory < 1
            or disk < 0
            or max(memory, disk) > MAX_BYTES
            or cpu > MAX_CPU_MILLI
            or gpus is not None
        )
    else:
        assert made.cpu_milli > 0
        assert made.memory_bytes > 0
        assert made.disk_bytes >= 0
        assert made.gpu is None or 1 <= made.gpu.count <= MAX_GPUS


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (Resources(4000, 8 * GIB, 10 * GIB), True),
        (Resources(4001, 1, 0), False),
        (Resources(1, 8 * GIB + 1, 0), False),
        (Resources(1, 1, 10 * GIB + 1), False),
        (Resources(1, 1, 0, GpuRequest(2)), True),
        (Resources(1, 1, 0, GpuRequest(3)), False),
        (Resources(1, 1, 0, GpuRequest(1, "a100")), True),
        (Resources(1, 1, 0, GpuRequest(2, "A100")), False),
        (Resources(1, 1, 0, GpuRequest(1, None, 17 * GIB)), True),
        (Resources(1, 1, 0, GpuRequest(2, None, 17 * GIB)), False),
        (Resources(1, 1, 0, GpuRequest(1, "H100")), False),
    ],
)
def test_a_capacity_holds_what_fits_in_every_dimension(wanted: Resources, fits: bool) -> None:
    assert NODE.holds(wanted) is fits


def test_devices_of_two_kinds_do_not_serve_one_request_together() -> None:
    assert not Capacity(1, 1, 0, ((T4, 1), (A100, 1))).holds(Resources(1, 1, 0, GpuRequest(2)))


@given(requests, kinds)
def test_a_kind_is_accepted_by_model_and_memory_whatever_the_count(wanted: GpuRequest, kind: GpuKind) -> None:
    same_model = wanted.model is None or wanted.model.casefold() == kind.model.casefold()
    assert wanted.accepts(kind) == (same_model and kind.vram_bytes >= wanted.min_vram_bytes)


@given(requests, st.lists(st.tuples(kinds, st.integers(1, 4)), max_size=3), st.integers(1, 8000))
def test_a_larger_capacity_holds_all_that_a_smaller_one_does(
    gpu: GpuRequest, devices: list[tuple[GpuKind, int]], cpu: int
) -> None:
    wanted = Resources(cpu, GIB, 0, gpu)
    small = Capacity(4000, GIB, 0, tuple(devices))
    large = Capacity(8000, 2 * GIB, GIB, (*devices, (A100, 4)))
    assert not small.holds(wanted) or large.holds(wanted)
