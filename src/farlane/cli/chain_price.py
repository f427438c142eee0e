"""The price of transactions: shown before it is spent, and asked about."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from farlane.cli.output import ask, on_terminal, say
from farlane.errors import Unavailable

if TYPE_CHECKING:
    from farlane.cli.chain_options import Chain
    from farlane.ledger.accounts import PrivateKey

WEI_PER_COIN = 10**18
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask; send at the price that is shown.")


async def agreed(
    chain: Chain, key: PrivateKey, calls: Sequence[bytes], words: Sequence[str], *, yes: bool
) -> bool:
    """Show what calls of the ledger contract would do and cost, and ask whether they shall be sent.

    Args:
        chain: where.
        key: who pays.
        calls: calldata.
        words: what each does.
        yes: do not ask.

    Raises:
        Reverted: the contract would refuse one; nothing was sent.
        Unavailable: there is nobody to ask.
    """
    from farlane.ledger.fees import GWEI, current_fees
    from farlane.ledger.rpc import hexed

    if not calls:
        return True
    to, gas = chain.deployment.ledger, 0
    for data in calls:
        gas += await chain.rpc.quantity(
            "eth_estimateGas", {"from": key.address, "to": to, "data": hexed(data)}
        )
    fees = await current_fees(chain.rpc)
    for line in words:
        say(line)
    coins = Decimal(gas * fees.max_fee) / WEI_PER_COIN
    say(f"gas: about {gas}, at most {fees.max_fee / GWEI:.4g} gwei for each: {coins:.3g} of the chain's coin")
    if yes:
        return True
    if not on_terminal():
        raise Unavailable("there is nobody to ask whether this is right; repeat the command with -y to agree")
    return ask("send it?", default=True)
