"""The chain a hub settles on: the connection, the contracts, and how a call gets there exactly once."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from farlane.errors import InvalidSetting, NotFound
from farlane.kit.files import atomic_write
from farlane.ledger import abi
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.deploy import (
    Deployment,
    DeploymentPlan,
    deploy,
    deployment_from_json,
    deployment_to_json,
    verify_deployment,
)
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.outbox.intents import Call, GasPolicy, Intent, IntentState, OutboxStatus
from farlane.ledger.port import TransactionReceipt
from farlane.ledger.rpc import RpcClient

log = logging.getLogger(__name__)
GAS_WEI = 10**18
"""Native coin given to an account of the embedded chain, where it is worth nothing."""


class Outbox(Protocol):
    """What settlement needs of `farlane.ledger.outbox`."""

    async def submit(self, key: str, call: Call) -> None:
        """Keep a call; the same key again is the same call."""
        ...

    async def outcome(self, key: str) -> TransactionReceipt:
        """Wait until it is confirmed, or raise what it was refused with."""
        ...

    async def state(self, key: str) -> IntentState:
        """Return where a call stands."""
        ...

    async def pending(self) -> list[Intent]:
        """Return what has not ended."""
        ...

    def status(self) -> OutboxStatus:
        """Return what keeps it from its work."""
        ...

    async def run(self) -> None:
        """Send and follow up what was submitted, until cancelled."""
        ...

    async def close(self) -> None:
        """Let go of its file."""
        ...


OpenOutbox = Callable[[Path, Deployment, Callable[[Address], PrivateKey | None]], Awaitable[Outbox]]
"""Opens the outbox in a file; the last argument finds the key of an account."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A chain that can be reached.

    faucet: gives native coin, on an embedded chain; place: what people are told; url: where others can ask it, empty
    where nobody can.
    """

    rpc: RpcClient
    embedded: bool
    place: str
    url: str
    open_outbox: OpenOutbox
    faucet: Callable[[Address, int], Awaitable[Any]] | None = None


async def find_deployment(connection: Connection, file: Path, network: str, key: PrivateKey) -> Deployment:
    """Return where the contracts of this network are; on an embedded chain they are deployed the first time.

    Raises:
        InvalidSetting: there is no network file for a chain that is not embedded, or it is another network's.
        Conflict: what stands on the chain is not what the file says.
    """
    if not file.exists():
        if not connection.embedded or connection.faucet is None:
            raise InvalidSetting(
                f"{file} is missing: it says where the network's contracts are. `farlane network deploy` makes it"
            )
        await connection.faucet(key.address, GAS_WEI)
        made = await deploy(connection.rpc, key, DeploymentPlan(network, guardian=key.address))
        atomic_write(file, deployment_to_json(made), mode=0o600)
        log.info("contracts deployed on %s: %s", connection.place, made.ledger)
    found = deployment_from_json(file.read_bytes())
    if found.network != network:
        raise InvalidSetting(f"{file} is of network {found.network}; this hub's is {network}")
    await verify_deployment(connection.rpc, found)
    return found


class ChainDesk:
    """Sends this hub's calls to the contract, each under a key that makes it happen once.

    A call that the contract has refused is another call the next time, under the key's next number: what it was
    refused for may be over, such as a pause.

    Args:
        ledger: for reading.
        deployment: where the contracts are.
        outbox: keeps calls until they are confirmed.
        policy: what gas may cost; its urgent cap counts for claims of channels that are being closed alone.
    """

    def __init__(
        self, ledger: EthereumLedger, deployment: Deployment, outbox: Outbox, policy: GasPolicy
    ) -> None:
        self.ledger, self.deployment, self.outbox, self.policy = ledger, deployment, outbox, policy

    async def call(self, key: str, sender: Address, name: str, *arguments: Any) -> TransactionReceipt:
        """Call the ledger contract from an account.

        Raises:
            Reverted: the contract refuses.
            IdempotencyMismatch: the key is another call's.
        """
        data = abi.encode_call("ComputeLedger", name, arguments)
        return await self._send(await self._free(key), sender, self.deployment.ledger, data)

    async def call_token(self, key: str, sender: Address, name: str, *arguments: Any) -> TransactionReceipt:
        """Call the token from an account.

        Raises:
            Reverted: the contract refuses.
            IdempotencyMismatch: the key is another call's.
        """
        data = abi.encode_call("CreditToken", name, arguments)
        return await self._send(await self._free(key), sender, self.deployment.token, data)

    async def take_up(self, key: str, sender: Address, name: str, *arguments: Any) -> TransactionReceipt:
        """Call the ledger contract, or go on with what was begun under this key, whatever its arguments were.

        Raises:
            Reverted: the contract refuses.
        """
        known = await self.known(key)
        if known is not None:
            return await self.outbox.outcome(known)
        data = abi.encode_call("ComputeLedger", name, arguments)
        return await self._send(await self._free(key), sender, self.deployment.ledger, data)

    async def renew(self) -> None:
        """Let what an earlier process has left cost what may be paid today: its caps were those of then."""
        for intent in await self.outbox.pending():
            deadline = intent.call.policy.deadline
            policy = replace(self.policy, deadline=deadline) if deadline else self.ordinary
            await self.outbox.submit(intent.key, replace(intent.call, policy=policy))

    @property
    def ordinary(self) -> GasPolicy:
        """What gas may cost where nothing is urgent."""
        return replace(self.policy, urgent_max_fee_wei=0)

    async def known(self, key: str) -> str | None:
        """Return the number of a key under which a call was handed in and not refused, None where there is none."""
        free = await self._free(key)
        return None if await self._state(free) is None else free

    async def _free(self, key: str) -> str:
        """Return the first of a key's numbers that was not refused."""
        number, free = 1, key
        while await self._state(free) == IntentState.REFUSED:
            number += 1
            free = f"{key} {number}"
        return free

    async def _state(self, key: str) -> IntentState | None:
        try:
            return await self.outbox.state(key)
        except NotFound:
            return None

    async def _send(self, key: str, sender: Address, to: Address, data: bytes) -> TransactionReceipt:
        await self.outbox.submit(key, Call(sender, to, data, policy=self.ordinary))
        return await self.outbox.outcome(key)
