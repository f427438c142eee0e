"""What replicas have served in the hub's books: stated in each leaf, summed over its attempt, kept across a restart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from farlane.domain.bookkeeping import LeavesBooked
from farlane.domain.failures import Failure, FailureKind
from farlane.domain.ids import JobId, NodeId, task_id
from farlane.domain.jobs import ServeWork
from farlane.domain.nodes import NodeSpec
from farlane.domain.prices import RateVector
from farlane.domain.records import AttemptsFailed, Column, LeasesMetered
from farlane.domain.resources import GIB, Capacity
from farlane.domain.served import Served
from farlane.hub.books.books import HubBooks, NoAccounts
from farlane.hub.books.inputs import InputDigests
from farlane.hub.books.leaves import Bookable
from farlane.hub.books.served import ServedCounts, last_stated_in
from farlane.hub.reactor.state import Lease
from farlane.hub.store.memory import MemoryStore
from farlane.hub.store.port import Store
from farlane.hub.store.sqlite.store import SqliteStore
from farlane.kit.cid import cid_of, digest_of
from farlane.ledger.leaf import NONE, unpack
from farlane.ledger.statement import statement_digest, unpack_statement
from farlane.testing.builders import a_job
from farlane.testing.store_suite import commit

VERSION, NODE, AT = cid_of(b"model"), NodeId("n-1"), 1_790_000_000.0
SPEC = replace(a_job(), function=None, serve=ServeWork(VERSION, "lab/chat"), organisation="lab")
RACK = NodeSpec(
    NODE, "rack", "works", Capacity(8000, 64 * GIB, GIB, ()), "3.11", "linux", RateVector(core_second=10, gib_second=3)
)  # fmt: skip
TASK = task_id(JobId(7), 0)
ONE = Served(1, 0, 3, 4, 50, 60)


def books(counts: ServedCounts) -> HubBooks:
    """Return the books of a hub."""
    inputs = InputDigests(lambda job, indices: Column([b""] * len(indices)))
    return HubBooks("net", [], NoAccounts(), inputs, counts)


def part(number: int) -> LeasesMetered:
    """Return an hour that was booked while the replica runs on."""
    return LeasesMetered(JobId(7), NODE, AT + 3600 * number, [0], [1], [number], [3_600_000], [10])


def lost() -> AttemptsFailed:
    """Return the replica's end."""
    failure = Failure(FailureKind.NODE_LOST, "")
    return AttemptsFailed(JobId(7), NODE, AT + 9000, [0], [1], [failure], [9_000_000], [20])


def booked(found: HubBooks, record: Bookable, part: int = 0) -> LeavesBooked:
    """Book a record of the replica."""
    added = found.book(record, SPEC, RACK, [Lease(1, AT, 10**9, None, part, 3_600_000 * part, 10 * part)])[-1]
    assert isinstance(added, LeavesBooked)
    return added


def test_every_leaf_of_a_replica_states_what_its_attempt_has_served_so_far() -> None:
    found = books(ServedCounts())
    found.served.add(TASK, 1, ONE)
    first = booked(found, part(1))
    found.served.add(TASK, 1, ONE)
    last = booked(found, lost(), 1)
    assert unpack_statement(first.statements[0]).served == ONE
    statement = unpack_statement(last.statements[0])
    assert statement.served == ONE.plus(ONE)
    assert statement.model == digest_of(VERSION)
    assert (statement.from_ms, statement.until_ms) == (int(AT * 1000), int((AT + 9000) * 1000))
    assert unpack(last.leaves[0]).output == statement_digest(last.statements[0])


def test_a_replica_that_was_never_asked_and_other_work_state_nothing() -> None:
    found = books(ServedCounts())
    assert booked(found, lost()).statements == {}
    found.served.add(TASK, 1, ONE)
    (record,) = [
        one for one in found.book(lost(), a_job(), RACK, [Lease(1, AT, 10**9, None)])
        if isinstance(one, LeavesBooked)
    ]  # fmt: skip
    assert (record.statements, unpack(record.leaves[0]).output) == ({}, NONE)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_hub_that_starts_anew_goes_on_from_the_last_leaf(kind: str, tmp_path: Path) -> None:
    store: Store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "hub", ballast_bytes=4096)
    found = books(ServedCounts())
    found.served.add(TASK, 1, ONE)
    commit(store, *found.book(part(1), SPEC, RACK, [Lease(1, AT, 10**9, None)]))
    found.served.add(TASK, 1, ONE)  # counted, in no leaf yet, and lost
    again = books(ServedCounts(last_stated_in(store)))
    assert unpack_statement(booked(again, part(2), 1).statements[0]).served == ONE
    again.served.add(TASK, 1, ONE)
    assert unpack_statement(booked(again, lost(), 1).statements[0]).served == ONE.plus(ONE)
    again.served.add(TASK, 2, ONE)
    second = again.served.statements(replace(lost(), attempts=[2]), SPEC, [Lease(2, AT, 1, None)])
    assert unpack_statement(second[0]).served == ONE, "another attempt begins anew"
    store.close()
