"""Preempting: who waits gets room from who is far below, and nobody moves in a circle, starves, or pays wrongly."""

from __future__ import annotations

import os
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farlane.domain.billing import meter
from farlane.domain.failures import MAX_MOVES, Failure, FailureKind
from farlane.domain.ids import TaskId, job_of
from farlane.domain.jobs import ServeWork
from farlane.domain.nodes import SERVES
from farlane.domain.prices import RateVector
from farlane.domain.records import AttemptsFailed
from farlane.domain.resources import GIB, Resources
from farlane.hub.reactor import preempting
from farlane.hub.reactor.commands import GrantLeases, RevokeLeases
from farlane.hub.reactor.preempting import AT_ONCE, DISTANCE, PATIENCE_S, Victim, fewest
from farlane.testing.builders import A100, RATES, T4, a_gpu_node, a_job, a_node, gpus
from farlane.testing.small_world import SmallWorld
from farlane.testing.world_checks import (
    check_accounts,
    check_ended,
    check_jobs,
    check_journal,
    check_resources,
    fingerprint,
    leases_of,
)

EXAMPLES = int(os.environ.get("FARLANE_EXAMPLES", "8"))
LOW, HIGH = a_job(priority=10, profile=""), a_job(priority=90, profile="")


def a_world(preempt: bool = True) -> SmallWorld:
    world = SmallWorld("fifo", 1e9, preempt=preempt)
    world.join(a_node("n1", cpu=2000, labels=((SERVES, "yes"),)))
    return world


def full(world: SmallWorld, count: int = 2, **changes: object) -> TaskId:
    """Fill the node with low work; returns the task that was leased last."""
    world.submit(replace(LOW, **changes), count, key="low")
    world.schedule()
    return world.granted[-1].task


def check_all(world: SmallWorld) -> None:
    check_journal(world)
    check_jobs(world.state)
    check_resources(world.state)
    check_accounts(world)


def test_who_waits_gets_the_room_of_the_youngest_that_is_far_below() -> None:
    world = a_world()
    full(world, 1)
    world.tick(5.0)
    low = full_again = world.submit(LOW, 1, key="later")
    world.schedule()
    high = world.submit(HIGH, 1, key="high")
    world.schedule()
    assert world.tick(PATIENCE_S - 1) == []
    out = world.tick(1.0)
    (revoked,) = [command for command in out if isinstance(command, RevokeLeases)]
    (granted,) = [command for command in out if isinstance(command, GrantLeases)]
    assert [job_of(task) for task in revoked.tasks] == [low.id]
    assert granted.job == high.id
    assert "made room for" in revoked.reason
    assert out.index(revoked) < out.index(granted)
    check_all(world)
    assert full_again.ready == 1
    assert (full_again.retried, full_again.counted, full_again.free) == (0, {}, {})
    assert full_again.moved == {0: 1}
    assert full_again.avoid == {}


def test_what_ran_is_paid_and_the_books_come_back_after_a_restart() -> None:
    world = a_world()
    full(world)
    world.submit(HIGH, 1, key="high")
    world.tick(PATIENCE_S)
    (record,) = [record for record in world.journal if isinstance(record, AttemptsFailed)]
    assert [failure.kind for failure in record.failures] == [FailureKind.PREEMPTED]
    expected = meter(RATES, LOW, None).charge_ceiling(record.lease_ms[0], 0)
    assert record.amounts == [expected] != [0]
    node = world.state.nodes[record.node]
    assert (node.lost, node.failed, node.strikes, node.earned) == (0, 0, 0, expected)
    before = fingerprint(world.state)
    world.restart()
    assert fingerprint(world.state) == before


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ({}, {"priority": 10 + DISTANCE - 1}),
        ({"serve": ServeWork("bafkreiversion", "d"), "function": None}, {}),
        ({}, {"max_price": 1}),
    ],
    ids=["near", "serves", "cannot run here"],
)
def test_who_must_not_make_room_does_not(low: dict[str, object], high: dict[str, object]) -> None:
    world = a_world()
    full(world, **low)
    world.submit(replace(HIGH, **high), 1, key="high")
    assert not [each for each in world.tick(PATIENCE_S * 10) if isinstance(each, RevokeLeases)]
    check_all(world)


