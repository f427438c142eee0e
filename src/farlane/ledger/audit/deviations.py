"""Deviations: every kind that an audit can find, how bad it is, and what it means."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_KEPT = 10_000
"""Deviations that are kept; more are counted."""


class Severity(StrEnum):
    """error: the books are wrong, or somebody was cheated; warning: somebody should look; notice: no deviation."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTICE

MEANINGS: dict[str, tuple[Severity, str]] = {
    "leaf-unreadable": (_E, "nobody can say what this leaf stands for"),
    "leaf-outcome": (_E, "outcome, failure and part of the leaf contradict one another"),
    "leaf-blame": (_E, "the blame is not the one that follows from the failure"),
    "leaf-unpaid-charged": (_E, "the payer is charged for a failure that is not paid"),
    "leaf-moved": (_W, "it costs more than the reserved resources for its lease: bytes moved, or an overstatement"),
    "leaf-time": (_E, "the leaf's times cannot be"),
    "leaf-gpu": (_E, "number and kind of the leaf's GPUs contradict one another"),
    "attempt-twice": (_E, "one attempt is charged twice"),
    "attempt-parts": (_E, "parts of an attempt are missing from the record, or do not stand in their order"),
    "book-order": (_E, "books do not stand in rising order, or lines stand outside of their book"),
    "channel-twice": (_E, "two books use one channel: their vouchers pay for one another"),
    "leaves-gap": (_E, "leaves are missing from the record, or stand there twice"),
    "voucher-order": (_E, "vouchers of a book must cover more leaves and never less money, one after the other"),
    "voucher-place": (_E, "a voucher covers more leaves than the record has, or another number than stands before it"),
    "voucher-accounts": (_E, "a voucher in a book one side of which has no account"),
    "root-mismatch": (_E, "the leaves in the record are not those that both sides signed"),
    "cumulative-mismatch": (_E, "the voucher promises another sum than its leaves cost"),
    "head-signature": (_E, "the node did not sign this tree"),
    "voucher-signature": (_E, "the payer's session key did not sign this voucher"),
    "delegation": (_E, "the provider did not let this key sign for it at that time"),
    "chain-contract": (_E, "what stands on the chain is not this network's ledger; nothing on it was checked"),
    "chain-domain": (_E, "the record is of another chain, contract or network; nothing on the chain was checked"),
    "chain-units": (_E, "record and network file count another number of units in a credit"),
    "chain-event": (_E, "this event cannot follow from those before it: events are missing or forged"),
    "chain-balance": (_E, "the contract's balance is not what the events add up to"),
    "chain-settlements": (_E, "the contract counts another number of settlements than there are events"),
    "chain-channel": (_E, "the contract has the channel in another state than its events say"),
    "chain-token-short": (_E, "the contract holds fewer tokens than it owes: somebody cannot be paid"),
    "chain-token-surplus": (_N, "somebody sent tokens to the contract without a deposit; nobody can take them out"),
    "chain-count": (_E, "the contract counts another number of trades than there are events"),
    "channel-missing": (_E, "vouchers of a channel that the chain does not have: they cannot be claimed"),
    "channel-short": (_E, "the deposit does not cover what was promised: the provider is short of the rest"),
    "settled-mismatch": (_E, "what was settled is not what the record's leaves say at that size"),
    "settled-beyond": (_E, "more was settled than the record shows: it is older than the chain, or hides leaves"),
    "channel-unclaimed": (_W, "the channel was closed before the last voucher was claimed: the provider lost it"),
    "channel-outside": (_N, "a channel outside of this hub's books"),
    "receipt-invalid": (_E, "the receipt does not prove anything by itself"),
    "receipt-network": (_E, "the receipt is of another network, chain or contract"),
    "book-hidden": (_E, "the hub hides a book that both sides signed, unless the record is older than the receipt"),
    "tree-short": (_E, "the hub dropped leaves that both sides signed, or the record is older than the receipt"),
    "tree-forked": (_E, "the hub keeps two trees: at this size both sides signed another root than the record's"),
    "receipt-leaf": (_E, "the record has another leaf in the receipt's place"),
    "receipt-promise": (_E, "the receipt's voucher promises another sum than the record's leaves cost"),
}  # fmt: skip
"""Code -> severity and meaning."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """One thing that is not as it should be."""

    code: str
    where: str
    expected: str
    found: str

    @property
    def severity(self) -> Severity:
        """Return how bad it is."""
        return MEANINGS[self.code][0]

    @property
    def meaning(self) -> str:
        """Return what follows from it."""
        return MEANINGS[self.code][1]


class Deviations:
    """Collects deviations; beyond `MAX_KEPT` they are only counted."""

    def __init__(self) -> None:
        self.kept: list[Deviation] = []
        self.counts: dict[Severity, int] = dict.fromkeys(Severity, 0)

    def add(self, code: str, where: str, expected: object, found: object) -> None:
        """Note one."""
        one = Deviation(code, where, str(expected), str(found))
        self.counts[one.severity] += 1
        if len(self.kept) < MAX_KEPT:
            self.kept.append(one)
