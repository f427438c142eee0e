"""Jobs with bonds: their terms, states and exact payouts, as the contract has them."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from enum import IntEnum
from functools import cached_property
from typing import Protocol

from farlane.ledger.accounts import Address, PrivateKey, address_bytes
from farlane.ledger.keccak import keccak256
from farlane.ledger.port import Ledger, TransactionReceipt
from farlane.ledger.typed_data import Domain, Value, digest, type_hash

MAX_WINDOW_S = 365 * 24 * 3600
"""The contract refuses longer windows, so that nothing stays locked for ever."""


class JobState(IntEnum):
    """Where a job stands; from ACCEPTED on it has ended for ever."""

    NONE = 0
    OPEN = 1
    SUBMITTED = 2
    DISPUTED = 3
    ACCEPTED = 4
    FINALIZED = 5
    RECLAIMED = 6
    RESOLVED = 7
    SPLIT = 8

    @property
    def ended(self) -> bool:
        """Tell whether nothing can happen to the job any more."""
        return self >= JobState.ACCEPTED


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job as the ledger has it; since: unix seconds of its last step."""

    state: JobState
    since: int


@dataclass(frozen=True)
class Terms:
    """What payer and provider agree on; amounts in the token's smallest units.

    Args:
        payer: who pays, and may dispute.
        provider: who works, and signs these terms.
        arbiter: who decides a dispute; neither of the two.
        price: what the work costs.
        provider_bond: what the provider loses with a missed deadline or a wrong result.
        dispute_bond: what the payer loses with a false dispute.
        deadline: unix seconds until which a result must be submitted.
        window_s: seconds after the submission in which the payer may dispute.
        arbiter_window_s: seconds after the dispute in which the arbiter may resolve.
        spec: the job specification's SHA-256, 32 bytes.
        salt: 32 bytes that make the terms unique.
    """

    payer: Address
    provider: Address
    arbiter: Address
    price: int
    provider_bond: int
    dispute_bond: int
    deadline: int
    window_s: int
    arbiter_window_s: int
    spec: bytes
    salt: bytes

    @property
    def values(self) -> tuple[Value, ...]:
        """The fields in the order of the contract's struct."""
        return astuple(self)

    @cached_property
    def id(self) -> bytes:
        """The job's id: hashStruct of its terms, 32 bytes.

        Source: EIP-712, definition of hashStruct.
        """
        words = [_word(getattr(self, field.name)) for field in fields(self)]
        return keccak256(type_hash("JobTerms") + b"".join(words))


@dataclass(frozen=True, slots=True)
class Payout:
    """What a job's end gives to each side, in units; together all that was locked for it."""

    to_payer: int
    to_provider: int


def sign_terms(domain: Domain, provider: PrivateKey, terms: Terms) -> bytes:
    """Agree to terms as the provider."""
    return provider.sign(digest(domain, "JobTerms", terms.values))


def sign_acceptance(domain: Domain, payer: PrivateKey, job: bytes, result: bytes) -> bytes:
    """Accept a job's result (its 32-byte commitment) as the payer; the provider can then end the job alone."""
    return payer.sign(digest(domain, "Acceptance", (job, result)))


def award_payout(terms: Terms, to_provider: int) -> Payout:
    """Return what an arbiter's award of a part of the price pays.

    All of the price: both bonds too. Nothing: the payer gets everything. Between: each its own bond back.
    """
    everything = terms.price + terms.provider_bond + terms.dispute_bond
    share = to_provider + terms.provider_bond
    if to_provider == terms.price:
        share = everything
    elif to_provider == 0:
        share = 0
    return Payout(everything - share, share)


def split_payout_provider_floor(terms: Terms) -> Payout:
    """Return what a silent arbiter pays: half the price each, the odd unit to the payer, and each its bond."""
    half = terms.price // 2
    return Payout(terms.price - half + terms.dispute_bond, half + terms.provider_bond)


def _word(value: Value) -> bytes:
    if isinstance(value, int):
        return value.to_bytes(32, "big")
    return (value if isinstance(value, bytes) else address_bytes(value)).rjust(32, b"\0")


class JobLedger(Ledger, Protocol):
    """A ledger that also keeps jobs with bonds; what they refuse, they refuse as the contract does (Reverted)."""

    async def settlements(self, account: Address) -> int:
        """Return how often an account was paid for work: vouchers, and jobs that ended in its favour."""
        ...

    async def job(self, job: bytes) -> JobStatus:
        """Return a job by its id; one that never was is NONE."""
        ...

    async def open_job(self, key: PrivateKey, terms: Terms, provider_signature: bytes) -> TransactionReceipt:
        """Open a job as the payer `key`: its price and the provider's bond are locked."""
        ...

    async def submit_result(self, key: PrivateKey, terms: Terms, result: bytes) -> TransactionReceipt:
        """Commit to a result as the provider `key`, before the deadline."""
        ...

    async def accept_result(
        self, key: PrivateKey, terms: Terms, result: bytes, payer_signature: bytes = b""
    ) -> TransactionReceipt:
        """Accept a result: `key` is the payer, or anybody with the payer's signature (`sign_acceptance`)."""
        ...

    async def finalize(self, key: PrivateKey, terms: Terms) -> TransactionReceipt:
        """Pay the provider, whose result nobody disputed within the window; anybody may."""
        ...

    async def reclaim(self, key: PrivateKey, terms: Terms) -> TransactionReceipt:
        """Pay the payer, whose provider missed the deadline; anybody may."""
        ...

    async def dispute(self, key: PrivateKey, terms: Terms) -> TransactionReceipt:
        """Dispute a result as the payer `key`, within the window; the dispute bond is locked."""
        ...

    async def resolve(self, key: PrivateKey, terms: Terms, to_provider: int) -> TransactionReceipt:
        """Award the provider a part of the price as the arbiter `key`; see `award_payout`."""
        ...

    async def arbiter_silent(self, key: PrivateKey, terms: Terms) -> TransactionReceipt:
        """End a dispute no arbiter resolved in time; see `split_payout_provider_floor`. Anybody may."""
        ...
