"""What a chain says of a network's ledger up to one block: its events, and the contract's own state to hold against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from farlane.errors import ChainUnavailable, Conflict, NotFound
from farlane.ledger import abi, port
from farlane.ledger.accounts import Address
from farlane.ledger.deploy import Deployment, verify_deployment
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.port import ChannelState, LedgerEvent
from farlane.ledger.rpc import RpcClient, hexed, unhexed

TRIES = 5
"""How often a chain is read that reorganises itself meanwhile."""


@dataclass(frozen=True, slots=True)
class ChainView:
    """A ledger's events and state; amounts in units.

    problem: why the contract is not this network's, else empty; everything else is then empty too.
    token_balance: tokens of the contract; transactions: its own count of trades.
    """

    deployment: Deployment
    block: int
    events: Sequence[LedgerEvent] = ()
    balances: dict[Address, int] = field(default_factory=dict)
    settlements: dict[Address, int] = field(default_factory=dict)
    channels: dict[bytes, ChannelState] = field(default_factory=dict)
    token_balance: int = 0
    transactions: int = 0
    problem: str = ""


def accounts_of(events: Iterable[LedgerEvent]) -> list[Address]:
    """Return every account that events name and that may have a balance, by address."""
    found: set[Address] = set()
    for event in events:
        if isinstance(event, port.Deposited | port.Withdrawn):
            found.add(event.account)
        elif isinstance(event, port.ChannelOpened):
            found |= {event.channel.payer, event.channel.provider}
        elif isinstance(event, port.JobOpened):
            found |= {event.payer, event.provider}
    return sorted(found)


async def read_chain(
    rpc: RpcClient, deployment: Deployment, block: int | None = None, confirmations: int = 0
) -> ChainView:
    """Read what an audit needs of a chain, all of it as of one block.

    Events and state are asked for by the block's number, so a reorganisation in between would give events of one
    history and the state of another: where the block is another one afterwards, all is read again.

    Args:
        rpc: an endpoint that nobody who is audited runs.
        deployment: where the ledger is.
        block: the newest by default; for an older one the endpoint must still know the state of that time.
        confirmations: how many blocks before the newest to look at, where no `block` is given.

    Raises:
        NotFound: there is no such block.
        ChainUnavailable: the endpoint does not answer, or not for this block, or its chain does not hold still.
    """
    try:
        await verify_deployment(rpc, deployment)
    except Conflict as error:
        return ChainView(deployment, 0, problem=error.message)
    for _ in range(TRIES):
        newest = await rpc.quantity("eth_blockNumber")
        number = max(0, newest - confirmations) if block is None else block
        pinned = await _hash_of(rpc, number)
        if pinned is None:
            raise NotFound(f"{rpc.place} has no block {number}; its newest is {newest}", block=number)
        view = await _read_at(rpc, deployment, number)
        if await _hash_of(rpc, number) == pinned:
            return view
    raise ChainUnavailable(
        f"{rpc.place} reorganised its chain each time that it was read; look at an older block, or audit again later"
    )


async def _hash_of(rpc: RpcClient, number: int) -> str | None:
    found = await rpc.call("eth_getBlockByNumber", hex(number), False)
    return None if found is None else str(found["hash"])


async def _read_at(rpc: RpcClient, deployment: Deployment, block: int) -> ChainView:
    events = await EthereumLedger(rpc, deployment).events(0, block)
    accounts = accounts_of(events)
    channels = [event.channel.id for event in events if isinstance(event, port.ChannelOpened)]
    reader = _Reader(rpc, deployment, hex(block))
    balances = await reader.each("balanceOf", accounts)
    settlements = await reader.each("settlementsOf", accounts)
    states = await reader.each("channels", channels)
    token = await rpc.read("CreditToken", deployment.token, "balanceOf", (deployment.ledger,), reader.block)
    transactions = await rpc.read("ComputeLedger", deployment.ledger, "transactionCount", (), reader.block)
    return ChainView(
        deployment,
        block,
        events,
        dict(zip(accounts, balances, strict=True)),
        dict(zip(accounts, settlements, strict=True)),
        {channel: ChannelState(*state) for channel, state in zip(channels, states, strict=True)},
        token,
        transactions,
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    rpc: RpcClient
    deployment: Deployment
    block: str

    async def each(self, name: str, arguments: Sequence[Any]) -> list[Any]:
        """Call one view function of the ledger for each of many arguments."""
        calls = [
            (
                "eth_call",
                (
                    {
                        "to": self.deployment.ledger,
                        "data": hexed(abi.encode_call("ComputeLedger", name, (one,))),
                    },
                    self.block,
                ),
            )
            for one in arguments
        ]
        return [abi.decode_result("ComputeLedger", name, unhexed(raw)) for raw in await self.rpc.batch(calls)]
