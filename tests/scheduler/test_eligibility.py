"""What stands in the way of a job on a node, and resources as matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.domain.jobs import CommandWork
from farlane.domain.prices import RateVector
from farlane.domain.resources import GIB, Capacity, GpuKind, GpuRequest, Resources
from farlane.domain.units import CREDIT
from farlane.scheduler.eligibility import (
    ObstacleKind,
    Wanted,
    allowed,
    capacity_row,
    demands,
    eligible,
    first_obstacle,
    wanted_of,
)

A100, T4 = GpuKind("A100", 80 * GIB), GpuKind("T4", 16 * GIB)
DEAR = RateVector(core_second=CREDIT)


def test_a_node_that_could_run_it_has_no_obstacle(build):
    spec = build.job_spec(cores=8, memory_gib=16, disk_gib=100, labels=(("site", "b"), ("python", "3.11")))
    node = build.node_spec(labels=(("site", "b"),))
    assert first_obstacle(spec, node) is None
    assert eligible(wanted_of(spec), node)


@pytest.mark.parametrize(
    ("job", "node", "kind", "message", "fix", "nearness"),
    [
        (
            {"organisation": "uni"}, {}, ObstacleKind.ORGANISATION,
            "alpha runs only work of its own organisation ('lab') as long as there is no sandbox; "
            "this is work of 'uni'",
            "add a node of 'uni', or submit as a member of 'lab', or ask its owner to list you in node.serves",
            0,
        ),
        (
            {"organisation": ""}, {}, ObstacleKind.ORGANISATION,
            "alpha runs only work of its own organisation ('lab') as long as there is no sandbox; "
            "this is work of no organisation",
            "add a node of no organisation, or submit as a member of 'lab', or ask its owner to list you in "
            "node.serves",
            0,
        ),
        (
            {}, {"python": "3.12"}, ObstacleKind.PYTHON,
            "the function was pickled by Python 3.11; alpha runs 3.12",
            "submit from Python 3.12, or add a node with Python 3.11", 0,
        ),
        (
            {"labels": (("site", "b"), ("name", "alpha"), ("disk", "nvme"))}, {"labels": (("site", "a"),)},
            ObstacleKind.LABEL, "alpha does not have the label disk=nvme, site=b",
            "start a node with the label disk=nvme, site=b, or ask for fewer labels", 1 / 3,
        ),
        (
            {"cores": 12}, {}, ObstacleKind.CPU, "needs 12 cores; alpha has 8 cores",
            "ask for at most 8 cores, or add a node with 12 cores", 8 / 12,
        ),
        (
            {"cores": 1.5}, {"cores": 1}, ObstacleKind.CPU, "needs 1.5 cores; alpha has 1 core",
            "ask for at most 1 core, or add a node with 1.5 cores", 1 / 1.5,
        ),
        (
            {"memory_gib": 64}, {}, ObstacleKind.MEMORY, "needs 64 GiB of memory; alpha has 16 GiB",
            "ask for at most 16 GiB of memory, or add a node with 64 GiB", 0.25,
        ),
        (
            {"disk_gib": 200}, {}, ObstacleKind.DISK, "needs 200 GiB of disk; alpha has 100 GiB",
            "ask for at most 100 GiB of disk, or add a node with 200 GiB", 0.5,
        ),
        (
            {"gpu": GpuRequest(1)}, {}, ObstacleKind.GPU_MODEL, "needs 1 x any GPU; alpha has no GPU",
            "ask for another GPU, or add a node with 1 x any GPU", 0,
        ),
        (
            {"gpu": GpuRequest(2, "H100", 80 * GIB)}, {"gpus": ((T4, 2), (A100, 1))}, ObstacleKind.GPU_MODEL,
            "needs 2 x H100 with 80 GiB each; alpha has 2 x T4, 1 x A100",
            "ask for another GPU, or add a node with 2 x H100 with 80 GiB each", 0,
        ),
        (
            {"gpu": GpuRequest(1, None, 24 * GIB)}, {"gpus": ((T4, 2),)}, ObstacleKind.GPU_MEMORY,
            "needs 24 GiB a GPU; alpha has 16 GiB", "ask for at most 16 GiB a GPU, or add a node with 24 GiB", 16 / 24,
        ),
        (
            {"gpu": GpuRequest(4, "a100")}, {"gpus": ((T4, 8), (A100, 2))}, ObstacleKind.GPU_COUNT,
            "needs 4 GPUs of one kind; alpha has 2", "ask for at most 2 of one kind, or add a node with 4 GPUs", 0.5,
        ),
        (
            {"max_price": 1800 * CREDIT}, {"rates": DEAR}, ObstacleKind.PRICE,
            "alpha asks 3600 credits an hour for this; max_price is 1800",
            "raise max_price to 3600, ask for less, or add a cheaper node", 0.5,
        ),
    ],
)  # fmt: skip
def test_each_obstacle_says_what_is_wanted_what_is_there_and_what_to_do(
    build, job, node, kind, message, fix, nearness
):
    found = first_obstacle(build.job_spec(**job), build.node_spec(**node))
    assert (found.kind, found.message, found.fix) == (kind, message, fix)
    assert found.nearness == pytest.approx(nearness)


def test_a_command_runs_whatever_the_python(build):
    spec = build.job_spec(function=None, command=CommandWork("true"))
    assert first_obstacle(spec, build.node_spec(python="3.13")) is None


def test_the_cheapest_kind_that_would_do_decides_on_the_price(build):
    rates = RateVector(gpu_second=(("T4", CREDIT), ("A100", 9 * CREDIT)))
    node = build.node_spec(rates=rates, gpus=((A100, 1), (T4, 1)))
    spec = build.job_spec(gpu=GpuRequest(1), max_price=3600 * CREDIT)
    assert first_obstacle(spec, node) is None
    large = build.job_spec(gpu=GpuRequest(1, None, 40 * GIB), max_price=3600 * CREDIT)
    assert first_obstacle(large, node).kind is ObstacleKind.PRICE


def test_demands_without_gpu_are_one_row():
    wanted = Resources(1500, 2 * GIB, GIB)
    assert demands(wanted, (A100,)).tolist() == [[1500, 2 * GIB, GIB, 0]]


def test_demands_name_every_kind_that_would_do_the_smallest_first():
    kinds = (A100, T4, GpuKind("L4", 24 * GIB))
    wanted = Resources(1000, GIB, 0, GpuRequest(2, None, 20 * GIB))
    assert demands(wanted, kinds)[:, 3:].tolist() == [[0, 0, 2], [2, 0, 0]]
    nowhere = demands(Resources(1000, GIB, 0, GpuRequest(1, "H100")), kinds)
    assert nowhere.shape == (0, 6)


def test_capacity_has_a_column_for_each_kind():
    capacity = Capacity(8000, 16 * GIB, 0, ((T4, 2),))
    assert capacity_row(capacity, (A100, T4)).tolist() == [8000, 16 * GIB, 0, 0, 2]


def test_a_price_cap_tells_alternatives_apart_only_for_gpus(build):
    rates = RateVector(gpu_second=(("T4", CREDIT), ("A100", 9 * CREDIT)))
    nodes = [build.node_spec(rates=rates), build.node_spec()]
    wants = Wanted("lab", Resources(gpu=GpuRequest(1)), max_price=3600 * CREDIT)
    mask = allowed(wants, nodes, (A100, T4))
    assert mask.tolist() == [[True, True], [False, True]]
    assert allowed(wants, [], (A100, T4)).shape == (2, 0)
    assert allowed(Wanted("lab", Resources(), max_price=1), nodes, (A100, T4)) is None
    assert allowed(Wanted("lab", Resources(gpu=GpuRequest(1))), nodes, (A100, T4)) is None


@given(st.data())
def test_eligibility_by_size_agrees_with_the_matrices(build, data):
    gpus = tuple((kind, data.draw(st.integers(1, 3))) for kind in (A100, T4) if data.draw(st.booleans()))
    node = build.node_spec(
        cores=data.draw(st.integers(1, 4)), memory_gib=data.draw(st.integers(1, 4)),
        disk_gib=data.draw(st.integers(1, 4)), gpus=gpus,
    )  # fmt: skip
    gpu = GpuRequest(
        data.draw(st.integers(1, 3)),
        data.draw(st.sampled_from([None, "T4"])),
        data.draw(st.integers(0, 1)) * 20 * GIB,
    )
    wanted = Resources(
        data.draw(st.integers(1, 5000)), data.draw(st.integers(1, 5)) * GIB, data.draw(st.integers(0, 5)) * GIB,
        gpu if data.draw(st.booleans()) else None,
    )  # fmt: skip
    rows = demands(wanted, (A100, T4))
    fits = bool((rows <= capacity_row(node.capacity, (A100, T4))).all(axis=1).any())
    assert eligible(Wanted("lab", wanted), node) == fits == node.capacity.holds(wanted)
    assert rows.dtype == np.int64
