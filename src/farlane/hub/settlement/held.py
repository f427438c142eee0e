"""Held accounts: what those that the hub holds lack on a chain that is not its own, and how their owners are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from farlane.domain.units import coins_text
from farlane.ledger.accounts import Address
from farlane.ledger.rpc import RpcClient

FUNDING_GAS = 200_000
"""Gas for which an account must have coin before it is asked to open or fill a channel: three times what that takes,
since the outbox asks for coin at twice the present price."""


async def without_coin(rpc: RpcClient, accounts: Iterable[Address]) -> dict[Address, int]:
    """Return the accounts that cannot pay for opening a channel, and what they have, in wei.

    Raises:
        ChainUnavailable: the chain is away.
    """
    wanted = sorted(set(accounts))
    if not wanted:
        return {}
    least = FUNDING_GAS * await rpc.quantity("eth_gasPrice")
    coins = {one: await rpc.quantity("eth_getBalance", one, "latest") for one in wanted}
    return {one: wei for one, wei in coins.items() if wei < least}


def held_notices(accounts: Mapping[str, Address], dry: Mapping[Address, int]) -> dict[str, tuple[str, ...]]:
    """Return what organisations are told whose accounts the hub holds and cannot pay gas from.

    Args:
        accounts: organisation -> its account.
        dry: accounts without coin for gas -> what they have, in wei.
    """
    return {
        organisation: (
            f"the account {account} that the hub holds for {organisation} has too little coin for the gas of its "
            f"channels ({coins_text(dry[account])}): `farlane network gas` sends it some",
        )
        for organisation, account in accounts.items()
        if account in dry
    }
