"""`farlane ledger open`, `top-up` and `close`: channels of an organisation that holds its own account."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farlane.cli.chain_options import Chain, finish_left, network_chain, network_option, signing_options
from farlane.cli.chain_price import agreed, yes_option
from farlane.cli.key_options import signing_key
from farlane.cli.output import json_option, print_json, say
from farlane.domain.units import credits_text, parse_units_exact
from farlane.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from farlane.ledger.accounts import PrivateKey
    from farlane.ledger.outbox.intents import GasPolicy
    from farlane.ledger.port import TransactionReceipt
    from farlane.sdk.own_channels import OwnChannel, Plan, Step
    from farlane.wire.ledger import ChannelRow


@dataclass(frozen=True, slots=True)
class Desk:
    """A chain, one's key, and what an interrupted command of it had sent: calldata -> receipt."""

    chain: Chain
    key: PrivateKey
    finished: Mapping[bytes, TransactionReceipt]

    @property
    def upc(self) -> int:
        """Units of the token in a credit."""
        return self.chain.deployment.units_per_credit

    async def free(self) -> int:
        """Return the key's free balance in the contract, in units."""
        return await self.chain.ledger().balance(self.key.address)


TELL_S = 5.0
"""How long a hub may take to look again; everything is done by then."""
Planner = Callable[[Desk], Awaitable["Plan"]]


@click.command("open")
@click.argument("channel", required=False)
@click.option(
    "--all", "everything", is_flag=True, help="Every book that something is owed in and that has no channel."
)
@click.option(
    "--amount", required=True, metavar="CREDITS", help="What to lock in the channel, in each with --all."
)
@network_option
@signing_options
@yes_option
@json_option
def open_(
    channel: str | None, everything: bool, amount: str, network_file: Path, rpc: str, key_name: str,
    password_file: Path | None, policy: GasPolicy, yes: bool, as_json: bool,
) -> int:  # fmt: skip
    """Open CHANNEL (a book's number or a channel's id, see `farlane ledger channels`) from your own account.

    For organisations that `hub.payers` names. What the hub says of the channel is checked against network file and
    chain; what you lock is the most that the hub's session key can spend. Interrupted and typed again, it pays once.
    """
    if (channel is None) != everything:
        raise InvalidInput("name one CHANNEL, or --all")

    async def plan(desk: Desk) -> Plan:
        from farlane.sdk.own_channels import plan_open

        rows = await _rows(desk, channel)
        owns = [await _own(desk, row) for row in rows]
        return plan_open(
            owns, parse_units_exact(amount, desk.upc), await desk.free(), desk.upc, desk.finished
        )

    return _act(plan, network_file, rpc, key_name, password_file, policy, yes, as_json)


@click.command("top-up")
@click.argument("channel")
@click.argument("amount", metavar="CREDITS")
@network_option
@signing_options
@yes_option
@json_option
def top_up(
    channel: str, amount: str, network_file: Path, rpc: str, key_name: str, password_file: Path | None,
    policy: GasPolicy, yes: bool, as_json: bool,
) -> int:  # fmt: skip
    """Add CREDITS to CHANNEL (a book's number, or a channel's id: then no hub is asked)."""

    async def plan(desk: Desk) -> Plan:
        from farlane.sdk.own_channels import plan_top_up

        own = await _named(desk, channel)
        return plan_top_up(
            own, parse_units_exact(amount, desk.upc), await desk.free(), desk.upc, desk.finished
        )

    return _act(plan, network_file, rpc, key_name, password_file, policy, yes, as_json)


@click.command()
@click.argument("channel")
@network_option
@signing_options
@yes_option
@json_option
def close(
    channel: str, network_file: Path, rpc: str, key_name: str, password_file: Path | None, policy: GasPolicy,
    yes: bool, as_json: bool,
) -> int:  # fmt: skip
    """Close CHANNEL (a book's number, or a channel's id: then no hub is asked), in two steps.

    The first announces it: from then on the provider has the network's close window to claim what was promised. Typed
    again after that, the rest comes back to your free balance.
    """

    async def plan(desk: Desk) -> Plan:
        from farlane.sdk.own_channels import plan_close

        own = await _named(desk, channel)
        return plan_close(own, await desk.chain.ledger().now(), desk.upc, desk.finished)

    return _act(plan, network_file, rpc, key_name, password_file, policy, yes, as_json, closing=channel)


def _act(
    planner: Planner, network_file: Path, rpc: str, key_name: str, password_file: Path | None, policy: GasPolicy,
    yes: bool, as_json: bool, closing: str = "",
) -> int:  # fmt: skip
    """Plan, show the price, ask, send, tell; returns the exit code."""
    key = signing_key(key_name, password_file)

    async def work() -> int:
        async with network_chain(network_file, rpc, policy, key) as chain:
            left = await finish_left(chain, key)
            ours = (one for one in left if one.receipt is not None and one.call.to == chain.deployment.ledger)
            desk = Desk(chain, key, {one.call.data: one.receipt for one in ours if one.receipt is not None})
            found = await planner(desk)
            words = [_intent(desk, step) for step in found.todo]
            if not await agreed(chain, key, [step.data for step in found.todo], words, yes=yes):
                return 130
            sent = {
                step.data: await chain.sender.send(key, chain.deployment.ledger, step.data)
                for step in found.todo
            }
            rows = [await _row(desk, step, {**desk.finished, **sent}) for step in (*found.done, *found.todo)]
            if not rows:
                own = await _named(desk, closing)
                rows = [{"book": own.book, "channel": "0x" + own.channel.id.hex(), **_state(own)}]
            await _tell_hub()
        _tell(rows, as_json)
        return 0

    return asyncio.run(work())


