"""The outbox's file: damage, strangers' files and later versions are recognised; a full disk sends nothing."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from farlane.errors import Conflict, Corrupted, DiskFull, InvalidInput
from farlane.ledger.accounts import Address
from farlane.ledger.fees import Fees
from farlane.ledger.keccak import keccak256
from farlane.ledger.outbox.intents import Attempt, Call, IntentKey, IntentState, Refusal
from farlane.ledger.outbox.journal import Journal
from farlane.ledger.outbox.outbox import ChainOutbox
from farlane.ledger.rpc import RpcClient

KEY = IntentKey("a")
CALL = Call(Address("0x" + "1" * 40), Address("0x" + "2" * 40), b"data", 2**200)
ATTEMPT = Attempt(keccak256(b"raw"), b"raw", 3, Fees(1, 2**100), 5.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "outbox.db"
    journal = Journal(file, 7)
    journal.add(KEY, CALL, 4.0)
    journal.sign(1, ATTEMPT, 21_000, 9)
    journal.close()
    return file


def test_all_of_it_comes_back(path: Path) -> None:
    journal = Journal(path, 7)
    (intent,) = journal.open_intents()
    assert (intent.key, intent.call, intent.created_at) == (KEY, CALL, 4.0)
    assert (intent.state, intent.nonce, intent.gas, intent.first_block) == (IntentState.SIGNED, 3, 21_000, 9)
    assert intent.attempts == (ATTEMPT,)
    assert not journal.withdraw(KEY)
    journal.refused(1, Refusal("no", "No"), 6.0)
    assert journal.open_intents() == []
    assert journal.outcome(KEY).refusal == Refusal("no", "No")
    with pytest.raises(Conflict, match="ended already"):
        journal.sent(1)
    assert not journal.add(KEY, CALL, 8.0)
    journal.close()


@pytest.mark.parametrize(
    "change",
    ["UPDATE intents SET data = x'00'", "UPDATE attempts SET raw = x'00'", "UPDATE intents SET value = '1'"],
)
def test_a_changed_bit_is_noticed(path: Path, change: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(change)
    connection.close()
    journal = Journal(path, 7)
    with pytest.raises(Corrupted, match="does not match its digest"):
        journal.open_intents()
    journal.close()


def test_a_torn_file_is_noticed(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(Corrupted, match="is damaged"):
        Journal(path, 7)


def test_a_file_of_something_else_is_left_alone(path: Path) -> None:
    other = path.with_name("other.db")
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE things (a)")
    connection.close()
    with pytest.raises(InvalidInput, match="not an outbox"):
        Journal(other, 7)


def test_a_later_version_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(Conflict, match="newer farlane"):
        Journal(path, 7)


def test_a_full_disk_keeps_what_was_there_and_takes_nothing(path: Path) -> None:
    journal = Journal(path, 7)
    (pages,) = journal._connection.execute("PRAGMA page_count").fetchone()
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    large = Call(CALL.sender, CALL.to, bytes(1 << 20))
    with pytest.raises(DiskFull, match="disk is full"):
        journal.add(IntentKey("b"), large, 1.0)
    assert [intent.key for intent in journal.open_intents()] == [KEY]
    journal.close()


async def test_an_opening_that_is_cancelled_leaves_no_lock_behind(tmp_path: Path) -> None:
    rpc = RpcClient("http://127.0.0.1:1")
    opening = asyncio.create_task(ChainOutbox.open(tmp_path / "outbox.db", rpc, 1, []))
    await asyncio.sleep(0)  # the thread has begun
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    outbox = await ChainOutbox.open(tmp_path / "outbox.db", rpc, 1, [])
    await outbox.close()
    await rpc.close()
