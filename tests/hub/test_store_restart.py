"""A restart: the reactor that is rebuilt from a store is the one that wrote it, down to what each lease reserves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.domain.ids import JobId
from farlane.domain.jobs import BlobRef, JobSpec, JobState
from farlane.domain.records import Column
from farlane.hub.reactor.reactor import Reactor
from farlane.hub.status import ended_status, open_status
from farlane.hub.store.memory import MemoryStore
from farlane.hub.store.port import Store
from farlane.hub.store.sqlite.store import SqliteStore
from farlane.testing.builders import A100, T4, a_failure, a_gpu_node, a_job, a_node, gpus
from farlane.testing.small_world import SmallWorld
from farlane.testing.store_suite import commit
from farlane.testing.world_checks import check_resources, fingerprint

N1, G1 = a_node("n1", cpu=3000), a_gpu_node("g1", (T4, 1), (A100, 2))


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store: Store
    if request.param == "memory":
        store = MemoryStore()
    else:
        store = SqliteStore(tmp_path / "hub.sqlite", ballast_bytes=64 << 10)
    yield store
    store.close()


def submit(world: SmallWorld, spec: JobSpec, payloads: Column, key: str) -> JobId:
    job, _ = world.reactor.open_job(world.now, key, spec)
    world.reactor.add_tasks(world.now, job.id, 0, payloads)
    world.reactor.seal_job(world.now, job.id)
    world.take()
    return job.id


def restarted(store: Store, world: SmallWorld) -> Reactor:
    commit(store, *world.journal)
    reactor = Reactor(store.epoch, world.lease_s)
    reactor.replay(store.replay(), store.last_job(), world.now)
    return reactor


@pytest.fixture
def world() -> SmallWorld:
    world = SmallWorld()
    world.join(N1)
    world.join(G1)
    return world


def test_leases_reserve_as_much_as_before(store: Store, world: SmallWorld) -> None:
    mixed = Column([b"", b"x" * 50_000, b"abc", b"y" * 999], {0: BlobRef("bafkpayload", 3 << 30)})
    alike = Column([b"z" * 7000] * 6)
    first = submit(world, a_job(budget=10**12), mixed, "1")
    second = submit(world, a_job(), alike, "2")
    world.schedule()
    reserved = {job.id: job.reserved for job in world.state.jobs.values()}
    assert reserved[first] > 0
    assert reserved[second] > 0
    reactor = restarted(store, world)
    assert list(reactor.state.jobs[first].sizes) == [3 << 30, 50_000, 3, 999]
    assert {job.id: job.reserved for job in reactor.state.jobs.values()} == reserved
    assert fingerprint(reactor.state) == fingerprint(world.state)
    check_resources(reactor.state)


def test_leases_take_the_same_devices_as_before(store: Store, world: SmallWorld) -> None:
    submit(world, a_job(resources=gpus(1, "A100")), Column([b"a", b"b"]), "1")
    submit(world, a_job(resources=gpus(1, "T4")), Column([b"c", b"d"]), "2")
    assert world.schedule() == 3
    reactor = restarted(store, world)
    assert sorted(str(lease.gpu) for lease in reactor.state.nodes[G1.node].leases.values()) == sorted(
        map(str, (A100, A100, T4))
    )
    assert fingerprint(reactor.state) == fingerprint(world.state)


def test_an_ended_job_says_of_itself_what_it_said_while_open(store: Store, world: SmallWorld) -> None:
    job = submit(world, a_job(retries=2), Column([b"a", b"bb", b"ccc"]), "1")
    world.now += 7
    first_lease_at = world.now
    world.schedule()
    world.end_all(a_failure())
    world.now += 600
    world.schedule()
    world.end_all()
    found = world.state.jobs[job]
    assert found.state is JobState.SUCCEEDED
    commit(store, *world.journal)
    summary = store.ended_job(job)
    assert summary is not None
    assert (summary.first_lease_at, summary.retries) == (first_lease_at, 3)
    assert ended_status(summary) == open_status(found)
    assert ended_status(replace(summary, first_lease_at=0.0, retries=0)) != open_status(found)
