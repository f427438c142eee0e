"""The controller: updates, rollbacks, canaries, scaling and crashes, replica by replica in virtual time."""

from __future__ import annotations

import itertools

import pytest

from farlane.domain.deployments import DeploymentState, ReplicaState, ScalePolicy, UpdatePolicy
from farlane.hub.deployments import events
from farlane.hub.deployments.state import (
    LOADING_S,
    MAX_CRASHES,
    MAX_TRIES,
    PLACE_S,
    RENEW_S,
    STEADY_S,
    TERM_S,
)
from farlane.testing.deployment_world import ID, DeploymentWorld

READY, DRAINING = ReplicaState.READY, ReplicaState.DRAINING


def two(**update: int) -> DeploymentWorld:
    """Return a deployment of two replicas of version a, both ready."""
    world = DeploymentWorld(scale=ScalePolicy(min_replicas=2, max_replicas=2), update=UpdatePolicy(**update))
    world.name("a")
    world.settle(turns=5)
    assert world.record.state() is DeploymentState.READY
    return world


def test_a_new_deployment_gets_its_replicas_and_says_so() -> None:
    world = DeploymentWorld(scale=ScalePolicy(min_replicas=2, max_replicas=2))
    assert not world.submissions, "nothing can be served before the alias names a version"
    world.name("a")
    assert world.submissions == ["a", "a"]
    assert world.record.state() is DeploymentState.STARTING
    world.settle(turns=3)
    assert len(world.jobs(READY)) == 2
    assert (world.record.serving, world.kept) == ("a", 1)


def test_an_update_replaces_one_replica_after_another() -> None:
    world = two()
    world.name("b")
    assert world.submissions == ["b"], "one beyond the wanted number"
    world.start(world.submit_next())
    assert (len(world.jobs(READY, "a")), len(world.jobs(READY, "b"))) == (1, 1)
    assert world.record.state() is DeploymentState.UPDATING
    world.settle(turns=5)
    assert (world.jobs(READY, "a"), len(world.jobs(READY, "b"))) == ([], 2)
    assert (world.record.serving, world.record.previous) == ("b", "a")


def test_without_a_surge_an_old_replica_goes_first_and_never_the_last() -> None:
    world = two(max_surge=0, max_unavailable=1)
    world.name("b")
    assert (len(world.jobs(READY, "a")), len(world.draining)) == (1, 1)
    world.settle(turns=6)
    assert len(world.jobs(READY, "b")) == 2


def test_a_version_that_fails_is_halted_and_the_old_one_serves_on() -> None:
    world = two()
    before = world.jobs(READY, "a")
    world.name("b")
    world.settle(broken=frozenset("b"), turns=60)
    assert world.jobs(READY, "a") == before, "no old replica was touched"
    assert (world.record.goal, world.record.state()) == ("a", DeploymentState.READY)
    assert "version b failed and a serves: exit code 1" in world.record.reason()
    tried = sum(isinstance(each, events.SubmitReplica) and each.version == "b" for each in world.commands)
    assert tried == MAX_TRIES


def test_a_version_that_fails_half_way_is_rolled_back_in_full() -> None:
    world = two()
    world.name("b")
    world.start(world.submit_next())
    assert len(world.jobs(READY, "b")) == 1
    for _ in range(MAX_TRIES):
        world.wait(5.0)
        world.end(world.submit_next())
    world.settle(turns=8)
    assert (len(world.jobs(READY, "a")), world.jobs(READY, "b")) == (2, [])


def test_naming_the_failed_version_again_tries_it_again() -> None:
    world = two()
    world.name("b")
    world.settle(broken=frozenset("b"), turns=60)
    world.name("a")
    world.name("b")
    world.settle()
    assert len(world.jobs(READY, "b")) == 2
    assert world.record.reason() == ""


def test_going_back_to_the_version_before_is_an_update_like_any_other() -> None:
    world = two()
    world.name("b")
    world.settle()
    world.name("a")
    world.settle()
    assert (world.record.serving, len(world.jobs(READY, "a"))) == ("a", 2)


