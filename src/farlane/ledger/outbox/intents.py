"""What the outbox keeps: calls, their states, the transactions signed for them, and how they ended."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from farlane.errors import InvalidSetting
from farlane.ledger.accounts import Address, address_bytes
from farlane.ledger.fees import GWEI, Fees
from farlane.ledger.port import TransactionReceipt

IntentKey = NewType("IntentKey", str)
"""The caller's name of an intent; the same one never leads to two transactions."""

DEFAULT_MAX_FEE_GWEI = 500
MOST_GWEI = 10**9
"""A whole coin for one unit of gas: more is a slip of the pen."""


class IntentState(StrEnum):
    """Where an intent stands.

    planned -> signed -> sent -> mined -> confirmed | refused. A reorganisation leads from mined back to sent, a nonce
    that somebody else used from signed or sent back to planned, a dearer replacement from sent back to signed.
    """

    PLANNED = "planned"
    SIGNED = "signed"
    """The newest transaction is on disk; it may have been sent."""
    SENT = "sent"
    """The chain has taken the newest transaction."""
    MINED = "mined"
    """In a block that has not enough blocks on top of it yet."""
    CONFIRMED = "confirmed"
    REFUSED = "refused"

    @property
    def ended(self) -> bool:
        """Tell whether nothing more happens to it."""
        return self in (IntentState.CONFIRMED, IntentState.REFUSED)


@dataclass(frozen=True, slots=True)
class GasPolicy:
    """What a transaction may cost: wei per gas, and more as a deadline nears.

    Raises:
        InvalidSetting: a cap that is not above zero, or an urgent one below the ordinary one.
    """

    max_fee_wei: int = DEFAULT_MAX_FEE_GWEI * GWEI
    """Above this the intent waits."""
    urgent_max_fee_wei: int = 0
    """What it may cost at the deadline; 0: no more than ever."""
    deadline: float = 0.0
    """Unix seconds by which it must be on the chain; 0: none."""
    ramp_s: float = 6 * 3600.0
    """How long before the deadline the cap begins to rise."""

    def __post_init__(self) -> None:
        if self.max_fee_wei <= 0 or 0 < self.urgent_max_fee_wei < self.max_fee_wei or self.ramp_s <= 0:
            raise InvalidSetting(
                f"{self!r} cannot be followed: expected a cap above 0, an urgent one of 0 or not below it, and "
                "ramp_s above 0"
            )

    def cap_floor(self, now: float) -> int:
        """Return the most wei per gas at `now`, unix seconds: it rises evenly in the last `ramp_s`, rounded down."""
        rise = self.urgent_max_fee_wei - self.max_fee_wei
        if not self.deadline or rise <= 0:
            return self.max_fee_wei
        elapsed_s = min(self.ramp_s, max(0.0, now - (self.deadline - self.ramp_s)))
        return self.max_fee_wei + rise * int(elapsed_s * 1000) // int(self.ramp_s * 1000)


def policy_of(max_fee_gwei: float) -> GasPolicy:
    """Return the policy that never pays more than so many gwei for a unit of gas.

    Raises:
        InvalidSetting: not above 0, or beyond what any chain asks.
    """
    if not 0 < max_fee_gwei <= MOST_GWEI:
        raise InvalidSetting(f"a cap of {max_fee_gwei:g} gwei; expected above 0 and at most {MOST_GWEI:g}")
    return GasPolicy(max(1, int(max_fee_gwei * GWEI)))


@dataclass(frozen=True, slots=True)
class Call:
    """What an intent does: `sender` calls `to` with `data` and sends it `value` wei. Policy: see GasPolicy.

    to: None where a contract is created.
    """

    sender: Address
    to: Address | None
    data: bytes
    value: int = 0
    policy: GasPolicy = field(default_factory=GasPolicy)

    @property
    def digest(self) -> bytes:
        """SHA-256 of what it does; the policy is no part of that."""
        to = b"" if self.to is None else address_bytes(self.to)
        head = address_bytes(self.sender) + to.rjust(21, b"\0") + self.value.to_bytes(32, "big")
        return hashlib.sha256(head + self.data).digest()


@dataclass(frozen=True, slots=True)
class Attempt:
    """A transaction signed for an intent. signed_at: unix seconds."""

    hash: bytes
    raw: bytes
    nonce: int
    fees: Fees
    signed_at: float


@dataclass(frozen=True, slots=True)
class Intent:
    """An intent that has not ended, with every transaction that was ever signed for it, oldest first.

    nonce: of the newest transactions; None while planned. first_block: the head when the nonce was chosen.
    block_hash: where it was mined; empty unless it was.
    """

    number: int
    key: IntentKey
    call: Call
    created_at: float
    state: IntentState
    nonce: int | None
    gas: int
    first_block: int
    block_hash: bytes
    attempts: tuple[Attempt, ...]

    @property
    def newest(self) -> Attempt:
        """The transaction to send; only of an intent that has a nonce."""
        return self.attempts[-1]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an intent was refused; `error` is the contract's own, empty where none is named."""

    message: str
    error: str = ""
    data: str = ""
    hash: str = ""
    """Of the transaction that failed on the chain; empty: it was never sent."""
    too_large: bool = False
    """It would need more gas than a block has."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an intent ended: a receipt, or a refusal; neither while it has not."""

    state: IntentState
    receipt: TransactionReceipt | None
    refusal: Refusal | None


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """What keeps the outbox from its work.

    trouble: why the chain cannot be used, empty if it can; since: unix seconds, 0.0 without trouble;
    waiting: per intent that cannot go on, why.
    """

    open_intents: int
    trouble: str
    since: float
    waiting: Mapping[IntentKey, str]
