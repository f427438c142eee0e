"""`farlane why` under the learned policy: what it weighs of a turn, of a node, of tasks that are placed already."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from farlane.domain.resources import GIB, Resources
from farlane.hub.explaining import explain_job
from farlane.hub.reactor.state import Job
from farlane.hub.reactor.viewing import placed_view
from farlane.scheduler.learned.ensemble import Ensemble, load
from farlane.scheduler.learned.policy import LearnedPolicy
from farlane.scheduler.learned.rule_equal import rule_equal_checkpoint
from farlane.scheduler.policy import policy_named
from farlane.testing.builders import a_job, a_node
from farlane.testing.small_world import SmallWorld


@pytest.fixture
def world() -> SmallWorld:
    """A hub under weights that equal rules, with two nodes."""
    made = SmallWorld()
    made.policy = LearnedPolicy(Ensemble(load(rule_equal_checkpoint())))
    made.join(a_node("n1", cpu=8_000))
    made.join(a_node("n2", cpu=4_000))
    return made


def submit(world: SmallWorld, tasks: int = 1, cores: int = 1, **changes: object) -> Job:
    spec = a_job(resources=Resources(1000 * cores, GIB // 8, 0), profile="", **changes)
    return world.submit(spec, tasks, key=str(world.state.next_job))


def weighed(world: SmallWorld, job: Job) -> list[str]:
    return list(explain_job(world.reactor, job, world.policy, world.now).weighed)


def test_a_placement_is_explained_by_what_speaks_for_its_node(world: SmallWorld) -> None:
    job = submit(world)
    assert world.schedule() == 1
    assert list(job.running) == [world.granted[0].node]
    (told,) = weighed(world, job)
    assert told == "as the nodes stand now, n2 before n1: leaves fewer cores over (+0.50)"
    found = explain_job(world.reactor, job, policy_named("fifo"), world.now)
    assert (list(found.weighed), "1 tasks are running" in found.dominant) == ([], True)


def test_a_turn_and_a_node_to_come_are_explained(world: SmallWorld) -> None:
    small, large = submit(world), submit(world, cores=3)
    assert weighed(world, small) == [
        "j1 before j2: smaller part of the network (+0.48)",
        "n2 before n1: leaves fewer cores over (+0.50)",
    ]
    assert weighed(world, large)[0] == weighed(world, small)[0]


def test_nothing_is_weighed_where_nothing_runs_or_waits(world: SmallWorld) -> None:
    job = submit(world)
    assert placed_view(world.state, job, world.now) is None
    world.schedule()
    world.end_all()
    assert placed_view(world.state, job, world.now) is None


def test_a_wait_by_choice_is_the_reason(world: SmallWorld) -> None:
    submit(world)
    world.schedule()
    weights = load(rule_equal_checkpoint())
    arrays = {**weights.members[0], "wait_bias": np.full(1, 1e6, np.float32)}
    world.policy = LearnedPolicy(Ensemble(replace(weights, members=(arrays,))))
    job = submit(world)
    assert world.schedule() == 0
    found = explain_job(world.reactor, job, world.policy, world.now)
    assert found.dominant == "the policy leaves it waiting for a better moment, for 1m00s at most"
    assert found.weighed[0].startswith("waiting before j2")
    world.now += 61.0
    assert world.schedule() == 1
