"""Orders: a publisher asks one node for one task, once in their channel, up to a price."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from farlane.errors import InvalidSignature
from farlane.ledger.accounts import Address, PrivateKey, recover
from farlane.ledger.typed_data import Domain, digest


@dataclass(frozen=True, slots=True)
class Order:
    """What the channel's signer asks for.

    task: SHA-256 of the id that the publisher chose; spec: SHA-256 of the job's specification; input: SHA-256 of the
    arguments' pickle, zeros for a command; place: number of the order in its channel, so that it counts once;
    limit_nano: the most it may cost, in nano-credits.
    """

    channel: bytes
    task: bytes
    spec: bytes
    input: bytes
    place: int
    limit_nano: int


def task_digest(task: str) -> bytes:
    """Return what stands for a task's id in an order."""
    return sha256(task.encode()).digest()


def order_digest(domain: Domain, order: Order) -> bytes:
    """Return what the channel's signer signs."""
    fields = (order.channel, order.task, order.spec, order.input, order.place, order.limit_nano)
    return digest(domain, "TaskOrder", fields)


def sign_order(domain: Domain, key: PrivateKey, order: Order) -> bytes:
    """Sign an order with the channel's session key."""
    return key.sign(order_digest(domain, order))


def check_order(domain: Domain, order: Order, signature: bytes, signer: Address) -> None:
    """Check whose order it is.

    Raises:
        InvalidSignature: not the signer's, or for another network, chain or contract.
    """
    found = recover(order_digest(domain, order), signature)
    if found != signer:
        raise InvalidSignature(
            f"the order is signed by {found}; expected {signer}, the channel's signer, on this network and chain",
            found=found,
            expected=signer,
        )