def test_without_the_setting_nobody_makes_room() -> None:
    world = a_world(preempt=False)
    full(world)
    world.submit(HIGH, 1, key="high")
    assert world.tick(1000.0) == []


def test_nothing_moves_where_there_is_room_or_no_money() -> None:
    world = a_world()
    full(world, 1)
    world.submit(HIGH, 1, key="high")
    assert world.tick(PATIENCE_S) == []  # the next round places it
    world.schedule()
    world.submit(replace(HIGH, budget=1), 1, key="poor")
    assert not [each for each in world.tick(PATIENCE_S) if isinstance(each, RevokeLeases)]


def test_a_task_makes_room_twice_and_is_then_left_in_peace() -> None:
    world = a_world()
    world.submit(replace(LOW, resources=Resources(2000, GIB, GIB)), 1, key="low")
    for at in range(MAX_MOVES + 1):
        world.schedule()
        world.submit(replace(HIGH, resources=Resources(2000, GIB, GIB)), 1, key=f"high{at}")
        world.tick(PATIENCE_S)
        revoked = [command for command in world.commands if isinstance(command, RevokeLeases)]
        assert len(revoked) == min(at + 1, MAX_MOVES)
        world.end_all()
    world.schedule()
    world.end_all()
    check_ended(world)
    check_all(world)


def test_a_gpu_is_freed_by_who_holds_one_and_no_more_than_is_needed() -> None:
    world = SmallWorld("fifo", 1e9, preempt=True)
    world.join(a_gpu_node("g1", (T4, 1)))
    world.submit(replace(LOW, resources=gpus(1)), 1, key="gpu")
    world.submit(replace(LOW, resources=Resources(500, GIB, GIB)), 15, key="cpu")
    world.schedule()
    high = world.submit(replace(HIGH, resources=gpus(1)), 1, key="high")
    out = world.tick(PATIENCE_S)
    (revoked,) = [command for command in out if isinstance(command, RevokeLeases)]
    assert len(revoked.tasks) == 1
    assert high.leased == 1
    check_all(world)


def test_a_kind_of_gpu_that_is_too_dear_is_not_made_room_on() -> None:
    world = SmallWorld("fifo", 1e9, preempt=True)
    dear = RateVector(0, 0, (("T4", 1_000), ("A100", 10**9)), 0)
    world.join(a_gpu_node("g1", (T4, 1), (A100, 1), rates=dear))
    world.submit(replace(LOW, resources=gpus(1)), 2, key="low")
    world.schedule()
    high = world.submit(replace(HIGH, resources=gpus(1), max_price=10**9), 1, key="high")
    out = world.tick(PATIENCE_S)
    (granted,) = [command for command in out if isinstance(command, GrantLeases)]
    assert (granted.job, granted.gpu) == (high.id, T4)
    check_all(world)


def test_nodes_are_looked_at_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preempting, "MOST_NODES", 1)
    world = a_world()
    world.join(a_node("n2", cpu=2000))
    full(world, 4)
    high = world.submit(HIGH, 4, key="high")
    world.tick(PATIENCE_S)
    assert high.leased == 4
    check_all(world)


def test_at_most_so_many_move_in_one_event() -> None:
    world = SmallWorld("fifo", 1e9, preempt=True)
    world.join(a_node("n1", cpu=64_000))
    world.submit(replace(LOW, resources=Resources(1000, 1 << 20, 1 << 20)), 64, key="low")
    world.schedule()
    high = world.submit(replace(HIGH, resources=Resources(1000, 1 << 20, 1 << 20)), 64, key="high")
    world.tick(PATIENCE_S)
    assert high.leased == AT_ONCE
    check_all(world)


def test_a_node_that_says_preempted_is_not_believed() -> None:
    world = a_world()
    task = full(world, 1)
    world.end(world.granted[-1].node, [task], Failure(FailureKind.PREEMPTED, "honestly"))
    (record,) = [record for record in world.journal if isinstance(record, AttemptsFailed)]
    assert record.failures[0].kind is FailureKind.LOST
    assert record.amounts == [0]


