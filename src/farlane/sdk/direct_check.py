"""What a publisher checks of a direct result before it pays: every byte of the leaf, the tree, the head."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.errors import FarlaneError, InvalidInput, InvalidSignature
from farlane.ledger.accounts import parse_address
from farlane.ledger.books import Book
from farlane.ledger.direct_leaf import Produced, Tariff, direct_leaf
from farlane.ledger.leaf import FIELDS, Leaf, unpack
from farlane.ledger.receipt import Receipt
from farlane.ledger.tree import leaf_hash, verify_inclusion
from farlane.ledger.typed_data import Domain
from farlane.ledger.vouchers import (
    Channel,
    Delegation,
    SignedHead,
    SignedVoucher,
    TreeHead,
    check_delegation,
    check_head,
)
from farlane.wire.books import NodeAccount
from farlane.wire.compute import TaskOrder, TaskResult

LEASE_SLACK_MS = 250
"""Clocks of two machines need not agree on more than this about how long a task ran."""
CLOCK_SLACK_MS = 15 * 60_000
"""How far the node's calendar may be from ours."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the publisher saw itself: how long the call took at most, and when it ended, unix milliseconds."""

    most_ms: int
    ended_ms: int


def check_result(
    domain: Domain,
    channel: Channel,
    order: TaskOrder,
    tariff: Tariff,
    result: TaskResult,
    book: Book,
    account: NodeAccount,
    seen: Observed,
) -> tuple[Leaf, SignedHead]:
    """Check a result against the order and append its leaf to `book`.

    Raises:
        InvalidSignature: the leaf, the tree, the head or the delegation is not what it must be; no voucher may be
            signed for it.
    """
    leaf = _leaf(order, tariff, result, seen)
    place = book.size
    boundary = book.append([result.leaf])
    if (boundary.size, boundary.root) != (result.size, result.root):
        raise InvalidSignature(
            f"the node's tree of {result.size} leaves is another than ours at {boundary.size}: it has dropped, changed "
            "or added some"
        )
    if not verify_inclusion(leaf_hash(result.leaf), place, boundary.size, result.proof, result.root):
        raise InvalidSignature("the proof does not show that the leaf is in the tree")
    head = SignedHead(TreeHead(channel.id, boundary.size, result.root), result.signature)
    delegation = delegation_of(account)
    check_head(domain, head, delegation.key)
    if delegation.provider != channel.provider:
        raise InvalidSignature(
            f"the node works for {delegation.provider}; the channel pays {channel.provider}"
        )
    # At the time of the work, as whoever checks the receipt will.
    check_delegation(domain, delegation, account.signature, leaf.ended_ms / 1000)
    return leaf, head


def delegation_of(account: NodeAccount) -> Delegation:
    """Return by which delegation a node works."""
    return Delegation(parse_address(account.provider), parse_address(account.key), account.expires)


def receipt_of(
    domain: Domain,
    channel: Channel,
    leaf: Leaf,
    result: TaskResult,
    head: SignedHead,
    account: NodeAccount,
    voucher: SignedVoucher,
) -> Receipt:
    """Return the receipt of a result that was checked and paid."""
    return Receipt(
        domain, channel, leaf, head.head.size - 1, result.proof, head, delegation_of(account), account.signature,
        voucher,
    )  # fmt: skip


def _leaf(order: TaskOrder, tariff: Tariff, result: TaskResult, seen: Observed) -> Leaf:
    try:
        leaf = unpack(result.leaf)
    except InvalidInput as error:
        raise InvalidSignature(f"what the node calls a leaf is none: {error.message}") from error
    if leaf.lease_ms > seen.most_ms + LEASE_SLACK_MS:
        raise InvalidSignature(
            f"the node says the task ran for {leaf.lease_ms} ms; the whole call took {seen.most_ms} ms"
        )
    if abs(leaf.ended_ms - seen.ended_ms) > CLOCK_SLACK_MS + seen.most_ms:
        raise InvalidSignature(
            f"the node says the task ended at {leaf.ended_ms} ms; here it is {seen.ended_ms}"
        )
    try:
        expected = direct_leaf(
            tariff, order.spec, order.payload, order.place, leaf.lease_ms, Produced(result.outputs, result.value),
            result.failure, leaf.ended_ms,
        )  # fmt: skip
    except FarlaneError as error:
        raise InvalidSignature(f"no leaf can be made of this result: {error.message}") from error
    if expected != result.leaf:
        raise InvalidSignature(f"the node's leaf is not true: {_difference(unpack(expected), leaf)}")
    if leaf.amount_nano > order.limit_nano:
        raise InvalidSignature(
            f"the node asks {leaf.amount_nano} nano-credits; the order allowed {order.limit_nano}"
        )
    return leaf


def _difference(expected: Leaf, leaf: Leaf) -> str:
    for name in FIELDS:
        wanted, there = getattr(expected, name), getattr(leaf, name)
        if wanted != there:
            return f"its {name} is {_shown(there)}; expected {_shown(wanted)}"
    return "its bytes differ"


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
