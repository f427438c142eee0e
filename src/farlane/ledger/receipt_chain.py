"""What only a chain can say of a receipt: its contract is farlane's, its channel exists, its tree was settled."""

from __future__ import annotations

from farlane.errors import FarlaneError, InvalidInput
from farlane.ledger.deploy import same_code
from farlane.ledger.port import ChannelState, VoucherSettled
from farlane.ledger.receipt import Finding, Receipt
from farlane.ledger.rpc import RpcClient, unhexed
from farlane.ledger.settled_events import settlements_backwards
from farlane.ledger.vouchers import Voucher

NOT_ANCHORED = "covered by amount; its tree is not anchored itself"
"""A later voucher was settled in its place: the money is there, the root on chain is of a larger tree."""


async def verify_on_chain(rpc: RpcClient, receipt: Receipt) -> list[Finding]:
    """Check a receipt against a chain, each point once; the first that fails makes the later ones meaningless.

    The chain's word is worth as much as whoever runs the endpoint: ask one that neither side of the receipt runs.

    Raises:
        ChainUnavailable: the endpoint does not answer.
    """
    findings = [await _right_chain(rpc, receipt)]
    if findings[-1].ok:
        findings.append(await _right_contract(rpc, receipt))
    if findings[-1].ok:
        state = ChannelState(
            *await rpc.read("ComputeLedger", receipt.domain.contract, "channels", (receipt.channel.id,))
        )
        findings += [_exists(state), _paid(state, receipt)]
        if findings[-1].ok:
            findings.append(await _anchored(rpc, receipt))
    return findings


async def _right_chain(rpc: RpcClient, receipt: Receipt) -> Finding:
    found, wanted = await rpc.quantity("eth_chainId"), receipt.domain.chain_id
    problem = "" if found == wanted else f"the endpoint is chain {found}; the receipt is of chain {wanted}"
    return Finding("endpoint is of the receipt's chain", not problem, problem)


async def _right_contract(rpc: RpcClient, receipt: Receipt) -> Finding:
    check, at = "contract is farlane's, of this network", receipt.domain.contract
    if not same_code("ComputeLedger", unhexed(await rpc.call("eth_getCode", at, "latest"))):
        return Finding(check, False, f"what stands at {at} is not farlane's ComputeLedger of this version")
    try:
        if await rpc.read("ComputeLedger", at, "network") != receipt.domain.salt:
            raise InvalidInput(f"the contract {at} belongs to another network")
    except FarlaneError as error:
        return Finding(check, False, error.message)
    return Finding(check, True)


def _exists(state: ChannelState) -> Finding:
    return Finding(
        "channel was opened",
        state.exists,
        "" if state.exists else "the chain knows no channel between these two",
    )


def _paid(state: ChannelState, receipt: Receipt) -> Finding:
    cumulative = receipt.voucher.voucher.cumulative
    if state.claimed >= cumulative:
        return Finding("voucher was settled", True)
    if state.claimable and state.deposit >= cumulative:
        missing = cumulative - state.claimed
        return Finding("voucher was settled", False, f"not yet: {missing} units can still be claimed")
    return Finding(
        "voucher was settled",
        False,
        f"no: {state.claimed} of {cumulative} units were claimed, and the channel pays no more",
    )


async def _anchored(rpc: RpcClient, receipt: Receipt) -> Finding:
    """Hold the receipt's tree against the roots that settlements wrote down.

    Settlements only rise, so that the first that pays no more than the receipt's voucher ends the search.
    """
    check, voucher = "chain has the same tree", receipt.voucher.voucher
    highest, message = 0, NOT_ANCHORED
    async for event in settlements_backwards(rpc, receipt.domain.contract, receipt.channel.id):
        if problem := _contradiction(event, voucher):
            return Finding(check, False, problem)
        highest = max(highest, event.cumulative)
        if event.tasks == voucher.tasks:
            message = ""
        if event.cumulative <= voucher.cumulative:
            break
    if highest < voucher.cumulative:
        return Finding(check, False, "the endpoint shows no settlement of it; ask one that has all logs")
    return Finding(check, True, message)


def _contradiction(event: VoucherSettled, voucher: Voucher) -> str:
    """Return why one append-only tree cannot have been signed as both say, empty where it can."""
    settled = f"block {event.block} settled {event.cumulative} units for {event.tasks} tasks"
    if event.tasks == voucher.tasks and (event.root, event.cumulative) != (voucher.root, voucher.cumulative):
        return f"{settled} with root {event.root.hex()}: another tree of this size than the receipt's"
    if (event.tasks < voucher.tasks and event.cumulative > voucher.cumulative) or (
        event.tasks > voucher.tasks and event.cumulative < voucher.cumulative
    ):
        return f"{settled}: no tree that only grows has that and {voucher.cumulative} for {voucher.tasks}"
    return ""
