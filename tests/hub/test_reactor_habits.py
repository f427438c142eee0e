"""Run habits in a hub: what views tell of past runs, and of what else a publisher has."""

from __future__ import annotations

import math

import pytest

from farlane.domain.ids import JobId, task_id
from farlane.hub.reactor import habits
from farlane.hub.reactor.habits import RunHabits
from farlane.hub.reactor.viewing import build_view, view_of
from farlane.scheduler.view import History
from farlane.testing.builders import a_job, a_node
from farlane.testing.small_world import SmallWorld

N1 = a_node("n1", cpu=2000)


def seen(world: SmallWorld, at: int = 0) -> History:
    view, _ = build_view(world.state, world.now)
    history = view.groups[at].history
    assert history is not None
    return history


def run(world: SmallWorld, seconds: float, **changes: object) -> None:
    """Let one task of its own job run to its end."""
    job = world.submit(a_job(**changes), 1, key=f"run {world.now} {seconds}")
    world.schedule()
    world.now += seconds
    world.end(N1.node, [task_id(job.id, 0)], lease_ms=round(1000 * seconds))
    world.take()


@pytest.fixture
def world() -> SmallWorld:
    world = SmallWorld()
    world.join(N1)
    return world


def test_what_is_asked_for_stands_for_what_was_never_seen(world: SmallWorld) -> None:
    world.submit(a_job(timeout_ms=100_000), 3)
    assert seen(world) == History(2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.0, 3.0, 0.0, 0.0)


def test_a_profile_goes_before_its_publisher_and_that_before_the_time_limit(world: SmallWorld) -> None:
    for seconds, profile, publisher in ((20, "f", "ada"), (40, "g", "ada"), (30, "h", "bo")):
        run(world, seconds, profile=profile, publisher=publisher)
    for profile, publisher in (("f", "ada"), ("new", "ada"), ("new", "cy")):
        world.submit(a_job(profile=profile, publisher=publisher), 1, key=f"{profile} {publisher}")
    of_kind, of_owner, of_limit = (seen(world, at) for at in range(3))
    assert of_kind.usual == pytest.approx(math.log10(20), abs=0.01)
    assert of_owner.usual == of_owner.owner_usual == pytest.approx(math.log10(math.sqrt(800)), abs=0.01)
    assert of_limit.usual == of_limit.owner_usual == of_limit.asked_usual
    assert of_limit.asked_usual == pytest.approx(math.log10(24_000) / 3, abs=0.01)
    assert (of_kind.runs, of_limit.runs) == (2.0, 0.0)


def test_what_is_stopped_teaches_nothing(world: SmallWorld) -> None:
    job = world.submit(a_job(), 1)
    world.schedule()
    world.reactor.stop_job(world.now, job.id, "enough")
    assert len(world.state.habits) == 0


def test_what_a_publisher_has_running_and_waiting_is_told_to_each_of_its_jobs(world: SmallWorld) -> None:
    world.submit(a_job(), 2)
    world.schedule()
    world.now += 9
    world.submit(a_job(), 4, key="mine")
    world.submit(a_job(publisher="lab/bo"), 1, key="other")
    mine, other = seen(world, 0), seen(world, 1)
    assert (mine.crowd, mine.running, mine.elapsed_s) == (4.0, 2.0, pytest.approx(9.0))
    assert (other.crowd, other.running, other.elapsed_s) == (1.0, 0.0, 0.0)


def test_a_restart_leaves_the_profiles_stored_mean(world: SmallWorld) -> None:
    run(world, 30)
    world.restart()
    world.submit(a_job(), 1, key="again")
    history = seen(world)
    assert history.runs == 0
    assert history.usual == pytest.approx(math.log10(30), abs=0.01)
    assert history.owner_usual == pytest.approx(math.log10(60))


def test_habits_of_no_use_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(habits, "MOST", 100)
    book = RunHabits()
    for at in range(200):
        book.learn(a_job(profile=f"f{at}"), 50.0)
    assert len(book) == 100
    assert book.of(("profile", "f0")) is None
    assert book.of(("profile", "f199")) == (1.0, pytest.approx(math.log10(50)), pytest.approx(math.log10(50)))
    of_owner = book.of(("owner", "lab/ada"))
    assert of_owner is not None
    assert of_owner[0] == 200


def test_views_of_one_job_tell_of_it_too(world: SmallWorld) -> None:
    job = world.submit(a_job(), 5)
    view, _ = view_of(world.state, world.now, world.state.jobs[JobId(job.id)])
    assert view.groups[0].history == seen(world)