@given(
    free=st.lists(st.integers(-4, 4), min_size=3, max_size=3),
    demand=st.lists(st.integers(0, 6), min_size=3, max_size=3),
    held=st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), max_size=6),
)
def test_the_victims_suffice_and_none_can_be_spared(
    free: list[int], demand: list[int], held: list[list[int]]
) -> None:
    wanted, there = np.array(demand), np.array(free)
    victims = [Victim(TaskId(at), 0, 0.0, np.array(row)) for at, row in enumerate(held)]
    chosen = fewest(there, wanted, victims)

    def suffices(some: list[Victim]) -> bool:
        after = there + sum((victim.demand for victim in some), np.zeros(3, np.int64))
        return bool((after >= wanted)[wanted > 0].all())

    assert bool(chosen) == (suffices(victims) and not suffices([]))
    if chosen:
        assert suffices(chosen)
        assert not any(suffices([other for other in chosen if other is not victim]) for victim in chosen)


class Crowd:
    """Random work of all priorities on a few nodes, step by step; after each step everything must add up."""

    def __init__(self, seed: int, policy: str) -> None:
        self.random = Random(seed)
        self.world = SmallWorld(policy, 1e9, self.random.choice([0.0, 4.0]), preempt=True)
        self.specs = [
            a_node(f"n{at}", cpu=self.random.choice([1000, 2000, 4000]))
            for at in range(self.random.randint(1, 3))
        ]
        for spec in self.specs:
            self.world.join(spec)
        self.priorities: dict[int, int] = {}
        self.moves = 0

    def submit(self, key: str) -> None:
        priority = self.random.choice([0, 15, 30, 50, 70, 100])
        shape = Resources(self.random.choice([500, 1000]), GIB, GIB)
        spec = a_job(resources=shape, priority=priority, retries=0, profile="")
        job = self.world.submit(spec, self.random.randint(1, 4), key=key)
        self.priorities[job.id] = priority

    def wait(self, seconds: float) -> None:
        """Whoever makes room is far below the one that gets it, and is not of the same job."""
        low: list[int] = []
        for command in self.world.tick(seconds):
            if isinstance(command, RevokeLeases):
                low += [self.priorities[job_of(task)] for task in command.tasks]
            elif isinstance(command, GrantLeases):
                assert low
                assert max(low) <= self.priorities[command.job] - DISTANCE
                self.moves += len(low)
                low = []
        assert not low

    def work(self) -> None:
        for node, held in list(self.world.held.items()):
            done = [task for task in held if self.random.random() < 0.3]
            if done:
                self.world.end(node, done)

    def restart(self) -> None:
        before = fingerprint(self.world.state)
        self.world.restart()
        assert fingerprint(self.world.state) == before
        for spec in self.specs:
            self.world.join(spec)

    def drain(self) -> None:
        for _ in range(200):
            self.world.schedule()
            self.world.end_all()
            self.wait(1.0)
            if not self.world.state.waiting and not leases_of(self.world.state):
                return


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["fifo", "shortest-first", "spread"]))
def test_in_any_crowd_all_end_nobody_moves_in_a_circle_and_the_books_are_exact(
    seed: int, policy: str
) -> None:
    crowd = Crowd(seed, policy)
    for step in range(30):
        if crowd.random.random() < 0.6:
            crowd.submit(str(step))
        crowd.world.schedule()
        crowd.wait(crowd.random.choice([0.5, 3.0, 11.0]))
        if crowd.random.random() < 0.5:
            crowd.work()
        if crowd.random.random() < 0.05:
            crowd.restart()
        check_all(crowd.world)
    crowd.drain()
    check_ended(crowd.world)
    assert all(job.failed == 0 for job in crowd.world.state.jobs.values())


def test_crowds_do_move() -> None:
    crowd = Crowd(3, "fifo")
    for step in range(40):
        crowd.submit(str(step))
        crowd.world.schedule()
        crowd.wait(11.0)
    assert crowd.moves > 5
