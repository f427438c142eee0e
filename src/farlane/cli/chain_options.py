"""What commands that talk to a chain have in common: the endpoint, the network file, and whose key signs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from farlane.cli.key_options import password_option
from farlane.cli.output import say
from farlane.errors import InvalidInput
from farlane.kit.files import private_directory
from farlane.sdk.context import data_directory

if TYPE_CHECKING:
    from farlane.ledger.accounts import PrivateKey
    from farlane.ledger.deploy import Deployment
    from farlane.ledger.ethereum import EthereumLedger
    from farlane.ledger.model_registry import ModelRegistry
    from farlane.ledger.network_registry import NetworkRegistry
    from farlane.ledger.outbox.intents import GasPolicy
    from farlane.ledger.rpc import RpcClient
    from farlane.ledger.sending import Finished, Sender

F = TypeVar("F", bound=Callable[..., Any])
MAX_FILE_BYTES = 64 * 1024

OUTBOX = "outbox"
MAX_FEE_GWEI = 500.0

rpc_option = click.option(
    "--rpc",
    metavar="URL",
    required=True,
    help="JSON-RPC endpoint of the network's chain; several with commas between them stand in for each other.",
)


def _policy(context: click.Context, option: click.Parameter, max_fee_gwei: float) -> GasPolicy:
    from farlane.ledger.outbox.intents import policy_of

    return policy_of(max_fee_gwei)


max_fee_option = click.option(
    "--max-fee",
    "policy",
    metavar="GWEI",
    type=float,
    default=MAX_FEE_GWEI,
    show_default=True,
    callback=_policy,
    help="The most that a unit of gas may cost; nothing is sent while it costs more.",
)
key_option = click.option(
    "--key", "key_name", metavar="NAME", required=True, help="Which of your keys signs and pays gas."
)
network_argument = click.argument(
    "network_file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
network_option = click.option(
    "--network",
    "network_file",
    metavar="FILE",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The network file, as `farlane network deploy` wrote it.",
)


min_bond_option = click.option(
    "--min-bond",
    metavar="CREDITS",
    help="Only those of the registry whose operators have this much bonded [default: all].",
)


def bond_units(credits_: str | None, deployment: Deployment) -> int:
    """Return what `--min-bond` asks for in units, 0 where it is not given.

    Raises:
        InvalidInput: it is no amount of credits.
    """
    from farlane.domain.units import parse_units_exact

    return 0 if credits_ is None else parse_units_exact(credits_, deployment.units_per_credit)


def signing_options(command: F) -> F:
    """Add `--rpc`, `--key`, `--password-file` and `--max-fee`."""
    return rpc_option(key_option(password_option(max_fee_option(command))))


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain that was found to be the network's, and what sends to it."""

    rpc: RpcClient
    deployment: Deployment
    sender: Sender

    def ledger(self) -> EthereumLedger:
        """Return the ledger contract."""
        from farlane.ledger.ethereum import EthereumLedger

        return EthereumLedger(self.rpc, self.deployment, sender=self.sender)

    def registry(self) -> NetworkRegistry:
        """Return the registry of hubs and nodes."""
        from farlane.ledger.network_registry import NetworkRegistry

        return NetworkRegistry(self.rpc, self.deployment, sender=self.sender)

    def models(self) -> ModelRegistry:
        """Return the registry of models."""
        from farlane.ledger.model_registry import ModelRegistry

        return ModelRegistry(self.rpc, self.deployment, sender=self.sender)


@asynccontextmanager
async def network_chain(
    network_file: Path, url: str, policy: GasPolicy | None = None, key: PrivateKey | None = None
) -> AsyncIterator[Chain]:
    """Open a chain and check that the contracts of the network file stand on it.

    Args:
        network_file: where the contracts are.
        url: the endpoint, or several with commas between them.
        policy: what gas may cost.
        key: whose transactions are kept in a file until they are confirmed, so that a command that was interrupted
            and is typed again goes on with what it had signed; None: nothing survives the process.

    Raises:
        InvalidInput: the file is no network file.
        Conflict: another chain or another contract; nothing should be signed.
        ChainUnavailable: the endpoint does not answer.
    """
    from farlane.ledger.deploy import verify_deployment
    from farlane.ledger.rpc import RpcClient
    from farlane.ledger.sending import Sender

    deployment = read_network_file(network_file)
    file = None if key is None else _outbox_file(deployment.chain_id, key)
    async with RpcClient(url, chain_id=deployment.chain_id) as rpc:
        await verify_deployment(rpc, deployment)
        chain = Chain(rpc, deployment, Sender(rpc, deployment.chain_id, file=file, policy=policy))
        await chain.registry().check()
        yield chain


async def finish_left(chain: Chain, key: PrivateKey) -> list[Finished]:
    """Wait for what an interrupted command of this key has sent, and tell how it ended.

    Raises:
        ChainUnavailable: it is not confirmed within ten minutes.
        Conflict: another command of this key is under way.
    """
    left = await chain.sender.finish(key)
    for one in left:
        how = "is refused: " + one.error.message if one.error else f"is 0x{_hash(one)} and is confirmed now"
        say(f"a transaction of {key.address} that an earlier command had sent {how}")
    return left


def _hash(one: Finished) -> str:
    return "" if one.receipt is None else one.receipt.hash.hex()


def _outbox_file(chain_id: int, key: PrivateKey) -> Path:
    directory = private_directory(data_directory() / OUTBOX)
    return directory / f"{chain_id}-{key.address}.db"


def read_network_file(path: Path) -> Deployment:
    """Read a network file.

    Raises:
        InvalidInput: it is not one.
    """
    from farlane.ledger.deploy import deployment_from_json

    with path.open("rb") as stream:
        raw = stream.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise InvalidInput(f"{path} is too long for a network file; expected at most {MAX_FILE_BYTES} bytes")
    return deployment_from_json(raw)
