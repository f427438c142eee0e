"""Settings of direct calls: who may call, how far a payer may owe, and when vouchers are claimed."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.domain.units import parse_credits_floor
from farlane.errors import FarlaneError, InvalidSetting
from farlane.ledger.accounts import Address, parse_address
from farlane.node.books.claim_terms import claim_terms
from farlane.node.settings import NodeSettings
from farlane.wire.compute import MAX_UNPAID_TASKS


@dataclass(frozen=True)
class DirectSettings:
    """How a node serves publishers without a hub."""

    payers: frozenset[Address] = frozenset()
    """Who may have work done; nobody by default: tasks run as this node's user, without a sandbox."""

    credit_nano: int = 10**9
    """The most one payer may owe over all its channels, what runs for it included, in nano-credits: what a payer that
    never signs again costs the node."""

    tasks: int = 4
    """How many tasks of one channel may run or be unpaid at once."""

    claim_units: int = 1
    """Units not yet claimed from which a voucher is claimed in the regular rounds."""

    claim_s: float = 600.0
    """Seconds between two rounds in which vouchers are claimed; one whose payer closes the channel goes at once."""

    watch_s: float = 30.0
    """Seconds between two looks at whether a payer closes its channel."""

    max_fee_wei: int = 500 * 10**9
    """Most wei per gas that an ordinary claim may cost."""

    urgent_max_fee_wei: int = 5000 * 10**9
    """Most wei per gas where a payer closes its channel."""

    confirmations: int = 0
    """Blocks on top of a claim before it counts."""

    max_calls: int = 64
    """Calls served at the same time, those of strangers included."""

    finish_s: float = 30.0
    """How long what runs may go on once the node is told to stop; what has not ended then has no leaf and costs
    nothing."""


def direct_settings(settings: NodeSettings) -> DirectSettings:
    """Return what a node's settings say of direct calls.

    Raises:
        InvalidSetting: a payer that is no address, or a number that cannot be.
    """
    if not 1 <= settings.direct_tasks <= MAX_UNPAID_TASKS:
        raise InvalidSetting(
            f"node.direct_tasks is {settings.direct_tasks}; expected 1 to {MAX_UNPAID_TASKS}",
            setting="node.direct_tasks",
        )
    terms = claim_terms(settings)
    return DirectSettings(
        payers=frozenset(_payer(one) for one in settings.direct_allow),
        credit_nano=_credit(settings.direct_credit),
        tasks=settings.direct_tasks,
        claim_s=settings.direct_claim_s,
        max_fee_wei=terms.max_fee_wei,
        urgent_max_fee_wei=terms.urgent_max_fee_wei,
        confirmations=terms.confirmations,
        finish_s=settings.drain_timeout_s,
    )


def _payer(text: str) -> Address:
    try:
        return parse_address(text)
    except FarlaneError as error:
        raise InvalidSetting(f"node.direct_allow: {error.message}", setting="node.direct_allow") from error


def _credit(text: str) -> int:
    try:
        return parse_credits_floor(text)
    except FarlaneError as error:
        raise InvalidSetting(f"node.direct_credit: {error.message}", setting="node.direct_credit") from error
