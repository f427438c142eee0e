"""A hub's own past: read from its store and its presence log, and made a history that can be replayed."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from farlane.domain.failures import FailureKind
from farlane.domain.ids import NodeId
from farlane.domain.records import NodeRegistered
from farlane.errors import InvalidInput, NotFound
from farlane.hub.deciding.opening import LOG
from farlane.hub.presence import EVERYBODY, Presence
from farlane.hub.store.sqlite.past import Past, read_past
from farlane.lab.history import Change, History
from farlane.lab.traces.journal import history_of, read_journal
from farlane.testing.builders import a_failure, a_job, a_node
from farlane.testing.past_worlds import keep_world
from farlane.testing.small_world import SmallWorld

ELM, OAK = a_node("elm", cpu=1000), a_node("oak", cpu=1000)


def past_of(world: SmallWorld, forgotten: int = 0) -> Past:
    nodes = {record.spec.node: record for record in world.journal if isinstance(record, NodeRegistered)}
    return Past(list(nodes.values()), list(world.journal), forgotten)


def past(world: SmallWorld, *presence: Presence) -> History:
    return history_of(past_of(world), presence)


def test_run_times_and_waits_are_those_of_the_last_attempt() -> None:
    world = SmallWorld()
    world.join(ELM)
    world.submit(a_job(), 2)
    world.now += 5
    world.schedule()
    (first,) = world.held[ELM.node]
    world.now += 3
    world.end(ELM.node, [first], lease_ms=3000)
    world.schedule()
    world.now += 4
    world.end_all()
    (job,) = past(world).jobs
    assert job.batches == ((1_000_000.0, 2),)
    assert job.run_s.tolist() == [3.0, 0.01]
    assert job.started_at.tolist() == [1_000_005.0, 1_000_008.0]
    assert job.ended_at.tolist() == [1_000_008.0, 1_000_012.0]
    assert (job.node.tolist(), job.counted, job.name) == ([0, 0], (True, True), "j1")


def test_attempts_that_failed_by_their_own_fault_are_mishaps() -> None:
    world = SmallWorld()
    world.join(ELM)
    world.submit(a_job(retries=1), 1)
    world.schedule()
    world.now += 2
    world.end(ELM.node, list(world.held[ELM.node]), a_failure(FailureKind.EXCEPTION), lease_ms=1500)
    world.schedule()
    world.now += 2
    world.end(ELM.node, list(world.held[ELM.node]), lease_ms=2000)
    (job,) = past(world).jobs
    assert (job.mishaps, job.run_s.tolist()) == ({0: (1.5,)}, [2.0])


def test_work_that_was_stopped_runs_as_long_as_the_rest_of_its_job() -> None:
    world = SmallWorld()
    world.join(ELM)
    found = world.submit(a_job(estimate_ms=9000, profile=""), 3)
    world.schedule()
    world.now += 2
    world.end(ELM.node, list(world.held[ELM.node]), lease_ms=2000)
    world.schedule()
    world.now += 1
    world.reactor.stop_job(world.now, found.id, "enough")
    world.take()
    history = past(world)
    (job,) = history.jobs
    assert (job.stopped_at, job.run_s.tolist()) == (1_000_003.0, [2.0, 2.0, 2.0])
    assert job.counted == (True, False, False)
    assert "2 tasks never ended by themselves; they run as others did, and are not compared" in history.notes


def test_work_of_which_nothing_ran_takes_what_was_declared() -> None:
    world = SmallWorld()
    world.join(ELM)
    world.submit(a_job(estimate_ms=9000, profile=""), key="a")
    world.submit(a_job(timeout_ms=7000, profile=""), key="b")
    assert [job.run_s.tolist() for job in past(world).jobs] == [[9.0], [7.0]]


def test_without_a_log_comings_and_goings_are_told_from_leases_and_their_loss() -> None:
    world = SmallWorld()
    world.join(ELM)
    world.submit(a_job(), 1)
    world.schedule()
    world.now += 30
    world.leave(ELM.node, farewell="shut down")
    world.now += 100
    world.join(ELM)
    world.schedule()
    history = past(world)
    assert [(change.at, change.online) for change in history.changes] == [
        (1_000_000.0, True),
        (1_000_030.0, False),
        (1_000_130.0, True),
    ]
    assert "nobody watched when nodes came and went: told from leases and their loss" in history.notes


def test_comings_and_goings_that_were_watched_are_taken_and_short_absences_left_out() -> None:
    world = SmallWorld()
    world.join(ELM)
    world.join(OAK)
    world.submit(a_job(), 1)
    at = world.now
    elm, oak = ELM.node, OAK.node
    seen = [
        Presence(at + 50, elm, False), Presence(at + 55, elm, True), Presence(at + 70, oak, False),
        Presence(at + 90, NodeId("somebody else"), False), Presence(at + 100, EVERYBODY, False),
        Presence(at + 101, elm, True), Presence(at + 300, oak, True),
    ]  # fmt: skip
    assert past(world, *seen).changes == (
        Change(at, 0, True),
        Change(at, 1, True),
        Change(at + 70, 1, False),
        Change(at + 300, 1, True),
    )


def test_a_store_without_work_says_what_is_missing() -> None:
    world = SmallWorld()
    world.join(ELM)
    with pytest.raises(InvalidInput, match="no jobs and nodes to replay yet; run some work"):
        past(world)
    with pytest.raises(InvalidInput, match=r"\(3 jobs are forgotten"):
        history_of(past_of(world, forgotten=3))


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_stores_of_every_version_are_read(tmp_path: Path, version: int) -> None:
    path = tmp_path / "store.db"
    packed = Path(__file__).parents[2] / "data" / f"store-v{version}.sqlite.gz"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    found = read_past(path)
    assert found.records
    assert len(read_journal(path).jobs) > 0


def test_who_decided_is_told_from_the_decision_log(tmp_path: Path) -> None:
    world = SmallWorld()
    world.join(ELM)
    world.submit(a_job(), 1)
    keep_world(world, tmp_path / "store.db")
    assert not any("decision log" in note for note in read_journal(tmp_path / "store.db").notes)
    (tmp_path / LOG).mkdir()
    assert not any("decision log" in note for note in read_journal(tmp_path / "store.db").notes)


def test_what_is_no_store_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no store"):
        read_journal(tmp_path / "store.db")
    (tmp_path / "text").write_bytes(b"no database " * 100)
    with pytest.raises(Exception, match="text"):
        read_journal(tmp_path / "text")


def test_started_is_nan_where_nothing_started() -> None:
    world = SmallWorld()
    world.join(ELM)
    world.submit(a_job(), 2)
    world.schedule()
    assert np.isnan(past(world).jobs[0].started_at).tolist() == [False, True]
