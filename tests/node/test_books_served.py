"""What a node signs of a replica: no more than it has counted itself, of its own version, and bound by the leaf."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from farlane.domain.ids import JobId, task_id
from farlane.domain.jobs import JobSpec, ServeWork
from farlane.domain.records import Column
from farlane.domain.served import Served
from farlane.kit.cid import cid_of, digest_of
from farlane.ledger.leaf import NONE, pack, unpack
from farlane.ledger.statement import Statement, pack_statement, statement_digest
from farlane.node.books.checking import LeafChecker
from farlane.node.books.memory import Memory
from farlane.testing.builders import RATES, a_job
from farlane.testing.kept_books import HOUR_MS, KEY, KeptBooks
from farlane.testing.scripted_book import ENDED_MS, ScriptedBook, a_part

JOB, TASK = JobId(3), task_id(JobId(3), 0)
VERSION = cid_of(b"model")
SPEC = replace(a_job(timeout_ms=100 * HOUR_MS), function=None, serve=ServeWork(VERSION, "lab/chat"))
SEEN = Served(5, 1, 30, 40, 500, 600)


def stated(served: Served, model: bytes = digest_of(VERSION), until_ms: int = ENDED_MS) -> bytes:
    """Return what a hub states."""
    return pack_statement(Statement(model, ENDED_MS - HOUR_MS, until_ms, served))


def objection(
    statement: bytes, output: bytes | None = None, spec: JobSpec = SPEC, *, held: bool = True
) -> str | None:
    """Return what a node that has counted SEEN says of a part with this statement."""
    memory = Memory(RATES)
    memory.join(1)
    if held:
        memory.grant(0.0, JOB, spec, [TASK], [1], Column([b"in"]))
        memory.answer(TASK, 1, SEEN)
    honest = unpack(a_part(TASK, spec, RATES, 1, payload=b"in", before_ms=0, lease_ms=HOUR_MS))
    leaf = replace(honest, output=statement_digest(statement) if output is None else output)
    return LeafChecker(memory, (RATES,)).judge(pack(leaf), statement)[1]


def test_what_the_node_has_counted_is_signed() -> None:
    assert objection(stated(SEEN)) is None


def test_less_is_signed_too() -> None:
    assert objection(stated(Served(4, 1, 30, 40, 500, 600))) is None
    assert objection(b"", NONE) is None


@pytest.mark.parametrize("figure", range(6))
def test_more_is_objected_to(figure: int) -> None:
    more = [5, 1, 30, 40, 500, 600]
    more[figure] += 1
    assert "the node counted" in str(objection(stated(Served(*more))))


def test_a_statement_that_the_leaf_does_not_bind_is_objected_to() -> None:
    assert "not the digest" in str(objection(stated(SEEN), b"o" * 32))
    assert "output" in str(objection(b"", b"o" * 32))


def test_a_statement_of_another_version_or_time_is_objected_to() -> None:
    assert "another version" in str(objection(stated(SEEN, b"n" * 32)))
    assert "another time" in str(objection(stated(SEEN, until_ms=ENDED_MS + 1)))


def test_bytes_that_are_no_statement_are_objected_to() -> None:
    assert "a statement of what was served has" in str(objection(b"x"))


def test_other_work_has_nothing_to_state() -> None:
    assert "another version" in str(objection(stated(SEEN), spec=a_job(timeout_ms=100 * HOUR_MS)))


def test_of_an_attempt_from_before_the_node_started_only_the_form_is_checked() -> None:
    assert objection(stated(Served(10**6)), held=False) is None
    assert "not the digest" in str(objection(stated(SEEN), b"o" * 32, held=False))


async def test_requests_that_a_hub_leaves_out_are_counted(tmp_path: Path) -> None:
    node = KeptBooks(tmp_path)
    node.join()
    hub = ScriptedBook(KEY.address)
    node.hear(terms=hub.terms())
    whole = node.work(0, spec=SPEC)
    node.books.answered(TASK, 1, SEEN)
    statement = stated(Served(3, 1, 30, 40, 500, 600))
    message = hub.append(*(pack(replace(unpack(raw), output=statement_digest(statement))) for raw in whole))
    message.statement_rows.append(0)
    message.statements.append(statement)
    node.hear(leaves=message)
    await node.settle()
    found = node.books.read()
    assert (found.leaves, found.objections, found.unstated) == (1, 0, 2)
    node.store.close()
