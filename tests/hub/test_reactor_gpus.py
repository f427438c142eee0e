"""GPUs: kinds are columns of the resource table, which widens while leases are in force."""

from __future__ import annotations

import numpy as np
import pytest

from farlane.domain.ids import JobId, TaskId, task_id
from farlane.domain.prices import RateVector
from farlane.domain.resources import GIB, Capacity, GpuKind
from farlane.hub.reactor.commands import GrantLeases
from farlane.hub.reactor.requirements import requirement_of
from farlane.hub.reactor.table import NodeTable
from farlane.testing.builders import A100, T4, a_gpu_node, a_job, a_node, gpus
from farlane.testing.small_world import SmallWorld
from farlane.testing.world_checks import check_resources, fingerprint

H100 = GpuKind("H100", 80 * GIB)
MIXED = a_gpu_node("mixed", (T4, 2), (A100, 1))


def kinds_of(world: SmallWorld) -> dict[TaskId, GpuKind | None]:
    return {task: lease.gpu for node in world.state.nodes.values() for task, lease in node.leases.items()}


def free_gpus(world: SmallWorld, name: str = "mixed") -> list[int]:
    row = next(row for row, spec in enumerate(world.state.table.specs) if spec.name == name)
    return list(world.state.table.free[row, 3:])


def test_one_node_serves_a_job_with_all_its_kinds_the_smaller_first() -> None:
    world = SmallWorld()
    world.join(MIXED)
    world.submit(a_job(resources=gpus()), 5)
    assert world.schedule() == 3
    assert sorted(kind.model for kind in kinds_of(world).values() if kind) == ["A100", "T4", "T4"]
    assert free_gpus(world) == [0, 0]
    told = [(out.gpu, len(out.indices)) for out in world.commands if isinstance(out, GrantLeases)]
    assert sorted(told) == [(A100, 1), (T4, 2)], "nodes hear which kind each lease takes"
    check_resources(world.state)
    world.end_all()
    assert free_gpus(world) == [2, 1]


@pytest.mark.parametrize(
    ("wanted", "kinds"),
    [
        (gpus(1, "A100"), [A100]),
        (gpus(2), [T4]),
        (gpus(2, "t4"), [T4]),
        (gpus(1, vram_gib=40), [A100]),
        (gpus(3), []),
        (gpus(1, "H100"), []),
    ],
)
def test_a_request_takes_only_what_it_accepts(wanted: object, kinds: list[GpuKind]) -> None:
    world = SmallWorld()
    world.join(MIXED)
    world.submit(a_job(resources=wanted), 4)
    world.schedule()
    assert list(kinds_of(world).values()) == kinds
    check_resources(world.state)


def test_a_new_kind_widens_the_table_under_leases_in_force() -> None:
    world = SmallWorld()
    world.join(MIXED)
    world.submit(a_job(resources=gpus()), 6)
    assert world.schedule() == 3
    before = fingerprint(world.state)
    world.join(a_gpu_node("new", (H100, 2)))
    assert fingerprint(world.state)["leases"] == {**before["leases"], "id-new": {}}
    assert world.state.table.gpu_kinds == (T4, A100, H100)
    check_resources(world.state)
    assert free_gpus(world) == [0, 0, 0]
    assert world.schedule() == 2
    assert [kind for kind in kinds_of(world).values() if kind == H100] == [H100, H100]
    check_resources(world.state)
    world.end_all()
    assert free_gpus(world) == [2, 1, 0]
    assert free_gpus(world, "new") == [0, 0, 2]


def test_a_kind_named_twice_is_one_column() -> None:
    table = NodeTable()
    table.put(a_gpu_node("n", (T4, 1), (T4, 2)))
    assert table.gpu_kinds == (T4,)


def test_a_node_that_lost_its_gpus_still_gives_back_what_it_held() -> None:
    world = SmallWorld()
    world.join(MIXED)
    world.submit(a_job(resources=gpus()), 3)
    world.schedule()
    world.join(a_node("mixed"))
    assert free_gpus(world) == [-2, -1]
    check_resources(world.state)
    world.end_all()
    assert free_gpus(world) == [0, 0]


