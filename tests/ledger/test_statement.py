"""Statements of what a replica has served: canonical bytes, their digest in the leaf, and receipts that carry them."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.domain.ids import JobId, task_id
from farlane.domain.served import Served
from farlane.errors import InvalidInput
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.leaf import NONE, Leaf, Outcome, pack
from farlane.ledger.receipt import Receipt, from_json, to_json, verify
from farlane.ledger.statement import (
    STATEMENT_BYTES,
    Statement,
    pack_statement,
    statement_digest,
    unpack_statement,
)
from farlane.ledger.tree import Tree, leaf_hash
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import Channel, Delegation, TreeHead, Voucher, sign_head, sign_voucher

PAYER, PROVIDER, SESSION = (PrivateKey.from_bytes(bytes([number]) * 32) for number in (1, 2, 3))
DOMAIN, MODEL, ENDED_MS = Domain(31337, PAYER.address, "ab" * 16), b"m" * 32, 1_800_000_000_000
STATED = pack_statement(Statement(MODEL, ENDED_MS - 1500, ENDED_MS, Served(5, 1, 30, 40, 500, 600)))
NUMBER = st.integers(0, 2**64 - 1)


def receipt(statement: bytes = STATED, output: bytes | None = None, model: bytes = MODEL) -> Receipt:
    """Return the receipt of a replica that was stopped."""
    leaf = Leaf(
        task=task_id(JobId(1), 0), attempt=1, copy=0, part=1, outcome=Outcome.INTERIM, failure=0, blame=0,
        spec=b"\1" * 32, model=model, input=b"\2" * 32, output=statement_digest(STATED) if output is None else output,
        gpu=NONE, cpu_milli=1000, memory_bytes=1 << 30, disk_bytes=0, gpu_count=0, lease_ms=1500,
        hourly_nano=20_000_000, amount_nano=8334, ended_ms=ENDED_MS,
    )  # fmt: skip
    channel, tree = (
        Channel(PAYER.address, PROVIDER.address, SESSION.address, bytes(32)),
        Tree([leaf_hash(pack(leaf))]),
    )
    return Receipt(
        DOMAIN, channel, leaf, 0, (), sign_head(DOMAIN, PROVIDER, TreeHead(channel.id, 1, tree.root())),
        Delegation(PROVIDER.address, PROVIDER.address, 0), b"",
        sign_voucher(DOMAIN, SESSION, Voucher(channel.id, 8334, 1, tree.root())), statement,
    )  # fmt: skip


def faults(found: Receipt) -> list[str]:
    """Return which checks fail, and why."""
    return [f"{one.check}: {one.message}" for one in verify(found) if not one.ok]


@given(st.binary(min_size=32, max_size=32), NUMBER, NUMBER, st.tuples(*[NUMBER] * 6))
def test_statements_survive_their_bytes(model: bytes, start: int, end: int, figures: tuple[int, ...]) -> None:
    statement = Statement(model, start, end, Served(*figures))
    assert unpack_statement(pack_statement(statement)) == statement


def test_what_is_no_statement_is_refused() -> None:
    for raw, words in ((b"", "0"), (STATED[:-1], str(STATEMENT_BYTES)), (b"\2" + STATED[1:], "upgrade")):
        with pytest.raises(InvalidInput, match=words):
            unpack_statement(raw)
    with pytest.raises(InvalidInput, match="does not fit"):
        pack_statement(Statement(MODEL, 0, 0, Served(-1)))


def test_its_digest_is_not_that_of_the_same_bytes_as_a_result() -> None:
    assert statement_digest(STATED) != sha256(STATED).digest()


def test_a_receipt_carries_what_was_served_and_proves_it() -> None:
    read = from_json(to_json(receipt()))
    assert read == receipt()
    assert faults(read) == []
    assert [one.check for one in verify(read)][-1] == "leaf states what was served"


def test_another_count_than_the_signed_one_is_found() -> None:
    document = json.loads(to_json(receipt()))
    document["served"]["requests"] += 1
    assert any(
        "not what both sides signed" in one for one in faults(from_json(json.dumps(document).encode()))
    )


def test_a_receipt_that_hides_what_was_served_is_found() -> None:
    assert any("does not say what" in one for one in faults(receipt(statement=b"")))


def test_a_statement_of_another_version_is_found() -> None:
    assert any("another version" in one for one in faults(receipt(model=b"n" * 32)))


def test_receipts_that_state_nothing_are_as_they_were() -> None:
    old = receipt(b"", NONE)
    assert b"served" not in to_json(old)
    assert faults(from_json(to_json(old))) == []
    assert faults(replace(receipt(b"", b"\3" * 32, NONE))) == []