async def _rows(desk: Desk, wanted: str | None) -> list[ChannelRow]:
    """Return the rows that the hub has of this organisation: the one that is wanted, or all that wait for a channel."""
    from farlane.sdk.client import AsyncClient
    from farlane.sdk.ledger import LedgerClient
    from farlane.sdk.own_channels import check_hub, find_row

    async with AsyncClient() as client:
        ledger = LedgerClient(client.connection)
        check_hub(await ledger.status(), desk.chain.deployment)
        rows = await ledger.channels()
    if wanted is not None:
        return [find_row(rows, wanted)]
    waiting = [row for row in rows if row.state == "none" and row.wanted and not row.dispute]
    if not waiting:
        raise NotFound(
            "no book of your organisation waits for a channel; `farlane ledger channels` lists all"
        )
    return waiting


async def _own(desk: Desk, row: ChannelRow) -> OwnChannel:
    from farlane.sdk.own_channels import OwnChannel, channel_of_row

    channel = channel_of_row(row, desk.key.address)
    return OwnChannel(channel, await desk.chain.ledger().channel(channel.id), row.book, row.node_name)


async def _named(desk: Desk, wanted: str) -> OwnChannel:
    """Return a channel by its id as the chain knows it, or by the number that the hub gave its book."""
    from farlane.sdk.own_channels import OwnChannel, channel_on_chain

    if not wanted.startswith("0x"):
        (row,) = await _rows(desk, wanted)
        return await _own(desk, row)
    ledger = desk.chain.ledger()
    channel = channel_on_chain(await ledger.events(), wanted, desk.key.address)
    return OwnChannel(channel, await ledger.channel(channel.id))


def _intent(desk: Desk, step: Step) -> str:
    """Return what a step would do, for the question whether it shall."""
    from farlane.sdk.own_channels import Action

    channel, amount = step.own.channel, _credits(desk, step.amount)
    match step.action:
        case Action.OPEN:
            return (
                f"open {step.own.text} with {amount} credits: {channel.provider} is paid what the hub's session "
                f"key {channel.signer} signs, and no more than that"
            )
        case Action.TOP_UP:
            return f"add {amount} credits to {step.own.text}"
        case Action.START_CLOSE:
            return f"announce that {step.own.text} is closed; no more work is paid over it"
        case _:
            left = step.own.state.deposit - step.own.state.claimed
            return f"finish {step.own.text}; {_credits(desk, left)} credits come back"


async def _row(desk: Desk, step: Step, receipts: Mapping[bytes, TransactionReceipt]) -> dict[str, object]:
    from dataclasses import replace

    receipt, own = receipts[step.data], step.own
    own = replace(own, state=await desk.chain.ledger().channel(own.channel.id))
    return {
        "book": own.book, "channel": "0x" + own.channel.id.hex(), "action": step.action.value, "units": step.amount,
        "amount": _credits(desk, step.amount), "transaction": "0x" + receipt.hash.hex(), "gas_used": receipt.gas_used,
        **_state(own),
    }  # fmt: skip


def _state(own: OwnChannel) -> dict[str, object]:
    from farlane.ledger.port import CLOSED

    at = own.state.close_at
    state = "closed" if at == CLOSED else "closing" if at else "open"
    return {"state": state, "close_at": 0 if at == CLOSED else at}


async def _tell_hub() -> None:
    """Let the hub look at the channels again, so that what it says of them is true; it sees them by itself soon."""
    from farlane.errors import FarlaneError
    from farlane.sdk.client import AsyncClient
    from farlane.sdk.ledger import LedgerClient

    with contextlib.suppress(FarlaneError, TimeoutError):
        async with asyncio.timeout(TELL_S), AsyncClient() as client:
            await LedgerClient(client.connection).channels()


def _tell(rows: list[dict[str, object]], as_json: bool) -> None:
    from farlane.sdk.own_channels import moment_text

    if as_json:
        print_json(rows)
        return
    for row in rows:
        if "transaction" in row:
            say(f"transaction {row['transaction']}, {row['gas_used']} gas")
        click.echo(f"{row['channel']} is {row['state']}")
        if row["state"] == "closing":
            when = moment_text(float(str(row["close_at"])))
            say(
                f"the provider can claim until {when} UTC; type the same command again after that to get back the rest"
            )


def _credits(desk: Desk, units: int) -> str:
    return credits_text(units * 10**9 // desk.upc)
