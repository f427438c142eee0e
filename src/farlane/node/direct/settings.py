"""Settings of direct calls: who may call, how much of the machine they get, and when vouchers are claimed."""

from __future__ import annotations

from dataclasses import dataclass, field

from farlane.ledger.accounts import Address
from farlane.ledger.outbox.intents import GasPolicy


@dataclass(frozen=True)
class DirectSettings:
    """How a node serves publishers without a hub."""

    payers: frozenset[Address] = frozenset()
    """Who may have work done; nobody by default: tasks run as this node's user, without a sandbox."""

    credit_nano: int = 10**9
    """The most one task may reserve, in nano-credits: what a publisher who never signs again costs the node."""

    claim_units: int = 1
    """Units not yet claimed from which a voucher is claimed in the regular rounds."""

    claim_s: float = 600.0
    """Seconds between two rounds in which vouchers are claimed; one whose payer closes the channel goes at once."""

    watch_s: float = 30.0
    """Seconds between two looks at whether a payer closes its channel."""

    policy: GasPolicy = field(default_factory=GasPolicy)
    """What a claim may cost; its urgent cap counts where a payer closes its channel."""

    confirmations: int = 0
    """Blocks on top of a claim before it counts."""

    max_calls: int = 64
    """Calls served at the same time, those of strangers included."""
