"""Membership: nodes come, come back with or without what they held, drain, leave, and are suspended for a while."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farlane.domain.failures import FailureKind
from farlane.domain.ids import JobId, NodeId, task_id
from farlane.domain.prices import RateVector
from farlane.domain.records import AttemptsFailed, NodeRegistered
from farlane.errors import NotFound, PermissionRefused
from farlane.hub.reactor.commands import Append, RequestDrain, RevokeLeases
from farlane.testing.builders import a_failure, a_job, a_node
from farlane.testing.small_world import SECRET, SmallWorld
from farlane.testing.world_checks import check_jobs, check_resources, fingerprint

N1, N2 = a_node("n1"), a_node("n2")
TASKS = [task_id(JobId(1), index) for index in range(3)]


@pytest.fixture
def world() -> SmallWorld:
    """One node that holds the three tasks of a job."""
    world = SmallWorld()
    world.join(N1)
    world.submit(a_job(retries=9), 3)
    world.schedule()
    assert list(world.held[N1.node]) == TASKS
    return world


class TestJoining:
    def test_a_new_node_is_recorded_once(self) -> None:
        world = SmallWorld()
        assert world.join(N1) == [Append(NodeRegistered(N1, SECRET, world.now))]
        world.now += 1
        assert world.join(N1) == []
        node = world.node(N1)
        assert (node.connected, node.session, node.last_seen, node.lease_until) == (
            True, 2, world.now, world.now + 10,
        )  # fmt: skip

    def test_a_node_that_changed_is_recorded_anew(self) -> None:
        world = SmallWorld()
        world.join(N1)
        larger = replace(N1, labels=(("zone", "north"),))
        assert world.join(larger) == [Append(NodeRegistered(larger, SECRET, world.now))]
        assert world.node(N1).spec == larger
        assert world.state.table.specs == [larger]

    def test_another_machine_cannot_take_over_a_node(self, world: SmallWorld) -> None:
        before = fingerprint(world.state)
        with pytest.raises(
            PermissionRefused, match=r"node id id-n1 belongs to another machine.*node.json"
        ) as caught:
            world.join(N1, secret=b"stolen")
        assert caught.value.facts == {"node": "id-n1"}
        assert fingerprint(world.state) == before
        assert world.node(N1).session == 1


class TestComingBack:
    def test_with_all_it_held_it_keeps_its_leases(self, world: SmallWorld) -> None:
        world.leave(N1.node)
        before = fingerprint(world.state)
        assert not world.node(N1).connected
        world.now += 9
        assert world.join(N1) == []
        assert fingerprint(world.state) == before
        world.tick(9)
        assert len(world.node(N1).leases) == 3

    def test_with_a_part_the_rest_is_free_at_once(self, world: SmallWorld) -> None:
        world.leave(N1.node)
        del world.held[N1.node][TASKS[1]]
        (append,) = world.join(N1)
        assert isinstance(append, Append)
        assert isinstance(append.record, AttemptsFailed)
        assert append.record.indices == [1]
        assert append.record.failures[0].message == "node n1 came back without this task"
        assert list(world.node(N1).leases) == [TASKS[0], TASKS[2]]
        check_resources(world.state)

    def test_with_nothing_all_is_free_at_once(self, world: SmallWorld) -> None:
        world.leave(N1.node)
        world.join(N1, forgetful=True)
        assert world.node(N1).leases == {}
        assert world.state.jobs[JobId(1)].ready == 3
        check_jobs(world.state)

    def test_what_was_given_away_meanwhile_is_revoked(self, world: SmallWorld) -> None:
        world.leave(N1.node)
        world.tick(10.5)
        world.join(N2)
        world.schedule()
        (revoke,) = world.join(N1)
        assert revoke == RevokeLeases(N1.node, TASKS, [1, 1, 1], "its lease is not in force any more")
        assert world.held[N1.node] == {}
        assert len(world.node(N2).leases) == 3

    def test_an_older_attempt_than_the_one_in_force_is_revoked_and_both_are_free(
        self, world: SmallWorld
    ) -> None:
        world.tick(10.5)
        world.tick(30)
        world.beat()
        world.schedule()
        world.held[N1.node] = {TASKS[0]: 1, TASKS[1]: 2}
        out = world.join(N1)
        assert [command for command in out if isinstance(command, RevokeLeases)] == [
            RevokeLeases(N1.node, [TASKS[0]], [1], "its lease is not in force any more")
        ]
        assert list(world.node(N1).leases) == [TASKS[1]]

    def test_after_a_restore_nothing_from_before_counts(self, world: SmallWorld) -> None:
        world.restore(len(world.journal))
        (append, revoke) = world.join(N1)
        assert isinstance(append, Append)
        assert isinstance(revoke, RevokeLeases)
        assert revoke.tasks == TASKS
        assert world.held[N1.node] == {}
        assert world.state.jobs[JobId(1)].ready == 3

    def test_with_other_prices_it_starts_anew(self, world: SmallWorld) -> None:
        dearer = replace(N1, rates=RateVector(core_second=9999))
        registered, failed, revoke = world.join(dearer)
        assert registered == Append(NodeRegistered(dearer, SECRET, world.now))
        assert isinstance(failed, Append)
        assert isinstance(failed.record, AttemptsFailed)
        assert failed.record.failures[0].message == "node n1 came back with other prices"
        assert isinstance(revoke, RevokeLeases)
        assert revoke.tasks == TASKS
        assert world.state.jobs[JobId(1)].reserved == 0

    def test_with_less_room_it_keeps_its_leases_and_gets_no_more(self, world: SmallWorld) -> None:
        smaller = replace(N1, capacity=replace(N1.capacity, cpu_milli=2000))
        world.join(smaller)
        assert world.held[N1.node].keys() == set(TASKS)
        row = world.state.table.rows[N1.node]
        assert list(world.state.table.free[row][:1]) == [-1000]
        check_resources(world.state)


class TestLeaving:
    def test_without_farewell_its_leases_wait_for_it(self, world: SmallWorld) -> None:
        world.leave(N1.node)
        assert len(world.node(N1).leases) == 3
        assert world.schedule() == 0

    def test_with_a_farewell_all_is_handed_back_at_once_and_nobody_is_blamed(self, world: SmallWorld) -> None:
        world.leave(N1.node, "drained")
        node, job = world.node(N1), world.state.jobs[JobId(1)]
        record = world.journal[-1]
        assert isinstance(record, AttemptsFailed)
        assert {failure.kind for failure in record.failures} == {FailureKind.HANDED_BACK}
        assert record.failures[0].message == "node n1 left: drained"
        assert (job.ready, job.counted, job.free) == (3, {}, {0: 1, 1: 1, 2: 1})
        assert (node.strikes, node.suspended_until, node.lost) == (0, 0.0, 3)

    def test_the_end_of_an_old_stream_does_not_touch_the_new_one(self, world: SmallWorld) -> None:
        world.join(N1)
        world.reactor.leave_node(world.now, N1.node, 1, "late farewell")
        assert world.node(N1).connected
        assert len(world.node(N1).leases) == 3
        world.reactor.leave_node(world.now, N1.node, 2)
        assert not world.node(N1).connected


class TestDraining:
    def test_it_gets_no_new_work_and_finishes_what_it_has(self, world: SmallWorld) -> None:
        node = world.reactor.drain_node("n1", True)
        assert node is world.node(N1)
        assert world.take() == [RequestDrain(N1.node, hand_back=True)]
        world.submit(a_job(), 1, key="2")
        assert world.schedule() == 0
        world.end(N1.node, TASKS)
        assert world.state.jobs[JobId(1)].done == 3

    def test_it_may_say_so_itself_and_joining_ends_it(self, world: SmallWorld) -> None:
        world.submit(a_job(), 1, key="2")
        world.reactor.mark_draining(N1.node)
        assert world.schedule() == 0
        world.join(N1)
        assert world.schedule() == 1

    def test_a_node_that_is_not_there_cannot_be_drained(self, world: SmallWorld) -> None:
        world.leave(N1.node)
        with pytest.raises(NotFound, match="node n1 is not connected; there is nothing to drain"):
            world.reactor.drain_node("id-n1", False)

    def test_an_unknown_name_lists_the_known_ones(self, world: SmallWorld) -> None:
        world.join(N2)
        with pytest.raises(NotFound, match="no node 'n9' here; known nodes: n1, n2"):
            world.reactor.drain_node("n9", False)
        with pytest.raises(NotFound, match="known nodes: none yet"):
            SmallWorld().reactor.drain_node("n9", False)

    def test_a_name_means_the_node_that_is_connected(self, world: SmallWorld) -> None:
        twin = replace(N1, node=NodeId("id-twin"))
        world.join(twin)
        with pytest.raises(NotFound, match="2 nodes are called 'n1'; name one by its id: id-n1, id-twin"):
            world.reactor.drain_node("n1", False)
        world.leave(N1.node)
        assert world.reactor.drain_node("n1", False).spec == twin


class TestSuspension:
    def strike(self, world: SmallWorld, kind: FailureKind = FailureKind.REFUSED) -> float:
        """Let the node fail one task, and return for how long it is suspended."""
        world.end(N1.node, [next(iter(world.held[N1.node]))], a_failure(kind))
        return world.node(N1).suspended_until - world.now

    def wait_and_lease(self, world: SmallWorld, seconds: float) -> int:
        world.now += seconds
        world.beat()
        return world.schedule()

    def test_it_doubles_with_each_loss_up_to_a_limit(self, world: SmallWorld) -> None:
        spans = []
        for job in range(2, 12):
            spans.append(self.strike(world))
            world.submit(a_job(), 1, key=str(job))
            assert self.wait_and_lease(world, 1.9) == 0
            assert self.wait_and_lease(world, 256) > 0
        assert spans == [2, 4, 8, 16, 32, 64, 128, 256, 256, 256]

    def test_one_success_clears_it(self, world: SmallWorld) -> None:
        self.strike(world)
        self.wait_and_lease(world, 2)
        assert self.strike(world) == 4
        world.end(N1.node, [next(iter(world.held[N1.node]))])
        assert (world.node(N1).strikes, world.node(N1).suspended_until) == (0, 0.0)

    def test_a_publishers_failure_neither_strikes_nor_clears(self, world: SmallWorld) -> None:
        self.strike(world)
        world.end(N1.node, [TASKS[1]], a_failure(FailureKind.EXCEPTION))
        assert world.node(N1).strikes == 1

    @pytest.mark.parametrize("kind", [FailureKind.BLOB, FailureKind.HANDED_BACK, FailureKind.EXCEPTION])
    def test_other_failures_do_not_suspend(self, world: SmallWorld, kind: FailureKind) -> None:
        assert self.strike(world, kind) < 0
        assert world.schedule() == 1

    @pytest.mark.parametrize("kind", [FailureKind.REFUSED, FailureKind.LOST, FailureKind.NODE_LOST])
    def test_losses_suspend(self, world: SmallWorld, kind: FailureKind) -> None:
        assert self.strike(world, kind) == 2
        assert world.schedule() == 0
        assert self.wait_and_lease(world, 2) == 1

    def test_a_batch_counts_as_one_strike_and_joining_clears_it(self, world: SmallWorld) -> None:
        world.end(N1.node, TASKS, a_failure(FailureKind.LOST))
        assert world.node(N1).strikes == 1
        world.join(N1)
        assert world.node(N1).strikes == 0
        assert world.schedule() == 3