def test_a_crash_loop_slows_down_and_stops_with_a_reason() -> None:
    world = DeploymentWorld()
    world.name("a")
    world.settle(turns=3)
    ends = []
    for _ in range(1000):
        for job in world.jobs(READY):
            ends.append(world.now)
            world.end(job, reason="killed by signal 9")
        world.turn()
        if world.record.failed:
            break
    assert len(ends) == MAX_CRASHES
    pauses = [later - sooner for sooner, later in itertools.pairwise(ends)]
    assert pauses == sorted(pauses)
    assert pauses[-1] > pauses[0]
    assert world.record.state() is DeploymentState.FAILED
    assert "killed by signal 9" in world.record.reason()
    world.scale(max_replicas=2)
    world.settle()
    assert world.record.state() is DeploymentState.READY


def test_crashes_far_apart_are_no_loop() -> None:
    world = DeploymentWorld()
    world.name("a")
    for _ in range(MAX_CRASHES * 2):
        world.settle(turns=4)
        world.wait(STEADY_S + 1)
        for job in world.jobs(READY):
            world.end(job)
    assert not world.record.failed


def test_nodes_that_die_are_no_fault_of_the_version() -> None:
    world = two()
    world.name("b")
    for _ in range(MAX_CRASHES * 2):
        while world.submissions:
            world.end(world.submit_next(), own_fault=False, reason="node lost")
        world.wait(61.0)
    world.settle()
    assert len(world.jobs(READY, "b")) == 2


def test_a_replica_that_moves_to_another_node_answers_again_there() -> None:
    world = two()
    job = world.jobs(READY)[0]
    world.tell(events.ReplicaUnready(world.now, job))
    world.tell(events.ReplicaPlaced(world.now, job, ""))
    assert world.jobs(ReplicaState.PENDING) == [job]
    world.tell(events.ReplicaPlaced(world.now, job, "n2"))
    world.tell(events.ReplicaReady(world.now, job))
    assert job in world.jobs(READY)
    assert not world.submissions


def test_a_node_that_drains_is_left_once_another_answers() -> None:
    world = two()
    job = world.jobs(READY)[0]
    world.tell(events.ReplicaLeaving(world.now, job))
    assert job in world.jobs(READY)
    assert world.submissions == ["a"]
    world.settle(turns=4)
    assert job not in world.jobs(READY)
    assert len(world.jobs(READY)) == 2


def test_a_node_that_drains_alone_is_left_at_once() -> None:
    world = two()
    for job in world.jobs(READY):
        world.tell(events.ReplicaLeaving(world.now, job, nowhere=True))
    assert len(world.draining) == 2


def test_a_node_that_drains_is_left_when_nobody_takes_over() -> None:
    world = two()
    job = world.jobs(READY)[0]
    world.tell(events.ReplicaLeaving(world.now, job))
    world.submit_next()
    world.wait(PLACE_S)
    assert not world.draining
    world.wait(1.0)
    assert world.draining == {job}


def test_a_node_that_drains_waits_while_another_loads() -> None:
    world = two()
    job = world.jobs(READY)[0]
    world.tell(events.ReplicaLeaving(world.now, job))
    other = world.submit_next()
    world.tell(events.ReplicaPlaced(world.now, other, "n2"))
    world.wait(PLACE_S + 60.0)
    assert not world.draining
    world.tell(events.ReplicaReady(world.now, other))
    assert world.draining == {job}


def test_a_replica_is_renewed_before_its_lease_is_over() -> None:
    world = two()
    before = set(world.jobs(READY))
    world.wait(TERM_S - RENEW_S + 100)
    world.settle(turns=6)
    assert len(world.jobs(READY)) == 2
    assert not before & set(world.jobs(READY))


