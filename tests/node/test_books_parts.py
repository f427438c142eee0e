"""Parts of attempts that run on: which interim leaves a node signs, and what it remembers of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.domain.failures import FailureKind
from farlane.domain.ids import JobId, TaskId, task_id
from farlane.domain.records import Column
from farlane.ledger.leaf import Leaf, Outcome, pack, unpack
from farlane.node.books.checking import LeafChecker
from farlane.node.books.memory import Memory
from farlane.node.machine.attempts import HeldAttempt, HeldJob
from farlane.node.machine.backlog import EndedColumns, ResultBatch
from farlane.node.machine.events import LeasesGranted
from farlane.node.machine.machine import InProgress
from farlane.testing.builders import RATES, a_job
from farlane.testing.kept_books import HOUR_MS, KEY, KeptBooks
from farlane.testing.scripted_book import ScriptedBook, a_leaf, a_part

JOB, TASK = JobId(3), task_id(JobId(3), 0)
SPEC = a_job(timeout_ms=100 * HOUR_MS)
HOUR_NANO = 1100 * 3600


class Node:
    """A memory that holds one attempt."""

    def __init__(self) -> None:
        self.memory = Memory(RATES)
        self.memory.join(1)
        self.checker = LeafChecker(self.memory, (RATES,))
        self.memory.grant(0.0, JOB, SPEC, [TASK], [1], Column([b"in"]))

    def take(self, raw: bytes) -> str | None:
        leaf, problem = self.checker.judge(raw)
        if leaf is not None and problem is None:
            self.memory.settle(leaf)
        return problem

    def end(self, lease_ms: int) -> None:
        held = HeldAttempt(1, 1, HeldJob(JOB, SPEC), TASK, 1, 0, None, lease_ms=lease_ms)
        self.memory.end(ResultBatch(1, EndedColumns([held], bytearray(1), Column([b"out"]))))


def part(number: int, before_ms: int, lease_ms: int = HOUR_MS) -> bytes:
    return a_part(TASK, SPEC, RATES, number, payload=b"in", before_ms=before_ms, lease_ms=lease_ms)


def last(lease_ms: int, before_ms: int) -> bytes:
    """Return the leaf of an end after so many milliseconds, of which some were booked in parts."""
    whole = a_leaf(TASK, SPEC, RATES, payload=b"in", result=b"out", lease_ms=lease_ms)
    paid = -(-before_ms * 1100 // 1000)
    leaf = unpack(whole)
    return pack(replace(leaf, lease_ms=lease_ms - before_ms, amount_nano=leaf.amount_nano - paid))


def test_parts_and_an_end_are_taken_in_order_and_cost_as_much_as_one_lease() -> None:
    node = Node()
    assert node.take(part(1, 0)) is None
    assert node.take(part(2, HOUR_MS)) is None
    node.end(2 * HOUR_MS + 60_000)
    assert node.memory.unbooked_nano == {"lab": 66_001}
    assert node.take(last(2 * HOUR_MS + 60_000, 2 * HOUR_MS)) is None
    assert node.memory.unbooked_nano == {"lab": 0}
    assert "in a book already" in str(node.take(part(3, 2 * HOUR_MS)))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda leaf: replace(leaf, part=2), "expected part 1"),
        (lambda leaf: replace(leaf, part=0), "expected part 1"),
        (lambda leaf: replace(leaf, outcome=Outcome.DONE), "expected part 1"),
        (lambda leaf: replace(leaf, amount_nano=leaf.amount_nano - 1), "amount_nano"),
        (lambda leaf: replace(leaf, amount_nano=leaf.amount_nano + 1), "amount_nano"),
        (lambda leaf: replace(leaf, output=b"o" * 32), "output"),
        (lambda leaf: replace(leaf, input=b"i" * 32), "input"),
        (lambda leaf: replace(leaf, failure=1, blame=1), "failure"),
        (lambda leaf: replace(leaf, gpu=b"g" * 32), "GPU"),
    ],
)
def test_a_part_that_is_not_the_next_or_not_at_its_price_is_objected_to(
    change: Callable[[Leaf], Leaf], complaint: str
) -> None:
    assert complaint in str(Node().take(pack(change(unpack(part(1, 0))))))


def test_a_part_twice_or_left_out_is_objected_to() -> None:
    node = Node()
    assert node.take(part(1, 0)) is None
    assert "expected part 2" in str(node.take(part(1, 0)))
    assert "expected part 2" in str(node.take(part(3, 2 * HOUR_MS)))


def test_an_end_that_forgets_the_parts_or_shortens_the_lease_is_objected_to() -> None:
    node = Node()
    assert node.take(part(1, 0)) is None
    node.end(2 * HOUR_MS)
    honest = unpack(last(2 * HOUR_MS, HOUR_MS))
    for amount in (honest.amount_nano + HOUR_NANO, honest.amount_nano - 1, 0):
        assert "amount_nano" in str(node.take(pack(replace(honest, amount_nano=amount))))
    assert "beside 3600000 ms booked before" in str(node.take(last(HOUR_MS + 60_000, HOUR_MS)))


def test_an_attempt_that_the_hub_ended_counts_its_parts() -> None:
    node = Node()
    assert node.take(part(1, 0)) is None
    node.memory.revoke(2 * HOUR_MS / 1000, [TASK], [1])
    stopped = a_leaf(
        TASK,
        SPEC,
        RATES,
        payload=b"in",
        failure=FailureKind.CANCELLED,
        lease_ms=HOUR_MS,
        amount_nano=HOUR_NANO,
    )
    short = pack(replace(unpack(stopped), lease_ms=HOUR_MS // 2, amount_nano=HOUR_NANO // 2))
    assert "beside 3600000 ms booked before" in str(node.take(short))
    assert node.take(stopped) is None


def test_a_part_whose_leaf_was_not_kept_comes_again() -> None:
    node = Node()
    first = node.memory.settle(unpack(part(1, 0)))
    node.end(2 * HOUR_MS)
    second = node.memory.settle(unpack(part(2, HOUR_MS)))
    assert node.memory.unbooked_nano == {"lab": 1}  # the bytes moved
    node.memory.restore(second)
    assert node.memory.unbooked_nano == {"lab": HOUR_NANO + 1}
    node.memory.restore(first)
    assert node.memory.unbooked_nano == {"lab": 2 * HOUR_NANO + 1}
    assert node.take(part(1, 0)) is None


def test_what_runs_counts_without_the_parts_that_are_booked() -> None:
    node = Node()
    slot = InProgress(JOB, TASK, 1, (), HOUR_MS + 60_000)
    assert node.memory.running_nano([slot]) == {"lab": HOUR_NANO + 66_000}
    assert node.take(part(1, 0)) is None
    assert node.memory.running_nano([slot]) == {"lab": 66_000}


def test_a_part_of_before_a_restart_is_judged_in_itself() -> None:
    node = Node()
    node.memory.join(2)  # all is forgotten
    assert node.take(part(4, 3 * HOUR_MS)) is None
    cheap = replace(unpack(part(5, 4 * HOUR_MS)), amount_nano=HOUR_NANO // 2)
    assert "the lease alone costs" in str(node.take(pack(cheap)))
    failed = replace(unpack(part(5, 4 * HOUR_MS)), failure=1, blame=1)
    assert "does not fit" in str(node.take(pack(failed)))
    whole = replace(unpack(part(5, 4 * HOUR_MS)), part=0)
    assert "parts alone are interim" in str(node.take(pack(whole)))


async def test_a_part_is_kept_signed_and_paid_while_its_task_runs(tmp_path: Path) -> None:
    hub, node = ScriptedBook(KEY.address), KeptBooks(tmp_path)
    node.join()
    node.hear(terms=hub.terms())
    node.books.granted(LeasesGranted(0.0, 1, JOB, SPEC, [TASK], [1], [1], Column([b"in"])))
    node.running = [InProgress(JOB, TaskId(TASK), 1, (), HOUR_MS)]
    assert node.books.keeper.exposures()["lab"].running_nano == HOUR_NANO
    node.hear(leaves=hub.append(part(1, 0)))
    exposure = node.books.keeper.exposures()["lab"]
    assert (exposure.unpaid_nano, exposure.running_nano) == (HOUR_NANO, 0)
    node.hear(voucher=hub.answer(await node.head(), KEY.address))
    assert node.books.keeper.exposures()["lab"].total_nano == 0
    await node.settle()
    node.books.close()
    node.store.close()
