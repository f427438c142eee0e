"""`farlane ledger account`, `deposit` and `withdraw`: straight on a chain, with one's own key and without a hub."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from farlane.cli.chain_options import network_chain, network_option, rpc_option, signing_options
from farlane.cli.key_options import signing_key
from farlane.cli.output import json_option, print_json
from farlane.domain.units import credits_text, parse_credits_floor
from farlane.errors import InsufficientFunds, InvalidInput

if TYPE_CHECKING:
    from farlane.ledger.accounts import Address, PrivateKey
    from farlane.ledger.ethereum import EthereumLedger
    from farlane.ledger.port import TransactionReceipt

T = TypeVar("T")


@click.command()
@click.argument("address")
@rpc_option
@network_option
@json_option
def account(address: str, rpc: str, network_file: Path, as_json: bool) -> None:
    """Show what ADDRESS has on the chain: free in the ledger, and in its wallet."""
    from farlane.ledger.accounts import parse_address

    whose = parse_address(address)

    async def ask(ledger: EthereumLedger) -> tuple[int, int]:
        return await ledger.balance(whose), await ledger.token_balance(whose)

    (free, wallet), units = asyncio.run(_with_ledger(network_file, rpc, ask))
    if as_json:
        print_json({"account": whose, "free_units": free, "wallet_units": wallet, "units_per_credit": units})
        return
    click.echo(f"account  {whose}")
    click.echo(f"free     {_credits(free, units)}")
    click.echo(f"wallet   {_credits(wallet, units)}")


@click.command()
@click.argument("credits_", metavar="CREDITS")
@network_option
@signing_options
@json_option
def deposit(
    credits_: str, network_file: Path, rpc: str, key_name: str, password_file: Path | None, as_json: bool
) -> None:
    """Move CREDITS from the wallet of one's key into the ledger, where channels are paid from."""
    _move(credits_, network_file, rpc, key_name, password_file, None, as_json=as_json)


@click.command()
@click.argument("credits_", metavar="CREDITS")
@click.option("--to", "target", metavar="ADDRESS", help="Where to [default: the key's own wallet].")
@network_option
@signing_options
@json_option
def withdraw(
    credits_: str,
    target: str | None,
    network_file: Path,
    rpc: str,
    key_name: str,
    password_file: Path | None,
    as_json: bool,
) -> None:
    """Pay CREDITS that are free in the ledger out to a wallet."""
    _move(credits_, network_file, rpc, key_name, password_file, target or "", as_json=as_json)


def _move(
    text: str,
    network_file: Path,
    rpc: str,
    key_name: str,
    password_file: Path | None,
    target: str | None,
    *,
    as_json: bool,
) -> None:
    """Deposit (target None) or withdraw (to the key's own wallet where target is empty), and tell what was done."""
    from farlane.ledger.accounts import parse_address

    nano = parse_credits_floor(text)
    if not nano:
        raise InvalidInput(f"{text!r} is nothing to move; expected at least 0.000000001 credits")
    to = parse_address(target) if target else None
    key = signing_key(key_name, password_file)

    async def move(ledger: EthereumLedger) -> TransactionReceipt:
        amount = nano * ledger.units_per_credit // 10**9
        await _check_covered(ledger, key, amount, deposit=target is None)
        return await (
            ledger.deposit(key, amount) if target is None else ledger.withdraw(key, to or key.address, amount)
        )

    done, _ = asyncio.run(_with_ledger(network_file, rpc, move))
    if as_json:
        print_json({"transaction": "0x" + done.hash.hex(), "block": done.block, "gas_used": done.gas_used})
        return
    click.echo(f"{'deposited' if target is None else 'withdrew'} {credits_text(nano)} credits")
    click.echo(f"transaction 0x{done.hash.hex()} in block {done.block}, {done.gas_used} gas")


async def _check_covered(ledger: EthereumLedger, key: PrivateKey, amount: int, *, deposit: bool) -> None:
    whose: Address = key.address
    there = await (ledger.token_balance(whose) if deposit else ledger.balance(whose))
    if there < amount:
        place = "wallet" if deposit else "free balance in the ledger"
        has, wanted = _credits(there, ledger.units_per_credit), _credits(amount, ledger.units_per_credit)
        raise InsufficientFunds(f"the {place} of {whose} has {has}; {wanted} were asked for")


async def _with_ledger(
    network_file: Path, rpc: str, work: Callable[[EthereumLedger], Awaitable[T]]
) -> tuple[T, int]:
    from farlane.ledger.ethereum import EthereumLedger

    async with network_chain(network_file, rpc) as chain:
        ledger = EthereumLedger(chain.rpc, chain.deployment)
        return await work(ledger), ledger.units_per_credit


def _credits(units: int, units_per_credit: int) -> str:
    return f"{credits_text(units * 10**9 // units_per_credit)} credits"
