"""Settlement: which vouchers are worth a transaction, in what batches, and how one bad one is found among many."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from farlane.errors import FarlaneError, NotFound, Reverted, RpcRefused
from farlane.ledger import abi
from farlane.ledger.accounts import Address
from farlane.ledger.claiming import best_claims, new_units
from farlane.ledger.ethereum import claim_tuple
from farlane.ledger.outbox.intents import Call, GasPolicy, Intent, IntentState
from farlane.ledger.port import MAX_CLAIMS, ChannelState, SignedClaim, TransactionReceipt

GAS_CAP = 2**24
"""Gas that one transaction may take. Source: EIP-7825."""
BATCH_GAS = 40_000
"""What a batch takes beyond its claims; measured below that."""
PROVIDER_GAS = 25_000
"""What the first claim of a provider adds: its balance may be new in the contract's storage."""
CLAIM_GAS = 20_000
"""What a claim takes in a batch: 16,700 to 19,000 measured with signers that are plain keys."""


class Outbox(Protocol):
    """What settlement needs of `ChainOutbox`."""

    async def submit(self, key: str, call: Call) -> None:
        """Keep a call and send it once."""
        ...

    async def outcome(self, key: str) -> TransactionReceipt:
        """Wait for its end."""
        ...

    async def state(self, key: str) -> IntentState:
        """Return where it stands."""
        ...

    async def pending(self) -> list[Intent]:
        """Return what has not ended."""
        ...


@dataclass(slots=True)
class SettlementReport:
    """What became of claims: paid, with the transaction; paid before, by somebody else; or refused, and why."""

    paid: list[tuple[SignedClaim, TransactionReceipt]] = field(default_factory=list)
    paid_before: list[SignedClaim] = field(default_factory=list)
    refused: list[tuple[SignedClaim, FarlaneError]] = field(default_factory=list)

    def add(self, other: SettlementReport) -> None:
        """Take in another report."""
        self.paid += other.paid
        self.paid_before += other.paid_before
        self.refused += other.refused


def plan_settlements(
    claims: Iterable[SignedClaim],
    states: Mapping[bytes, ChannelState],
    *,
    dust: int = 0,
    max_claims: int = MAX_CLAIMS,
    gas_cap: int = GAS_CAP,
) -> list[list[SignedClaim]]:
    """Put claims into batches, of which each fits one transaction; pure.

    Left out are claims that pay nothing new, that the deposit does not cover, and those that pay less than `dust`,
    unless their channel is closing. Of several for one channel the one that pays the most counts. Those of one provider
    stand together, since they share one write of its balance.

    Args:
        claims: vouchers with their channels.
        states: channels by id; one that is missing was never opened.
        dust: units below which a claim is not worth its gas.
        max_claims: most in one batch.
        gas_cap: most gas for one batch, as estimated from what claims took when measured.
    """
    best = best_claims(claims, states)
    worth = [claim for claim in best.values() if _is_worth_it(claim, states[claim.channel.id], dust)]
    batches: list[list[SignedClaim]] = []
    for claim in sorted(worth, key=lambda each: (each.channel.provider.lower(), each.channel.id)):
        fits = bool(batches) and len(batches[-1]) < max_claims
        if fits and batch_gas([*batches[-1], claim]) <= gas_cap:
            batches[-1].append(claim)
        else:
            batches.append([claim])
    return batches


def batch_gas(claims: Sequence[SignedClaim]) -> int:
    """Return about how much gas a batch takes; more than measured, never less."""
    providers = len({claim.channel.provider for claim in claims})
    return BATCH_GAS + PROVIDER_GAS * providers + CLAIM_GAS * len(claims)


def _is_worth_it(claim: SignedClaim, state: ChannelState, dust: int) -> bool:
    return new_units(claim, state) >= dust or state.close_at > 0


class Settler:
    """Settles batches through an outbox: what was begun goes on after a crash, and is not begun twice.

    Args:
        outbox: sends; it must have the key of `sender`.
        contract: the ledger's address.
        sender: who pays the gas; it may be anybody.
    """

    def __init__(self, outbox: Outbox, contract: Address, sender: Address) -> None:
        self._outbox, self._contract, self._sender = outbox, contract, sender

    async def settle(
        self, claims: Sequence[SignedClaim], policy: GasPolicy | None = None
    ) -> SettlementReport:
        """Settle a batch; where the contract refuses it, halves are tried until the bad claims stand alone.

        Raises:
            Unavailable: the outbox was closed meanwhile; what is in it is kept.
        """
        try:
            receipt = await self._send(claims, policy or GasPolicy())
        except (Reverted, RpcRefused) as error:
            if len(claims) > 1:
                return await self._halves(claims, policy)
            if error.facts.get("error") == "NothingToClaim":
                return SettlementReport(paid_before=[claims[0]])
            return SettlementReport(refused=[(claims[0], error)])
        return SettlementReport(paid=[(claim, receipt) for claim in claims])

    async def hurry(self, policy: GasPolicy) -> int:
        """Let every claim under way cost as much as an urgent one; returns for how many that is new.

        Nothing of an account overtakes what waits: an ordinary claim that waits for cheaper gas, also one that an
        earlier process has left, would hold up the urgent one behind it.
        """
        found = 0
        for intent in await self._outbox.pending():
            mine = intent.call.sender == self._sender and intent.call.to == self._contract
            before = intent.call.policy
            if mine and (not before.deadline or before.deadline > policy.deadline):
                await self._outbox.submit(intent.key, replace(intent.call, policy=policy))
                found += 1
        return found

    async def _halves(self, claims: Sequence[SignedClaim], policy: GasPolicy | None) -> SettlementReport:
        middle, report = len(claims) // 2, SettlementReport()
        for half in await asyncio.gather(
            self.settle(claims[:middle], policy), self.settle(claims[middle:], policy)
        ):
            report.add(half)
        return report

    async def _send(self, claims: Sequence[SignedClaim], policy: GasPolicy) -> TransactionReceipt:
        key = await self._free_key(claims)
        await self._outbox.submit(key, self._call(claims, policy))
        return await self._outbox.outcome(key)

    async def _free_key(self, claims: Sequence[SignedClaim]) -> str:
        """Return a key made of the claims: the same ones under way have it already, ended ones get another try.

        Ended well they pay nothing more, unless a reorganisation has taken them back since.
        """
        parts = (each.channel.id + each.signed.voucher.cumulative.to_bytes(12, "big") for each in claims)
        name = f"settle {hashlib.sha256(b''.join(parts)).hexdigest()[:32]}"
        number = 1
        while await self._has_ended(f"{name} {number}"):
            number += 1
        return f"{name} {number}"

    async def _has_ended(self, key: str) -> bool:
        try:
            return (await self._outbox.state(key)).ended
        except NotFound:
            return False

    def _call(self, claims: Sequence[SignedClaim], policy: GasPolicy) -> Call:
        rows = [claim_tuple(claim) for claim in claims]
        if len(rows) == 1:
            data = abi.encode_call("ComputeLedger", "settle", rows)
        else:
            data = abi.encode_call("ComputeLedger", "settleMany", (rows,))
        return Call(self._sender, self._contract, data, policy=policy)
