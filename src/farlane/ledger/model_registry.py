"""The registry of models on chain: who owns a name, the manifests published under it, and its royalty."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from farlane.errors import Conflict, InvalidInput, NotFound
from farlane.ledger import abi
from farlane.ledger.accounts import NO_ADDRESS, Address, PrivateKey
from farlane.ledger.deploy import Deployment
from farlane.ledger.keccak import keccak256
from farlane.ledger.port import TransactionReceipt
from farlane.ledger.rpc import RpcClient
from farlane.ledger.sending import Sender

CONTRACT = "ModelRegistry"
PAGE = 100
MAX_MODELS = 1_000_000
MAX_ROYALTY_BPS = 2000
"""Hundredths of a percent. Source: ModelRegistry.sol, MAX_ROYALTY_BPS."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._/-]{0,63}")


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A name's state; successor: whom it was offered to, None for nobody; royalty_bps: hundredths of a percent."""

    name: str
    owner: Address
    versions: int
    royalty_bps: int
    royalty_to: Address | None
    successor: Address | None


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """One version; manifest: the SHA-256 inside its manifest's CID; published_at: unix seconds of the chain."""

    manifest: bytes
    published_at: int
    yanked: bool


class ModelRegistry:
    """A typed client of the contract.

    Calls that change something return once confirmed and raise Reverted, with the contract's own error as fact
    `error`, where it refuses; all raise ChainUnavailable where the chain cannot be reached.

    Args:
        rpc: the chain; `deploy.verify_deployment` has checked that it is the right one.
        deployment: where the contracts are.
        confirmations: blocks on top of a transaction before it counts.
        sender: sends for it; by default one of its own.
    """

    def __init__(
        self, rpc: RpcClient, deployment: Deployment, confirmations: int = 0, sender: Sender | None = None
    ) -> None:
        self._rpc, self._at = rpc, deployment.model_registry
        self._sender = sender or Sender(rpc, deployment.chain_id, confirmations)

    async def claim(self, owner: PrivateKey, name: str) -> TransactionReceipt:
        """Claim a free name.

        Raises:
            InvalidInput: it is no name for a model.
        """
        return await self._send(owner, "claim", check_model_name(name))

    async def publish(
        self, owner: PrivateKey, name: str, version: int, manifest: bytes
    ) -> TransactionReceipt:
        """Publish a manifest's digest as the next version; `version` says which number that is."""
        return await self._send(owner, "publish", model_id(name), version, manifest)

    async def yank(self, owner: PrivateKey, name: str, version: int, reason: str) -> TransactionReceipt:
        """Warn of a version; it is not erased."""
        return await self._send(owner, "yank", model_id(name), version, reason)

    async def offer_transfer(
        self, owner: PrivateKey, name: str, successor: Address | None
    ) -> TransactionReceipt:
        """Offer a name to another account; None withdraws the offer."""
        return await self._send(owner, "offerTransfer", model_id(name), successor or NO_ADDRESS)

    async def accept_transfer(self, successor: PrivateKey, name: str) -> TransactionReceipt:
        """Take over a name that was offered."""
        return await self._send(successor, "acceptTransfer", model_id(name))

    async def set_royalty(
        self, owner: PrivateKey, name: str, royalty_bps: int, to: Address
    ) -> TransactionReceipt:
        """Ask for a part of what tasks with this model cost.

        Raises:
            InvalidInput: above MAX_ROYALTY_BPS.
        """
        if not 0 <= royalty_bps <= MAX_ROYALTY_BPS:
            raise InvalidInput(
                f"a royalty of {royalty_bps} hundredths of a percent; expected 0 to {MAX_ROYALTY_BPS}"
            )
        return await self._send(owner, "setRoyalty", model_id(name), royalty_bps, to)

    async def royalty_floor(self, name: str, amount: int) -> tuple[Address | None, int]:
        """Return whom a royalty on an amount of units belongs to, and how much it is, rounded down."""
        to, royalty = await self._read("royaltyInfo", model_id(name), amount)
        return _known(to), int(royalty)

    async def model(self, name: str) -> RegisteredModel:
        """Return a name's state.

        Raises:
            NotFound: nobody has claimed it.
        """
        owner, versions, bps, successor, to = await self._read("models", model_id(name))
        if owner == NO_ADDRESS:
            raise NotFound(f"nobody has claimed the model name {name!r} on this network", name=name)
        return RegisteredModel(name, owner, versions, bps, _known(to), _known(successor))

    async def version(self, name: str, version: int) -> PublishedVersion:
        """Return one version.

        Raises:
            NotFound: there is none of this number.
        """
        found = PublishedVersion(*await self._read("versionOf", model_id(name), version))
        if not any(found.manifest):
            raise NotFound(f"model {name!r} has no version {version} on this network", name=name)
        return found

    async def count(self) -> int:
        """Return how many names are claimed."""
        return int(await self._read("count"))

    async def page(self, start: int, limit: int = PAGE) -> list[str]:
        """Return names in the order in which they were claimed, fewer than `limit` at the end."""
        found: list[str] = await self._read("page", start, limit)
        return found

    async def names(self) -> AsyncIterator[str]:
        """Read all names page by page; they never move, so one claimed meanwhile comes at the end.

        Raises:
            Conflict: there are more than MAX_MODELS.
        """
        start = 0
        while found := await self.page(start):
            for name in found:
                yield name
            start += len(found)
            if start >= MAX_MODELS:
                raise Conflict(f"the registry has more than {MAX_MODELS} names; farlane reads no more")

    async def _read(self, name: str, *arguments: Any) -> Any:
        return await self._rpc.read(CONTRACT, self._at, name, arguments)

    async def _send(self, key: PrivateKey, name: str, *arguments: Any) -> TransactionReceipt:
        return await self._sender.send(key, self._at, abi.encode_call(CONTRACT, name, arguments))


def check_model_name(name: str) -> str:
    """Return a name that a model may have.

    Raises:
        InvalidInput: it is not one.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidInput(
            f"{name[:80]!r} is no name for a model; expected up to 64 of a-z, 0-9, '-', '_', '.' and '/', beginning "
            "with a letter or digit",
            name=name,
        )
    return name


def model_id(name: str) -> bytes:
    """Return what a name is known by on chain: keccak256 of it.

    Raises:
        InvalidInput: it is no name for a model.
    """
    return keccak256(check_model_name(name).encode())


def _known(address: Address) -> Address | None:
    return None if address == NO_ADDRESS else address
