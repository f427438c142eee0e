"""`farlane ledger account`, `deposit` and `withdraw`: straight on a chain, with one's own key and without a hub."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farlane.cli.chain_options import (
    Chain,
    finish_left,
    network_chain,
    network_option,
    rpc_option,
    signing_options,
)
from farlane.cli.key_options import signing_key
from farlane.cli.output import json_option, print_json, say
from farlane.cli.whose_account import account_of
from farlane.domain.units import coins_text, credits_text, parse_units_exact
from farlane.errors import InsufficientFunds, InvalidInput

if TYPE_CHECKING:
    from farlane.ledger.accounts import Address, PrivateKey
    from farlane.ledger.outbox.intents import GasPolicy
    from farlane.ledger.port import TransactionReceipt

HEAD_BYTES = 4 + 2 * 32
"""Selector and the first two arguments of a call: for whom, and how much."""


@click.command()
@click.argument("whose", metavar="ACCOUNT")
@rpc_option
@network_option
@json_option
def account(whose: str, rpc: str, network_file: Path, as_json: bool) -> None:
    """Show what ACCOUNT has on the chain: free in the ledger, in its wallet, and as coin for gas.

    ACCOUNT is an address, or the name of an organisation, whose account the hub is asked for. What pays for opening and
    filling its channels is its own coin, also where the hub holds its key; the hub's own account pays for settling
    (`farlane ledger balance` names it).
    """

    async def ask() -> tuple[Address, int, int, int, int]:
        async with network_chain(network_file, rpc) as chain:
            ledger, found = chain.ledger(), await account_of(whose, chain.deployment)
            free, wallet = await ledger.balance(found), await ledger.token_balance(found)
            return found, free, wallet, await ledger.coin(found), ledger.units_per_credit

    found, free, wallet, coin, units = asyncio.run(ask())
    if as_json:
        print_json(
            {
                "account": found, "free_units": free, "wallet_units": wallet, "coin_wei": coin,
                "units_per_credit": units,
            }
        )  # fmt: skip
        return
    click.echo(f"account  {found}")
    click.echo(f"free     {units_text(free, units)}")
    click.echo(f"wallet   {units_text(wallet, units)}")
    click.echo(f"gas      {coins_text(coin)}")


@click.command()
@click.argument("credits_", metavar="CREDITS")
@network_option
@signing_options
@click.option(
    "--permit",
    is_flag=True,
    help="Sign for this amount alone (ERC-2612) rather than approve the contract by a transaction of its own.",
)
@click.option(
    "--owner",
    metavar="NAME",
    help="Deposit for this key of yours, from its wallet and by its signature (ERC-3009); --key only pays the gas.",
)
@click.option(
    "--for",
    "whose",
    metavar="ADDRESS|ORGANISATION",
    help="Whose account it counts for, such as that of an organisation which the hub holds [default: the key's own].",
)
@json_option
def deposit(
    credits_: str, network_file: Path, rpc: str, key_name: str, password_file: Path | None, policy: GasPolicy,
    permit: bool, owner: str | None, whose: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Move CREDITS from the wallet of one's key into the ledger, where channels are paid from.

    Whoever holds the key of the account they count for can withdraw them: with --for that is no longer you. A deposit
    that was interrupted goes on when the same command is typed again, and is not made twice.
    """
    if permit and owner:
        raise InvalidInput("--owner deposits by a signature already: leave --permit out")
    if owner and whose:
        raise InvalidInput("a signature of --owner counts for its own account alone: leave --for out")
    key = signing_key(key_name, password_file)
    payer = signing_key(owner, password_file) if owner else key

    async def move() -> tuple[int, TransactionReceipt]:
        async with network_chain(network_file, rpc, policy, key) as chain:
            units = parse_units_exact(credits_, chain.deployment.units_per_credit)
            target = await account_of(whose, chain.deployment) if whose else payer.address
            if whose:
                say(f"for the account {target}")
            return units, await _deposited(chain, key, payer, target, units, permit=permit)

    _tell("deposited", *asyncio.run(move()), credits_, as_json=as_json)


@click.command()
@click.argument("credits_", metavar="CREDITS")
@click.option("--to", "target", metavar="ADDRESS", help="Where to [default: the key's own wallet].")
@network_option
@signing_options
@json_option
def withdraw(
    credits_: str, target: str | None, network_file: Path, rpc: str, key_name: str, password_file: Path | None,
    policy: GasPolicy, as_json: bool,
) -> None:  # fmt: skip
    """Pay CREDITS that are free in the ledger out to a wallet; interrupted and typed again, it is not done twice."""
    from farlane.ledger.accounts import parse_address

    to = parse_address(target) if target else None
    key = signing_key(key_name, password_file)

    async def move() -> tuple[int, TransactionReceipt]:
        async with network_chain(network_file, rpc, policy, key) as chain:
            units = parse_units_exact(credits_, chain.deployment.units_per_credit)
            return units, await _withdrawn(chain, key, to or key.address, units)

    _tell("withdrew", *asyncio.run(move()), credits_, as_json=as_json)


async def _deposited(
    chain: Chain, key: PrivateKey, payer: PrivateKey, target: Address, units: int, *, permit: bool
) -> TransactionReceipt:
    ledger = chain.ledger()
    function = "depositWithPermit" if permit else "deposit" if payer is key else "depositWithAuthorization"
    done = await _left(chain, key, function, target, units)
    if done is not None:
        return done
    _check_covered("wallet", payer.address, await ledger.token_balance(payer.address), units, chain)
    if permit:
        return await ledger.deposit_with_permit(key, units, target)
    if payer is key:
        return await ledger.deposit(key, units, target)
    return await ledger.deposit_for(key, payer, units)


async def _withdrawn(chain: Chain, key: PrivateKey, to: Address, units: int) -> TransactionReceipt:
    ledger = chain.ledger()
    done = await _left(chain, key, "withdraw", to, units)
    if done is not None:
        return done
    free = await ledger.balance(key.address)
    _check_covered("free balance in the ledger", key.address, free, units, chain)
    return await ledger.withdraw(key, to, units)


async def _left(
    chain: Chain, key: PrivateKey, function: str, whose: Address, units: int
) -> TransactionReceipt | None:
    """Finish what an earlier command left behind; returns its receipt where it was this very move."""
    from farlane.ledger import abi

    head = abi.selector("ComputeLedger", function) + bytes.fromhex(f"{whose[2:]:0>64}{units:064x}")
    found = None
    for one in await finish_left(chain, key):
        if one.call.to == chain.deployment.ledger and one.call.data[:HEAD_BYTES] == head:
            found = one.receipt
    return found


def _check_covered(place: str, whose: Address, there: int, wanted: int, chain: Chain) -> None:
    if there < wanted:
        has, asked = (units_text(one, chain.deployment.units_per_credit) for one in (there, wanted))
        raise InsufficientFunds(f"the {place} of {whose} has {has}; {asked} were asked for")


def _tell(did: str, units: int, done: TransactionReceipt, text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "transaction": "0x" + done.hash.hex(),
                "block": done.block,
                "gas_used": done.gas_used,
                "units": units,
            }
        )
        return
    click.echo(f"{did} {text} credits")
    click.echo(f"transaction 0x{done.hash.hex()} in block {done.block}, {done.gas_used} gas")


def units_text(units: int, units_per_credit: int) -> str:
    """Return units of a token as credits for people, rounded down to nano-credits."""
    return f"{credits_text(units * 10**9 // units_per_credit)} credits"
