"""What only a chain can say of a receipt: whether its contract is farlane's, its channel exists, and it was paid."""

from __future__ import annotations

from farlane.errors import FarlaneError, InvalidInput
from farlane.ledger.deploy import same_code
from farlane.ledger.port import ChannelState
from farlane.ledger.receipt import Finding, Receipt
from farlane.ledger.rpc import RpcClient, unhexed


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
