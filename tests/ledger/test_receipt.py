"""Leaves and receipts: canonical bytes, honest receipts verify, and any change is found."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farlane.domain.failures import Blame, FailureKind
from farlane.domain.ids import JobId, task_id
from farlane.domain.jobs import JobSpec, ServeWork
from farlane.domain.prices import RateVector
from farlane.errors import InvalidInput, TooLarge
from farlane.kit.cid import digest_of
from farlane.ledger import leaf as leaves
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.leaf import (
    LEAF_BYTES,
    NONE,
    Leaf,
    Outcome,
    output_digest,
    pack,
    spec_bytes,
    spec_digest,
    unpack,
)
from farlane.ledger.leaf_maker import LeafMaker, outcome_digest
from farlane.ledger.receipt import MAX_BYTES, Receipt, from_json, to_json, verify
from farlane.ledger.tree import Tree, leaf_hash
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import (
    Channel,
    Delegation,
    TreeHead,
    Voucher,
    delegation_digest,
    sign_head,
    sign_voucher,
)

PAYER, PROVIDER, SESSION, NODE = (PrivateKey.from_bytes(bytes([number]) * 32) for number in (1, 2, 3, 4))
DOMAIN = Domain(31337, PAYER.address, "ab" * 16)
ENDED_MS = 1_800_000_000_000


def a_leaf(task: int = 1) -> Leaf:
    return Leaf(
        task=task, attempt=1, copy=0, part=0, outcome=0, failure=0, blame=0, spec=b"\1" * 32, model=NONE,
        input=b"\2" * 32, output=b"\3" * 32, gpu=NONE, cpu_milli=1000, memory_bytes=1 << 30, disk_bytes=0,
        gpu_count=0, lease_ms=1500, hourly_nano=20_000_000, amount_nano=8334, ended_ms=ENDED_MS,
    )  # fmt: skip


def a_receipt(index: int = 3, count: int = 7) -> Receipt:
    channel = Channel(PAYER.address, PROVIDER.address, SESSION.address, bytes(32))
    tree = Tree(leaf_hash(pack(a_leaf(task))) for task in range(count))
    delegation = Delegation(PROVIDER.address, NODE.address, ENDED_MS // 1000 + 10)
    return Receipt(
        DOMAIN, channel, a_leaf(index), index, tuple(tree.inclusion(index)),
        sign_head(DOMAIN, NODE, TreeHead(channel.id, count, tree.root())),
        delegation, PROVIDER.sign(delegation_digest(DOMAIN, delegation)),
        sign_voucher(DOMAIN, SESSION, Voucher(channel.id, 8334 * count, count, tree.root())),
    )  # fmt: skip


def test_an_honest_receipt_verifies_after_a_round_trip() -> None:
    receipt = a_receipt()
    read = from_json(to_json(receipt))
    assert read == receipt
    assert all(finding.ok for finding in verify(read))


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [place for key in value for place in _places(value[key], (*path, key))]
    if isinstance(value, list):
        return [place for at in range(len(value)) for place in _places(value[at], (*path, at))]
    return [path]


PLACES = _places(json.loads(to_json(a_receipt())))


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_any_changed_field_is_found(place: tuple[Any, ...]) -> None:
    document = json.loads(to_json(a_receipt()))
    holder = document
    for key in place[:-1]:
        holder = holder[key]
    value = holder[place[-1]]
    if isinstance(value, int):
        holder[place[-1]] = value + 1
    elif value.isdecimal():
        holder[place[-1]] = str(int(value) + 1)
    else:
        holder[place[-1]] = value[:-1] + ("0" if value[-1] != "0" else "1")
    try:
        findings = verify(from_json(json.dumps(document).encode()))
    except InvalidInput:
        return
    assert any(not finding.ok and finding.message for finding in findings)


def test_signatures_of_others_are_found() -> None:
    receipt = a_receipt()
    wrong = dataclasses.replace(receipt, head=sign_head(DOMAIN, PAYER, receipt.head.head))
    assert [finding.check for finding in verify(wrong) if not finding.ok] == ["node signed the tree"]
    wrong = dataclasses.replace(receipt, voucher=sign_voucher(DOMAIN, NODE, receipt.voucher.voucher))
    assert [finding.check for finding in verify(wrong) if not finding.ok] == ["publisher signed the voucher"]
    late = dataclasses.replace(receipt.leaf, ended_ms=ENDED_MS + 20_000)
    failed = [finding.check for finding in verify(dataclasses.replace(receipt, leaf=late)) if not finding.ok]
    assert "provider stands behind the node" in failed


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not a receipt"),
        (b"[]", "not a receipt"),
        (b'{"format": "farlane-receipt-9"}', "not a receipt"),
        (b'{"format": "farlane-receipt-1"}', "lacks 'domain'"),
        (b"[" * 30_000, "not a receipt"),
    ],
)
def test_what_is_no_receipt_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        from_json(raw)


def test_unknown_fields_and_huge_files_are_refused() -> None:
    document = json.loads(to_json(a_receipt()))
    document["leaf"]["extra"] = 1
    with pytest.raises(InvalidInput, match="unknown fields: extra"):
        from_json(json.dumps(document).encode())
    with pytest.raises(TooLarge, match="at most"):
        from_json(b" " * (MAX_BYTES + 1))
    document = json.loads(to_json(a_receipt()))
    document["proof"] = ["00" * 32] * 65
    with pytest.raises(InvalidInput, match="no tree is so high"):
        from_json(json.dumps(document).encode())


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.binary(min_size=32, max_size=32))
def test_leaves_come_back_from_their_bytes(task: int, attempt: int, digest: bytes) -> None:
    leaf = dataclasses.replace(a_leaf(task), attempt=attempt, output=digest)
    raw = pack(leaf)
    assert len(raw) == LEAF_BYTES == 236
    assert unpack(raw) == leaf


def test_leaves_that_mean_nothing_are_refused() -> None:
    good = pack(a_leaf())
    for raw, words in (
        (good[:-1], "236 bytes"),
        (b"\x09" + good[1:], "version 9"),
        (good[:19] + b"\x09" + good[20:], "has no meaning"),
    ):
        with pytest.raises(InvalidInput, match=words):
            unpack(raw)
    with pytest.raises(InvalidInput, match="does not fit"):
        pack(dataclasses.replace(a_leaf(), attempt=-1))


def test_codes_cover_every_failure_and_blame() -> None:
    assert set(leaves.FAILURE_CODES) == set(FailureKind)
    assert set(leaves.BLAME_CODES) == set(Blame)
    assert leaves.FAILURE_CODES[FailureKind.EXCEPTION] == 1
    assert leaves.FAILURE_CODES[FailureKind.BLOB] == 19


def test_digests_are_stable() -> None:
    assert spec_digest(JobSpec(name="a")) == spec_digest(JobSpec(name="a"))
    assert spec_digest(JobSpec(name="a")) != spec_digest(JobSpec(name="b"))
    pair = [("b", b"\1" * 32), ("a", b"\2" * 32)]
    assert output_digest(pair) == output_digest(reversed(pair))
    assert output_digest([]) == NONE
    assert leaves.gpu_digest("") == NONE
    assert leaves.gpu_digest("A100") != leaves.gpu_digest("H100")


VERSION = "bafyreigdmqpykrgxyaxtlafqpqhzrb7qy2rh75nldvfd4tucqmqqme5yje"


def test_a_job_without_a_model_keeps_the_digest_it_had_before_there_were_models() -> None:
    assert b"serve" not in spec_bytes(JobSpec(name="a", organisation="lab"))
    assert spec_digest(JobSpec(name="a")) != spec_digest(
        JobSpec(name="a", serve=ServeWork(VERSION, "lab/chat"))
    )


def test_the_leaf_of_a_replica_names_its_model_version_and_no_output() -> None:
    spec = JobSpec(name="chat", serve=ServeWork(VERSION, "lab/chat"))
    packed = LeafMaker(spec, RateVector()).pack(
        task_id(JobId(1), 0), 1, Outcome.INTERIM, None, NONE, outcome_digest(spec, b"", None, ()), 10, 0, 1
    )
    leaf = unpack(packed)
    assert leaf.model == digest_of(VERSION) != NONE
    assert leaf.output == NONE
