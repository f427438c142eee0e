"""The receipt: one leaf, the proof that it is in the tree both sides signed, and both signatures, as one JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from farlane.domain.served import FIGURES, Served
from farlane.errors import FarlaneError, InvalidInput, TooLarge
from farlane.ledger.json_fields import Fields, hex_bytes
from farlane.ledger.leaf import FIELDS, LEAF_BYTES, NONE, Leaf, pack, unpack
from farlane.ledger.statement import Statement, pack_statement, statement_digest, unpack_statement
from farlane.ledger.tree import leaf_hash, verify_inclusion
from farlane.ledger.typed_data import Domain, network_salt
from farlane.ledger.vouchers import (
    MAX_UNITS,
    Channel,
    Delegation,
    SignedHead,
    SignedVoucher,
    TreeHead,
    Voucher,
    check_delegation,
    check_head,
    check_voucher,
)

FORMAT = "farlane-receipt-1"
MAX_BYTES = 64 * 1024
_MAX_PROOF = 64
"""A tree has at most 2^64 leaves."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one task used, produced and cost, provable to anybody.

    index: the leaf's place in the channel's tree; proof: from the leaf's sibling upwards; delegation: the provider's
    signature for the node's key, empty where provider and key are one; statement: of a replica, what it has served,
    packed (see `statement`), empty where its leaf states nothing.
    """

    domain: Domain
    channel: Channel
    leaf: Leaf
    index: int
    proof: tuple[bytes, ...]
    head: SignedHead
    delegation: Delegation
    delegation_signature: bytes
    voucher: SignedVoucher
    statement: bytes = b""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, whether it holds, and why not, or with what catch."""

    check: str
    ok: bool
    message: str = ""


def verify(receipt: Receipt) -> list[Finding]:
    """Check everything that can be checked without a chain, each point once.

    What only a chain can tell: that the channel exists, has the deposit, and that the voucher was settled.
    """
    channel, head, voucher = receipt.channel.id, receipt.head.head, receipt.voucher.voucher
    node = receipt.delegation.key
    # A delegation may have run out since: what counts is the time at which the work was done.
    at = receipt.leaf.ended_ms / 1000

    def same() -> None:
        if not head.channel == voucher.channel == channel:
            raise InvalidInput("head and voucher are not of the channel that the receipt names")
        if (head.size, head.root) != (voucher.tasks, voucher.root):
            raise InvalidInput("the node has signed another tree than the publisher")

    def included() -> None:
        if not verify_inclusion(
            leaf_hash(pack(receipt.leaf)), receipt.index, head.size, receipt.proof, head.root
        ):
            raise InvalidInput("the leaf is not in the tree: it, its place or its proof was changed")

    def delegated() -> None:
        if receipt.delegation.provider != receipt.channel.provider:
            raise InvalidInput("the node's key belongs to another provider than the channel's")
        check_delegation(receipt.domain, receipt.delegation, receipt.delegation_signature, at)

    def covered() -> None:
        if voucher.cumulative > MAX_UNITS or voucher.tasks <= receipt.index:
            raise InvalidInput("the voucher does not cover this leaf")

    served = receipt.statement or NONE not in (receipt.leaf.model, receipt.leaf.output)
    return [
        _finding("one channel, one tree", same),
        _finding("leaf in the tree", included),
        _finding("node signed the tree", lambda: check_head(receipt.domain, receipt.head, node)),
        _finding("provider stands behind the node", delegated),
        _finding(
            "publisher signed the voucher",
            lambda: check_voucher(receipt.domain, receipt.voucher, receipt.channel.signer),
        ),
        _finding("voucher covers the leaf", covered),
        *([_finding("leaf states what was served", lambda: check_statement(receipt))] if served else []),
    ]


def check_statement(receipt: Receipt) -> None:
    """Check what a receipt says was served against its leaf.

    Raises:
        InvalidInput: it says something else, or nothing though the leaf does.
    """
    if not receipt.statement:
        raise InvalidInput(
            "the leaf is of a replica that has served something, and the receipt does not say what"
        )
    if statement_digest(receipt.statement) != receipt.leaf.output:
        raise InvalidInput("what it says was served is not what both sides signed")
    if unpack_statement(receipt.statement).model != receipt.leaf.model:
        raise InvalidInput("what it says was served is of another version than its leaf")


def _finding(check: str, work: Any) -> Finding:
    try:
        work()
    except FarlaneError as error:
        return Finding(check, False, error.message)
    return Finding(check, True)


