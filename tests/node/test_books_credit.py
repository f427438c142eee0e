"""When a node takes no more work: nobody pays for it, or its disk is full; and when it goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.domain.ids import task_id
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.leaf import unpack
from farlane.node.books.opening import Rhythm
from farlane.node.machine.machine import InProgress
from farlane.testing.kept_books import JOB, KEY, SPEC, KeptBooks, leaf_of
from farlane.testing.scripted_book import ScriptedBook

OTHER = PrivateKey.generate()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[KeptBooks]:
    kept = KeptBooks(tmp_path)
    kept.join()
    yield kept
    kept.books.close()
    kept.store.close()


@pytest.fixture
def hub() -> ScriptedBook:
    return ScriptedBook(KEY.address)


async def test_work_stops_at_the_credit_and_goes_on_when_it_is_paid(
    tmp_path: Path, hub: ScriptedBook
) -> None:
    hour = unpack(leaf_of(task_id(JOB, 0), SPEC)).amount_nano
    node = KeptBooks(tmp_path, Rhythm(1000, 5.0, credit_nano=3 * hour))
    node.join()
    node.hear(terms=hub.terms())
    node.hear(leaves=hub.append(*node.work(0)))
    node.work(1)
    node.running = [InProgress(JOB, task_id(JOB, 2), 1, (), 1_800_000)]
    node.books.keeper.tick()
    assert not node.stopped, "booked, ended and running come to two and a half"
    node.running = [InProgress(JOB, task_id(JOB, 2), 1, (), 3_600_001)]
    node.books.keeper.tick()
    assert "owes this node" in node.stopped["lab"]
    assert "raise node.credit" in node.stopped["lab"]
    node.running = []
    node.hear(voucher=hub.answer(await node.head(), KEY.address))
    assert node.stopped["lab"] == ""
    assert node.credits() == [("lab", True), ("lab", False)]
    node.store.close()


async def test_a_full_disk_stops_work_and_nothing_is_signed_until_there_is_room(
    tmp_path: Path, hub: ScriptedBook
) -> None:
    node = KeptBooks(tmp_path, max_bytes=1)
    node.join()
    node.hear(terms=hub.terms())
    leaves = node.work(*range(5000))
    node.hear(leaves=hub.append(*leaves))
    await node.settle()
    node.clock.advance(60)
    node.books.keeper.tick()
    await node.settle()
    assert "disk is full" in node.stopped["lab"]
    assert not node.heads()
    assert not node.books.read().writable
    assert node.books.keeper.exposures()["lab"].total_nano >= hub.book.owed_nano
    node.store.limit(None)
    node.clock.advance(60)
    node.books.keeper.tick()
    await node.settle()
    assert node.reconnects == ["the node's books can be written again"]
    node.lose()
    node.join()
    node.hear(terms=hub.terms())
    assert node.books.keeper.marks() == []
    node.hear(leaves=hub.message(0, leaves))
    head = await node.head()
    assert (head.size, head.root) == (5000, hub.book.frontier.root())
    assert node.stopped["lab"] == ""
    node.store.close()