def test_a_replica_that_never_answers_counts_as_failed() -> None:
    world = two()
    world.name("b")
    for _ in range(MAX_TRIES):
        job = world.submit_next()
        world.tell(events.ReplicaPlaced(world.now, job, "n1"))
        world.wait(LOADING_S + 1)
        assert job in world.stopping
        world.end(job)
        world.wait(61.0)
    assert world.record.goal == "a"
    assert "did not answer" in world.record.reason()


def test_a_canary_gets_its_share_and_nothing_more() -> None:
    world = two(canary_percent=10)
    world.name("b", canary=True)
    world.settle(turns=4)
    assert (len(world.jobs(READY, "a")), len(world.jobs(READY, "b"))) == (2, 1)
    assert world.weights == ("b", 10)
    world.name("b")
    world.settle()
    assert (len(world.jobs(READY, "b")), world.jobs(READY, "a"), world.weights) == (2, [], ("", 0))


def test_a_canary_that_fails_gets_no_requests() -> None:
    world = two(canary_percent=10)
    world.name("b", canary=True)
    world.settle(broken=frozenset("b"), turns=60)
    assert (len(world.jobs(READY, "a")), world.weights) == (2, ("", 0))
    assert "the canary b failed" in world.record.reason()


def test_load_brings_replicas_at_once_and_a_lull_takes_them_away_later() -> None:
    world = DeploymentWorld(scale=ScalePolicy(min_replicas=1, max_replicas=4, target_in_flight=2))
    world.name("a")
    world.settle(turns=3)
    world.load(3, 4)
    world.settle(turns=3)
    assert len(world.jobs(READY)) == 4
    world.load(0, 1)
    world.settle(turns=30)
    assert len(world.jobs(READY)) == 4
    world.settle(turns=40)
    assert len(world.jobs(READY)) == 1


def test_slow_answers_bring_one_more() -> None:
    world = DeploymentWorld(scale=ScalePolicy(max_replicas=3, target_p95_s=1.0))
    world.name("a")
    world.settle(turns=3)
    world.load(0, 1, p95_s=2.0)
    assert world.record.wanted == 2


def test_an_idle_deployment_goes_to_none_and_comes_back_for_a_request() -> None:
    world = DeploymentWorld(scale=ScalePolicy(min_replicas=0, max_replicas=2, idle_s=30.0))
    world.name("a")
    world.settle(turns=3)
    assert len(world.jobs(READY)) == 1
    world.settle(turns=40)
    assert (world.jobs(READY), world.record.state()) == ([], DeploymentState.IDLE)
    world.load(1, 0)
    world.settle(turns=2)
    assert len(world.jobs(READY)) == 1


def test_a_removed_deployment_drains_and_is_forgotten() -> None:
    world = two()
    world.tell(events.DeploymentRemoved(world.now, ID))
    assert len(world.draining) == 2
    world.settle(turns=3)
    assert world.forgotten
    assert ID not in world.controller.records


def test_a_refused_submission_is_tried_again_later_and_told() -> None:
    world = DeploymentWorld()
    world.name("a")
    world.submissions.clear()
    world.tell(events.SubmissionRefused(world.now, ID, "a", "the quota of lab is used up"))
    assert not world.submissions
    assert world.record.reason() == "the quota of lab is used up"
    world.wait(2.0)
    assert world.submissions == ["a"]


def test_replicas_from_before_a_restart_are_adopted() -> None:
    world = DeploymentWorld(scale=ScalePolicy(min_replicas=2, max_replicas=2))
    for job in (7, 8):
        world.tell(events.ReplicaSubmitted(world.now, ID, job, "a"))  # type: ignore[arg-type]
    world.name("a")
    assert not world.submissions


@pytest.mark.parametrize("event", [events.ReplicaReady, events.ReplicaUnready, events.ReplicaDrained])
def test_events_of_strangers_change_nothing(event: type[events.ReplicaReady]) -> None:
    world = two()
    count = len(world.commands)
    world.tell(event(world.now, 99))  # type: ignore[arg-type]
    assert len(world.commands) == count