def test_after_a_restart_kinds_that_nobody_has_any_more_are_still_known() -> None:
    """The store keeps only a node's latest description, and the leases of open jobs from before it."""
    world = SmallWorld()
    world.join(MIXED)
    job = world.submit(a_job(resources=gpus()), 3)
    world.schedule()
    world.end(MIXED.node, [next(iter(world.held[MIXED.node]))])
    world.join(a_node("mixed"), forgetful=True)
    world.restart()
    assert set(world.state.table.gpu_kinds) == {T4, A100}
    assert world.state.jobs[job.id].ready == 2
    check_resources(world.state)


def test_free_resources_are_what_is_left_in_every_column() -> None:
    world = SmallWorld()
    world.join(MIXED)
    world.submit(a_job(resources=gpus(2, "T4")))
    world.schedule()
    row = world.state.table.free[0]
    assert list(row) == [7500, 63 * GIB, 99 * GIB, 0, 1]


class TestTable:
    def test_rows_keep_their_place_and_masks_follow_the_nodes(self) -> None:
        table = NodeTable()
        wanted = requirement_of(a_job(resources=gpus()))
        table.put(a_node("plain"))
        assert list(table.mask(wanted)) == [False]
        table.put(MIXED)
        table.put(a_node("other", organisation="elsewhere"))
        assert list(table.mask(wanted)) == [False, True, False]
        table.put(a_gpu_node("plain", (A100, 1)))
        table.put(a_node("mixed"))
        assert list(table.mask(wanted)) == [True, False, False]
        assert [table.rows[node] for node in table.ids] == [0, 1, 2]

    def test_demands_have_a_row_for_each_kind_that_would_do(self) -> None:
        table = NodeTable()
        table.put(MIXED)
        wanted = requirement_of(a_job(resources=gpus(2)))
        alternatives = table.demands(wanted)
        assert alternatives[:, 3:].tolist() == [[2, 0], [0, 2]]
        assert [table.gpu_kind(row) for row in alternatives] == [T4, A100]
        assert list(table.demand(wanted, A100)) == list(alternatives[1])
        plain = requirement_of(a_job())
        assert table.gpu_kind(table.demands(plain)[0]) is None
        assert list(table.demand(plain, None)) == [1000, GIB, GIB, 0, 0]

    def test_prices_are_columns_too(self) -> None:
        table = NodeTable()
        table.put(a_gpu_node("a", (T4, 1), rates=RateVector(7, 5, (("T4", 100), ("*", 900)))))
        table.put(a_gpu_node("b", (A100, 1), rates=RateVector(1, 2, (("A100", 300),))))
        assert (list(table.core_second), list(table.gib_second)) == ([7, 1], [5, 2])
        assert table.gpu_second[1].tolist() == [0, 300]
        table.put(a_gpu_node("a", (T4, 1), rates=RateVector(7, 5, (("T4", 100), ("*", 900)))))
        assert table.gpu_second.tolist() == [[100, 900], [0, 300]]

    def test_a_price_cap_is_told_by_kind_only_where_gpus_are_wanted(self) -> None:
        table = NodeTable()
        table.put(a_gpu_node("a", (T4, 1), (A100, 1), rates=RateVector(gpu_second=(("T4", 10), ("*", 90)))))
        assert table.allowed(requirement_of(a_job(max_price=1))) is None
        assert table.allowed(requirement_of(a_job(resources=gpus()))) is None
        capped = table.allowed(requirement_of(a_job(resources=gpus(), max_price=36_000)))
        assert capped is not None
        assert capped.tolist() == [[True], [False]]

    def test_take_and_give_are_each_others_inverse(self) -> None:
        table = NodeTable()
        table.put(a_node("n", capacity=Capacity(4000, 8 * GIB, GIB)))
        demand = table.demand(requirement_of(a_job()), None)
        table.take(0, demand, 3)
        assert list(table.free[0]) == [1000, 5 * GIB, -2 * GIB]
        table.give(0, demand, 3)
        assert np.array_equal(table.free, table.capacity)


def test_jobs_are_alike_whatever_the_order_of_their_labels() -> None:
    one = requirement_of(a_job(labels=(("a", "1"), ("b", "2"))))
    assert one == requirement_of(a_job(labels=(("b", "2"), ("a", "1")), priority=7, name="other"))
    assert one.python == "3.11"
    assert requirement_of(a_job(function=None)).python == ""
    assert task_id(JobId(1), 0) == 1 << 24
