"""An outbox before a real chain that mines only when it is told, behind a transport that breaks, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from farlane.kit.clock import ManualClock
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.outbox.engine import OutboxSettings
from farlane.ledger.outbox.intents import Call, GasPolicy
from farlane.ledger.outbox.outbox import ChainOutbox
from farlane.ledger.rpc import HttpTransport, RpcClient
from farlane.testing.faulty_rpc import FaultyTransport

ETHER = 10**18
CONFIRMATIONS = 2


@dataclass
class OutboxWorld:
    """A funded account, its outbox, and the chain behind a transport that can break."""

    rpc: RpcClient
    transport: FaultyTransport
    clock: ManualClock
    key: PrivateKey
    outbox: ChainOutbox
    path: Path
    chain_id: int

    def pay(self, to: Address, policy: GasPolicy | None = None) -> Call:
        """Return a call that sends one wei."""
        return Call(self.key.address, to, b"", 1, policy or GasPolicy())

    async def mine(self, blocks: int = 1) -> None:
        """Add blocks to the chain."""
        await self.rpc.call("anvil_mine", hex(blocks))

    async def paid(self, to: Address) -> int:
        """Return the coin of an account, in wei."""
        return await self.rpc.quantity("eth_getBalance", to, "latest")

    async def settle(self) -> None:
        """Let passes and blocks alternate until nothing is open."""
        for _ in range(30):
            await self.outbox.step()
            if not await self.outbox.pending():
                return
            await self.mine()
        raise AssertionError(f"it never ends: {self.outbox.status()}")

    async def count(self) -> int:
        """Return how many transactions of the account are on the chain."""
        return await self.rpc.quantity("eth_getTransactionCount", self.key.address, "latest")


@asynccontextmanager
async def outbox_world(url: str, path: Path) -> AsyncIterator[OutboxWorld]:
    """Open an outbox in a file, for a new account with coin on anvil."""
    transport, clock, key = FaultyTransport(HttpTransport(url)), ManualClock(), PrivateKey.generate()
    async with RpcClient(url) as rpc, RpcClient(transport) as faulty:
        await rpc.call("anvil_setBalance", key.address, hex(ETHER))
        await rpc.call("evm_setAutomine", False)
        chain_id = await rpc.quantity("eth_chainId")
        settings = OutboxSettings(confirmations=CONFIRMATIONS, bump_after_s=45)
        outbox = await ChainOutbox.open(
            path, faulty, chain_id, [key], settings=settings, clock=clock, random=Random(1)
        )
        yield OutboxWorld(rpc, transport, clock, key, outbox, path, chain_id)
        await outbox.close()
        await rpc.call("anvil_dropAllTransactions")
        await rpc.call("evm_setAutomine", True)


def stranger() -> Address:
    """Return an account nobody has used."""
    return PrivateKey.generate().address
