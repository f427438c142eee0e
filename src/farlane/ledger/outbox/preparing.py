"""Preparing: whether a call can be sent now, with how much gas and at what price, or why not."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.errors import FarlaneError, InsufficientFunds, Reverted, RpcRefused, Unavailable
from farlane.ledger.accounts import Address
from farlane.ledger.fees import GWEI, Fees, fees_for
from farlane.ledger.outbox.chain import ChainReader, Head, call_of
from farlane.ledger.outbox.intents import Attempt, Call, GasPolicy, Refusal
from farlane.ledger.rpc import RefusalReason


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a transaction is signed with."""

    gas: int
    fees: Fees


@dataclass(frozen=True, slots=True)
class Wait:
    """Why something cannot go on now."""

    error: FarlaneError
    until_earlier: bool = False
    """Only until its account's earlier transactions are confirmed."""


async def prepare(
    chain: ChainReader, call: Call, head: Head, has_earlier: bool, margin_percent: int
) -> Prepared | Refusal | Wait:
    """Try a call on the present state, and price it.

    Args:
        chain: where.
        call: what.
        head: the newest block.
        has_earlier: transactions of the same account are on their way; what fails now may not fail after them.
        margin_percent: gas on top of the estimate.

    Raises:
        ChainUnavailable: the chain cannot be used.
    """
    estimate = await _estimate(chain, call, has_earlier)
    if not isinstance(estimate, int):
        return estimate
    if estimate > head.gas_limit:
        return Refusal(f"it needs {estimate} gas, a block has {head.gas_limit}: split it", too_large=True)
    gas = min(head.gas_limit, estimate + estimate * margin_percent // 100)
    cap = call.policy.cap_floor(head.time)
    fees = (await current_fees(chain, head)).capped(cap)
    if fees.max_fee <= head.base_fee:
        return too_dear(head.base_fee, cap)
    cost = gas * fees.max_fee + call.value
    balance = await chain.rpc.quantity("eth_getBalance", call.sender, "latest")
    if balance < cost:
        return too_poor(call.sender, f"it has {balance} wei and may need {cost}")
    return Prepared(gas, fees)


async def _estimate(chain: ChainReader, call: Call, has_earlier: bool) -> int | Refusal | Wait:
    try:
        return await chain.rpc.quantity("eth_estimateGas", call_of(call))
    except Reverted as error:
        if has_earlier:
            text = f"it would fail before its account's earlier ones: {error.message}"
            return Wait(Reverted(text, **error.facts), until_earlier=True)
        name, data = str(error.facts.get("error", "")), str(error.facts.get("data", ""))
        return Refusal(error.message, name, data)
    except RpcRefused as error:
        if error.facts.get("reason") == RefusalReason.GAS_LIMIT:
            return Refusal(error.message, too_large=True)
        return Wait(error)
    except InsufficientFunds as error:
        return too_poor(call.sender, error.message)


async def current_fees(chain: ChainReader, head: Head) -> Fees:
    """Return what the chain asks for now."""
    return fees_for(head.base_fee, await chain.rpc.quantity("eth_maxPriorityFeePerGas"))


async def dearer(chain: ChainReader, stuck: Attempt, policy: GasPolicy, head: Head) -> Fees | Wait:
    """Return what replaces a stuck transaction, or why nothing may."""
    cap = policy.cap_floor(head.time)
    least = stuck.fees.bumped()
    if least.max_fee > cap:
        return too_dear(least.max_fee, cap)
    return least.at_least((await current_fees(chain, head)).capped(cap))


def too_dear(wanted: int, cap: int) -> Wait:
    """Say that gas costs more than the cap; wei per gas."""
    return Wait(
        Unavailable(
            f"gas is too dear: it would take {wanted / GWEI:.4g} gwei, the cap (max_fee_gwei, --max-fee) is "
            f"{cap / GWEI:.4g}; nothing is sent until gas is cheaper or the cap higher"
        )
    )


def too_poor(account: Address, detail: str) -> Wait:
    """Say which account needs coin."""
    return Wait(
        InsufficientFunds(f"account {account} needs coin for gas: {detail}; send it some, then it goes on")
    )
