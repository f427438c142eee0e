"""What commands that talk to a chain have in common: the endpoint, the network file, and whose key signs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from farlane.cli.key_options import password_option
from farlane.errors import InvalidInput

if TYPE_CHECKING:
    from farlane.ledger.deploy import Deployment
    from farlane.ledger.rpc import RpcClient

F = TypeVar("F", bound=Callable[..., Any])
MAX_FILE_BYTES = 64 * 1024

rpc_option = click.option(
    "--rpc", metavar="URL", required=True, help="JSON-RPC endpoint of the network's chain."
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


def signing_options(command: F) -> F:
    """Add `--rpc`, `--key` and `--password-file`."""
    return rpc_option(key_option(password_option(command)))


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain that was found to be the network's."""

    rpc: RpcClient
    deployment: Deployment


@asynccontextmanager
async def network_chain(network_file: Path, url: str) -> AsyncIterator[Chain]:
    """Open a chain and check that the contracts of the network file stand on it.

    Raises:
        InvalidInput: the file is no network file.
        Conflict: another chain or another contract; nothing should be signed.
        ChainUnavailable: the endpoint does not answer.
    """
    from farlane.ledger.deploy import verify_deployment
    from farlane.ledger.network_registry import NetworkRegistry
    from farlane.ledger.rpc import RpcClient

    deployment = read_network_file(network_file)
    async with RpcClient(url) as rpc:
        await verify_deployment(rpc, deployment)
        await NetworkRegistry(rpc, deployment).check()
        yield Chain(rpc, deployment)


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
