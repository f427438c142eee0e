"""Rounds: what a policy sees of jobs and nodes, how its decision becomes leases, and what run times teach."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from farlane.domain.ids import JobId, NodeId, task_id
from farlane.domain.records import RunTimeLearnt
from farlane.errors import Internal
from farlane.hub.reactor.queues import WINDOW
from farlane.hub.reactor.viewing import UNLIMITED
from farlane.scheduler.view import Decision, Placement, View
from farlane.testing.builders import A100, T4, a_failure, a_gpu_node, a_job, a_node, gpus
from farlane.testing.small_world import SmallWorld
from farlane.testing.world_checks import check_jobs, check_resources

N1 = a_node("n1")


@dataclass(frozen=True)
class Scripted:
    """Places what it was told to."""

    placements: tuple[Placement, ...] = ()
    name: str = "scripted"

    def decide(self, view: View) -> Decision:
        return Decision(self.placements)


@pytest.fixture
def world() -> SmallWorld:
    world = SmallWorld()
    world.join(N1)
    return world


class TestView:
    def test_a_group_says_what_there_is_to_place(self, world: SmallWorld) -> None:
        world.join(a_node("n2", organisation="elsewhere"))
        job = world.submit(a_job(priority=7, deadline_at=world.now + 9, estimate_ms=1500, timeout_ms=4000), 3)
        view, sources = world.reactor.view(world.now)
        (group,) = view.groups
        assert (group.job, group.count, group.priority, group.since) == (job.id, 3, 7, world.now)
        assert (group.deadline_at, group.run_time_s, group.timeout_s) == (world.now + 9, 1.5, 4.0)
        assert (group.affordable, group.avoid, group.allowed) == (UNLIMITED, None, None)
        assert list(group.eligible) == [True, False]
        assert sources[group.key].job == job.id
        assert sources[group.key].returned is None

    def test_a_view_is_a_snapshot(self, world: SmallWorld) -> None:
        world.submit(a_job(), 2)
        view, _ = world.reactor.view(world.now)
        free, online = view.nodes.free.copy(), view.nodes.online.copy()
        world.schedule()
        world.leave(N1.node)
        world.reactor.view(world.now)
        assert view.nodes.free.tolist() == free.tolist()
        assert view.nodes.online.tolist() == online.tolist()

    def test_offline_draining_and_suspended_nodes_are_not_online(self, world: SmallWorld) -> None:
        for name in ("n2", "n3", "n4"):
            world.join(a_node(name))
        world.leave(NodeId("id-n2"))
        world.reactor.mark_draining(NodeId("id-n3"))
        world.state.nodes[NodeId("id-n4")].suspended_until = world.now + 1
        world.reactor.hear_node(world.now, N1.node, 0.5)
        nodes = world.reactor.view(world.now)[0].nodes
        assert nodes.ids == ("id-n1", "id-n2", "id-n3", "id-n4")
        assert nodes.online.tolist() == [True, False, False, False]
        assert nodes.rtt_s.tolist() == [0.5, 0, 0, 0]
        assert world.reactor.view(world.now + 1)[0].nodes.online.tolist() == [True, False, False, True]

    def test_fresh_and_returned_tasks_are_groups_of_their_own(self, world: SmallWorld) -> None:
        job = world.submit(a_job(retries=1), 6)
        world.schedule()
        world.end(N1.node, [task_id(job.id, 1)], a_failure())
        view, sources = world.reactor.view(world.now)
        assert [(group.count, sources[group.key].returned) for group in view.groups] == [(1, [1]), (2, None)]
        first, second = view.groups
        assert first.avoid is not None
        assert (first.avoid.tolist(), second.avoid) == ([True], None)

    def test_returned_tasks_without_a_place_to_avoid_have_no_mask(self, world: SmallWorld) -> None:
        job = world.submit(a_job())
        world.reactor.stop_job(world.now, job.id, "enough")
        world.reactor.retry_job(world.now, job)
        (group,) = world.reactor.view(world.now)[0].groups
        assert (group.count, group.avoid) == (1, None)

    def test_running_leases_are_one_row_for_each_job_and_node(self, world: SmallWorld) -> None:
        world.join(a_gpu_node("g", (T4, 1), (A100, 1)))
        world.submit(a_job(resources=gpus(), profile="", timeout_ms=9000), 2)
        world.submit(a_job(profile="", estimate_ms=500), 2, key="2")
        world.policy = Scripted((Placement(0, 1, 1, 0), Placement(0, 1, 1, 1), Placement(1, 0, 2)))
        world.schedule()
        running = world.reactor.view(world.now)[0].running
        assert running.node.tolist() == [1, 0]
        assert running.demand[:, 0].tolist() == [1000, 2000]
        assert running.demand[:, 3:].tolist() == [[1, 1], [0, 0]]
        assert running.ends_at.tolist() == [world.now + 9, world.now + 0.5]

    def test_nothing_running_is_an_empty_matrix_of_the_right_width(self, world: SmallWorld) -> None:
        running = world.reactor.view(world.now)[0].running
        assert (running.demand.shape, running.node.shape, running.ends_at.shape) == ((0, 3), (0,), (0,))

    def test_a_job_whose_last_lease_ended_is_not_running(self, world: SmallWorld) -> None:
        job = world.submit(a_job(), 1, seal=False)
        world.schedule()
        assert list(world.state.active) == [job.id]
        world.end_all()
        assert world.reactor.view(world.now)[0].running.node.tolist() == []
        assert world.state.active == {}


class TestQueues:
    def test_one_round_looks_at_a_window_of_like_jobs_and_at_every_kind(self, world: SmallWorld) -> None:
        for key in range(WINDOW + 6):
            world.submit(a_job(), key=str(key))
        world.submit(a_job(priority=90), key="higher")
        world.submit(a_job(resources=gpus()), key="other")
        seen = [group.job for group in world.reactor.view(world.now)[0].groups]
        assert seen == [*range(1, WINDOW + 1), WINDOW + 7, WINDOW + 8]

    def test_the_next_job_moves_into_the_window_when_one_leaves(self, world: SmallWorld) -> None:
        for key in range(WINDOW + 1):
            world.submit(a_job(), key=str(key))
        world.reactor.stop_job(world.now, JobId(3), "enough")
        world.take()
        seen = [group.job for group in world.reactor.view(world.now)[0].groups]
        assert seen == [1, 2, *range(4, WINDOW + 2)]

    def test_higher_priorities_go_first(self) -> None:
        world = SmallWorld()
        world.join(a_node("n1", cpu=1000))
        for priority in (10, 90, 50):
            world.submit(a_job(priority=priority, profile=""), key=str(priority))
        order = []
        while world.schedule():
            (task,) = world.held[N1.node]
            order.append(world.state.jobs[JobId(task >> 24)].spec.priority)
            world.end_all()
        assert order == [90, 50, 10]

    def test_a_job_waits_as_long_as_it_has_ready_tasks(self, world: SmallWorld) -> None:
        job = world.submit(a_job(), 6)
        assert world.schedule() == 4
        assert [list(queue) for queue in world.state.waiting.values()] == [[job.id]]
        world.end_all()
        assert world.schedule() == 2
        assert world.state.waiting == {}
        check_jobs(world.state)


class TestDecisions:
    def test_without_waiting_jobs_no_policy_is_asked(self, world: SmallWorld) -> None:
        world.policy = Scripted((Placement(99, 99, 99),))
        assert world.schedule() == 0

    def test_a_decision_that_does_not_fit_changes_nothing(self, world: SmallWorld) -> None:
        job = world.submit(a_job(), 9)
        world.policy = Scripted((Placement(0, 0, 1), Placement(0, 0, 9)))
        with pytest.raises(Internal, match="more than are ready"):
            world.schedule()
        assert (job.ready, job.leased) == (9, 0)
        check_resources(world.state)

    def test_a_decision_may_be_applied_later_on_the_same_state(self, world: SmallWorld) -> None:
        world.submit(a_job(), 2)
        view, sources = world.reactor.view(world.now)
        decision = world.policy.decide(view)
        assert world.reactor.apply(world.now + 1, sources, decision) == 2
        world.take()
        assert len(world.held[N1.node]) == 2
        assert world.node(N1).leases[task_id(JobId(1), 0)].at == world.now + 1

    def test_placements_of_one_group_take_different_tasks(self, world: SmallWorld) -> None:
        world.join(a_node("n2"))
        job = world.submit(a_job(retries=1), 5)
        world.policy = Scripted((Placement(0, 0, 2), Placement(0, 1, 2)))
        assert world.schedule() == 4
        assert [lease.task - task_id(job.id, 0) for lease in world.granted] == [0, 1, 2, 3]
        world.end_all(a_failure())
        world.granted.clear()
        groups = world.reactor.view(world.now)[0].groups
        world.policy = Scripted(tuple(Placement(group.key, 0, 1) for group in groups for _ in range(1)))
        assert world.schedule() == len(groups) == 3
        assert len({lease.task for lease in world.granted}) == 3
        check_jobs(world.state)

    def test_part_of_a_returned_group_leaves_the_rest_in_the_queue(self, world: SmallWorld) -> None:
        job = world.submit(a_job(retries=1), 4)
        world.schedule()
        world.end_all(a_failure())
        world.policy = Scripted((Placement(0, 0, 1), Placement(0, 0, 2)))
        assert world.schedule() == 3
        assert list(job.returned) == [3]
        assert sorted(world.held[N1.node]) == [task_id(job.id, index) for index in range(3)]


class TestRunTimes:
    def end_after(self, world: SmallWorld, *times_ms: int) -> None:
        """Run one task of profile `f` for each time."""
        for time_ms in times_ms:
            job = world.submit(a_job(), key=f"t{world.batch}")
            world.schedule()
            world.now += 5
            world.beat()
            world.end(N1.node, [task_id(job.id, 0)], lease_ms=time_ms)

    def test_the_mean_leans_to_what_is_new(self, world: SmallWorld) -> None:
        self.end_after(world, 100)
        assert world.state.run_times["f"].mean_ms == 100
        self.end_after(world, 200)
        assert world.state.run_times["f"].mean_ms == pytest.approx(120)
        self.end_after(world, 20)
        assert world.state.run_times["f"].mean_ms == pytest.approx(100)
        assert world.state.run_times["f"].count == 3

    def test_a_batch_weighs_as_much_as_its_rows_one_by_one(self, world: SmallWorld) -> None:
        self.end_after(world, 100)
        job = world.submit(a_job(), 3, key="many")
        world.schedule()
        world.now += 1
        world.end(N1.node, [task_id(job.id, index) for index in range(3)], lease_ms=200)
        # 200 - 100 x 0.8^3
        assert world.state.run_times["f"].mean_ms == pytest.approx(148.8)

    def test_it_is_recorded_at_every_doubling_and_then_every_4096(self, world: SmallWorld) -> None:
        self.end_after(world, *([10] * 9))
        assert [r.count for r in world.journal if isinstance(r, RunTimeLearnt)] == [1, 2, 4, 8]
        world.journal.clear()
        for count, records in ((4095, 1), (8190, 0), (8191, 1), (12286, 0), (12287, 1)):
            world.state.run_times["f"].count = count
            world.journal.clear()
            self.end_after(world, 10)
            assert sum(isinstance(r, RunTimeLearnt) for r in world.journal) == records, count

    @pytest.mark.parametrize(("cpu_us", "mean_ms"), [(0, 0.1), (300, 0.3), (5000, 1.0)])
    def test_below_a_millisecond_the_cpu_time_tells_more(
        self, world: SmallWorld, cpu_us: int, mean_ms: float
    ) -> None:
        job = world.submit(a_job())
        world.schedule()
        world.report(N1.node, [task_id(job.id, 0)], [1], lease_ms=1, cpu_us=cpu_us)
        assert world.state.run_times["f"].mean_ms == mean_ms

    def test_failures_and_jobs_without_a_profile_teach_nothing(self, world: SmallWorld) -> None:
        job = world.submit(a_job(), 2)
        world.submit(a_job(profile=""), key="2")
        world.schedule()
        world.end(N1.node, [task_id(job.id, 0)], a_failure())
        world.end(N1.node, [task_id(JobId(2), 0)])
        assert world.state.run_times == {}

    def test_what_was_learnt_comes_before_what_was_declared(self, world: SmallWorld) -> None:
        self.end_after(world, 100)
        world.submit(a_job(estimate_ms=9999), key="declared")
        world.submit(a_job(estimate_ms=9999, profile=""), key="without")
        world.submit(a_job(profile="unknown"), key="neither")
        found = [group.run_time_s for group in world.reactor.view(world.now)[0].groups]
        assert found == [0.1, 9.999, None]

    def test_a_run_time_is_never_nothing(self, world: SmallWorld) -> None:
        self.end_after(world, 100)
        world.state.run_times["f"].mean_ms = 0.0
        world.submit(a_job(), key="next")
        assert [group.run_time_s for group in world.reactor.view(world.now)[0].groups] == [0.00005]


def test_labels_decide_where_a_job_may_go(world: SmallWorld) -> None:
    world.join(replace(a_node("n2"), labels=(("zone", "north"),)))
    world.submit(a_job(labels=(("zone", "north"),)), 2)
    world.schedule()
    assert {lease.node for lease in world.granted} == {"id-n2"}
