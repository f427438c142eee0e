"""Replicas are placed where their model is: what each node lacks, and how many replicas it has."""

from __future__ import annotations

from dataclasses import replace

from farlane.domain.ids import NodeId
from farlane.domain.jobs import JobSpec, ServeWork
from farlane.domain.model_facts import ModelFacts
from farlane.domain.nodes import SERVES, NodeSpec
from farlane.domain.records import Column
from farlane.hub.reactor.locality import MAX_MODELS, know_model
from farlane.testing.builders import a_job, a_node
from farlane.testing.small_world import SmallWorld

GIB = 1 << 30


def serving(name: str) -> NodeSpec:
    """Return a node that serves models."""
    return replace(a_node(name, cpu=4000), labels=((SERVES, "yes"),))


ONE, TWO, THREE = serving("n1"), serving("n2"), serving("n3")


def replica(version: str = "v2", deployment: str = "lab/chat") -> JobSpec:
    """Return the job of a replica."""
    return replace(a_job(), function=None, serve=ServeWork(version, deployment))


def world(*nodes: NodeSpec) -> SmallWorld:
    """Return a world that knows the versions v1 and v2 of one model."""
    found = SmallWorld()
    for node in nodes:
        found.join(node)
    found.reactor.know_model("v2", ModelFacts(4 * GIB, frozenset({"v1"})))
    return found


def placed(world: SmallWorld, spec: JobSpec) -> list[NodeId]:
    """Submit a job and return where it runs."""
    job, _ = world.reactor.open_job(world.now, f"key-{len(world.state.jobs)}", spec)
    world.reactor.add_tasks(world.now, job.id, 0, Column([b""]))
    world.reactor.seal_job(world.now, job.id)
    world.schedule()
    return list(job.running)


def missing(world: SmallWorld, spec: JobSpec) -> list[int] | None:
    """Return what nodes lack of a job that is not placed yet."""
    job, _ = world.reactor.open_job(world.now, "asked", spec)
    world.reactor.add_tasks(world.now, job.id, 0, Column([b""]))
    (group,) = world.reactor.view(world.now)[0].groups
    return None if group.missing is None else group.missing.tolist()


def test_a_replica_goes_where_its_version_is() -> None:
    found = world(ONE, TWO, THREE)
    found.reactor.set_held_versions(THREE.node, ("other", "v2"))
    assert placed(found, replica()) == [THREE.node]


def test_a_relative_is_better_than_nothing() -> None:
    found = world(ONE, TWO, THREE)
    found.reactor.set_held_versions(TWO.node, ("v1",))
    assert missing(found, replica()) == [4 * GIB, 2 * GIB, 4 * GIB]


def test_the_second_replica_goes_to_another_node() -> None:
    found = world(ONE, TWO)
    found.reactor.set_held_versions(TWO.node, ("v2",))
    assert placed(found, replica()) == [TWO.node]
    assert placed(found, replica()) == [ONE.node]
    assert placed(found, replica("v2", "lab/another")) == [TWO.node]


def test_an_update_goes_where_the_version_runs_that_it_replaces() -> None:
    found = world(ONE, TWO, THREE)
    found.reactor.know_model("v1", ModelFacts(4 * GIB))
    for node in (ONE, TWO):
        found.reactor.set_held_versions(node.node, ("v1",))
    old = placed(found, replica("v1")) + placed(found, replica("v1"))
    new = placed(found, replica("v2")) + placed(found, replica("v2"))
    assert sorted(old) == sorted(new) == [ONE.node, TWO.node]


def test_where_nodes_do_not_differ_all_lack_the_same_so_that_price_decides() -> None:
    found = world(ONE, TWO)
    assert len(set(missing(found, replica()))) == 1
    found.reactor.set_held_versions(ONE.node, ("v2",))
    found.reactor.set_held_versions(TWO.node, ("v2",))
    (group,) = found.reactor.view(found.now)[0].groups
    assert group.missing is not None
    assert group.missing.tolist() == [0, 0]


def test_a_version_of_which_nothing_is_known_is_preferred_where_it_is() -> None:
    found = world(ONE, TWO)
    found.reactor.set_held_versions(TWO.node, ("v9",))
    assert placed(found, replica("v9")) == [TWO.node]


def test_other_work_goes_by_other_rules() -> None:
    found = world(ONE, TWO)
    found.reactor.set_held_versions(TWO.node, ("v2",))
    assert missing(found, a_job()) is None


def test_only_so_many_versions_are_remembered() -> None:
    found = world(ONE)
    for number in range(MAX_MODELS + 5):
        know_model(found.state, f"w{number}", ModelFacts(1))
    assert len(found.state.models) == MAX_MODELS
    assert "v2" not in found.state.models