def to_json(receipt: Receipt) -> bytes:
    """Return the receipt as a file's content."""
    channel, delegation, voucher = receipt.channel, receipt.delegation, receipt.voucher.voucher
    document = {
        "format": FORMAT,
        "domain": {
            "network": receipt.domain.network,
            "chain_id": receipt.domain.chain_id,
            "contract": receipt.domain.contract,
        },
        "channel": {
            "payer": channel.payer,
            "provider": channel.provider,
            "signer": channel.signer,
            "salt": channel.salt.hex(),
        },
        "leaf": {name: _readable(getattr(receipt.leaf, name)) for name in FIELDS},
        "index": receipt.index,
        "proof": [step.hex() for step in receipt.proof],
        "head": {
            "size": receipt.head.head.size,
            "root": receipt.head.head.root.hex(),
            "signature": receipt.head.signature.hex(),
        },
        "node": {
            "key": delegation.key,
            "provider": delegation.provider,
            "expires": delegation.expires,
            "signature": receipt.delegation_signature.hex(),
        },
        "voucher": {
            "cumulative": str(voucher.cumulative),  # beyond what JSON numbers hold exactly elsewhere
            "tasks": voucher.tasks,
            "root": voucher.root.hex(),
            "signature": receipt.voucher.signature.hex(),
        },
    }
    if receipt.statement:
        document["served"] = _statement_fields(unpack_statement(receipt.statement))
    return json.dumps(document, indent=2).encode() + b"\n"


def _statement_fields(statement: Statement) -> dict[str, object]:
    times = {"from_ms": statement.from_ms, "until_ms": statement.until_ms}
    return {"model": statement.model.hex(), **times, **asdict(statement.served)}


def from_json(raw: bytes) -> Receipt:
    """Read a receipt file. What it claims is not checked here; see `verify`.

    Raises:
        TooLarge: no receipt is so long.
        InvalidInput: it is not one, or has fields too many or too few.
    """
    if len(raw) > MAX_BYTES:
        raise TooLarge(f"a receipt has at most {MAX_BYTES} bytes; this file has {len(raw)}")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"this is not a receipt: {error}") from error
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise InvalidInput(f"this is not a receipt; expected JSON with format {FORMAT!r}")
    return _read(Fields("receipt", "document", document))


def _read(fields: Fields) -> Receipt:
    domain, channel = _domain(fields.part("domain")), _channel(fields.part("channel"))
    leaf = _leaf(fields.part("leaf"))
    index, proof = fields.number("index"), tuple(_proof(fields.take("proof", list)))
    head, node, voucher = fields.part("head"), fields.part("node"), fields.part("voucher")
    statement = _statement(fields.part("served")) if fields.has("served") else b""
    fields.end()
    signed_head = SignedHead(
        TreeHead(channel.id, head.number("size"), head.digits("root", 32)), head.digits("signature", 65)
    )
    delegation = Delegation(node.address("provider"), node.address("key"), node.number("expires"))
    delegated = node.digits("signature", None)
    promise = Voucher(
        channel.id, voucher.long_number("cumulative", 96), voucher.number("tasks"), voucher.digits("root", 32)
    )
    signed_voucher = SignedVoucher(promise, voucher.digits("signature", 65))
    for part in (head, node, voucher):
        part.end()
    return Receipt(
        domain, channel, leaf, index, proof, signed_head, delegation, delegated, signed_voucher, statement
    )


def _domain(fields: Fields) -> Domain:
    domain = Domain(fields.number("chain_id"), fields.address("contract"), fields.take("network", str))
    network_salt(domain.network)
    fields.end()
    return domain


def _channel(fields: Fields) -> Channel:
    payer, provider, signer = (fields.address(name) for name in ("payer", "provider", "signer"))
    channel = Channel(payer, provider, signer, fields.digits("salt", 32))
    fields.end()
    return channel


def _leaf(fields: Fields) -> Leaf:
    values: dict[str, Any] = {
        name: fields.digits(name, 32) if kind == "bytes" else fields.number(name)
        for name, kind in Leaf.__annotations__.items()
    }
    fields.end()
    leaf = Leaf(**values)
    if unpack(pack(leaf)) != leaf:
        raise InvalidInput("the receipt's leaf does not survive its own encoding")
    return leaf


def _statement(fields: Fields) -> bytes:
    model, from_ms, until_ms = fields.digits("model", 32), fields.number("from_ms"), fields.number("until_ms")
    served = Served(*(fields.number(name) for name in FIGURES))
    fields.end()
    return pack_statement(Statement(model, from_ms, until_ms, served))


def _proof(steps: list[Any]) -> Iterator[bytes]:
    if len(steps) > _MAX_PROOF:
        raise InvalidInput(f"the receipt's proof has {len(steps)} steps; no tree is so high")
    for step in steps:
        if not isinstance(step, str):
            raise InvalidInput(f"the receipt's proof holds {step!r}; expected hex digits")
        yield hex_bytes("the receipt's proof", step, 32)


def _readable(value: bytes | int) -> str | int:
    return value.hex() if isinstance(value, bytes) else value


assert LEAF_BYTES == 236  # ReceiptVerifier.sol checks the same number
