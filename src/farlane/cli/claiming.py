"""`farlane ledger claim`: a provider brings the newest vouchers of its receipts to the chain, without any hub."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from farlane.cli.chain_options import Chain, finish_left, network_chain, network_option, signing_options
from farlane.cli.chain_price import agreed, yes_option
from farlane.cli.key_options import signing_key
from farlane.cli.output import json_option, print_json, say
from farlane.domain.units import credits_text
from farlane.errors import Conflict, FarlaneError, InvalidInput

if TYPE_CHECKING:
    from farlane.ledger.outbox.intents import GasPolicy
    from farlane.ledger.port import ChannelState, SignedClaim


@click.command()
@click.argument(
    "files",
    metavar="RECEIPT...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@network_option
@signing_options
@yes_option
@json_option
def claim(
    files: tuple[Path, ...], network_file: Path, rpc: str, key_name: str, password_file: Path | None,
    policy: GasPolicy, yes: bool, as_json: bool,
) -> int:  # fmt: skip
    """Settle the newest voucher of each channel among RECEIPT files; their providers are paid, --key pays the gas.

    No hub takes part: what a provider has kept of its receipts is enough, as long as the channel is not closed.
    """
    key = signing_key(key_name, password_file)

    async def work() -> int:
        async with network_chain(network_file, rpc, policy, key) as chain:
            await finish_left(chain, key)
            claims = _claims(chain, files)
            states = {one.channel.id: await chain.ledger().channel(one.channel.id) for one in claims}
            batches = _batches(claims, states)
            calls = [_data(batch) for batch in batches]
            words = [_intent(chain, one, states) for batch in batches for one in batch]
            if not await agreed(chain, key, calls, words, yes=yes):
                return 130
            done = [await chain.sender.send(key, chain.deployment.ledger, data) for data in calls]
        if as_json:
            print_json([{"transaction": "0x" + one.hash.hex(), "gas_used": one.gas_used} for one in done])
            return 0
        for one in done:
            click.echo(f"transaction 0x{one.hash.hex()} in block {one.block}, {one.gas_used} gas")
        return 0

    return asyncio.run(work())


def _claims(chain: Chain, files: tuple[Path, ...]) -> list[SignedClaim]:
    """Return the checked claims of receipts.

    Raises:
        InvalidInput, InvalidSignature: a file that is none, of another network, or not signed by its channel's key.
    """
    from farlane.ledger.port import SignedClaim
    from farlane.ledger.receipt import MAX_BYTES, from_json
    from farlane.ledger.vouchers import check_voucher

    found = []
    for path in files:
        try:
            with path.open("rb") as stream:
                receipt = from_json(stream.read(MAX_BYTES + 1))
            if receipt.domain != chain.deployment.domain:
                raise InvalidInput("it is of another network, chain or contract than the network file says")
            if receipt.voucher.voucher.channel != receipt.channel.id:
                raise InvalidInput("its voucher is of another channel")
            check_voucher(receipt.domain, receipt.voucher, receipt.channel.signer)
        except FarlaneError as error:
            raise InvalidInput(f"{path} cannot be claimed: {error.message}") from error
        found.append(SignedClaim(receipt.channel, receipt.voucher))
    return found


def _batches(claims: list[SignedClaim], states: dict[bytes, ChannelState]) -> list[list[SignedClaim]]:
    from farlane.ledger.claiming import new_units
    from farlane.ledger.settlement import plan_settlements

    # Where the deposit does not cover the newest voucher, an older one among the receipts may still pay.
    found = plan_settlements([one for one in claims if new_units(one, states[one.channel.id])], states)
    if not found:
        raise Conflict(
            "these receipts pay nothing new: their vouchers were settled, are beyond what the channels hold, or the "
            "channels are closed; `farlane receipt verify --rpc` says which"
        )
    paid = {one.channel.id for batch in found for one in batch}
    for channel in states.keys() - paid:
        say(f"nothing new can be claimed on channel 0x{channel.hex()}")
    return found


def _data(batch: list[SignedClaim]) -> bytes:
    from farlane.ledger import abi
    from farlane.ledger.ethereum import claim_tuple

    rows = [claim_tuple(one) for one in batch]
    if len(rows) == 1:
        return abi.encode_call("ComputeLedger", "settle", rows)
    return abi.encode_call("ComputeLedger", "settleMany", (rows,))


def _intent(chain: Chain, one: SignedClaim, states: dict[bytes, ChannelState]) -> str:
    from farlane.ledger.claiming import new_units

    amount = new_units(one, states[one.channel.id]) * 10**9 // chain.deployment.units_per_credit
    return (
        f"pay {credits_text(amount)} credits to {one.channel.provider} from channel 0x{one.channel.id.hex()}"
    )
