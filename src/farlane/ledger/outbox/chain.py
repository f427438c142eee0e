"""What the outbox asks a chain: its head, where transactions are, and who has used a nonce."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from farlane.errors import ChainUnavailable, Reverted, RpcRefused
from farlane.ledger.accounts import Address
from farlane.ledger.outbox.intents import Call, Intent, Refusal
from farlane.ledger.port import TransactionReceipt
from farlane.ledger.rpc import RpcClient, hexed, unhexed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block. Fees in wei per gas, time in unix seconds."""

    number: int
    time: float
    base_fee: int
    gas_limit: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where an intent's transactions are. mined: a receipt with its block's hash; known: the newest is in the pool."""

    mined: TransactionReceipt | None
    block_hash: bytes
    succeeded: bool
    known: bool


NOWHERE = Sighting(None, b"", False, False)


class ChainReader:
    """Reads one chain, and refuses an endpoint that has become another one.

    Args:
        rpc: the endpoint.
        chain_id: what the chain must be.
    """

    def __init__(self, rpc: RpcClient, chain_id: int) -> None:
        self.rpc, self._chain_id = rpc, chain_id

    async def head(self) -> Head:
        """Return the newest block, of the right chain.

        Raises:
            ChainUnavailable: the endpoint cannot be reached, or is another chain's.
        """
        found, block = await self.rpc.batch(
            [("eth_chainId", ()), ("eth_getBlockByNumber", ("latest", False))]
        )
        if block is None:
            raise ChainUnavailable(f"{self.rpc.place} has no newest block: it is not ready yet")
        if int(found, 16) != self._chain_id:
            raise ChainUnavailable(
                f"{self.rpc.place} is chain {int(found, 16)}, expected {self._chain_id}: nothing is believed or sent "
                "there; check the endpoint's URL",
                chain_id=int(found, 16),
            )
        return Head(
            int(block["number"], 16),
            float(int(block["timestamp"], 16)),
            int(block.get("baseFeePerGas", "0x0"), 16),
            int(block["gasLimit"], 16),
        )

    async def sightings(self, intents: Sequence[Intent]) -> list[Sighting]:
        """Return, for each intent, where any of its transactions is."""
        calls: list[tuple[str, Sequence[Any]]] = []
        for intent in intents:
            calls += [("eth_getTransactionReceipt", (hexed(each.hash),)) for each in intent.attempts]
            calls.append(("eth_getTransactionByHash", (hexed(intent.newest.hash),)))
        answers = iter(await self.rpc.batch(calls))
        found = []
        for intent in intents:
            receipts = [next(answers) for _ in intent.attempts]
            pooled = next(answers) is not None
            mined = next((each for each in receipts if each is not None and each.get("blockHash")), None)
            found.append(NOWHERE if mined is None and not pooled else _sighting(mined, pooled))
        return found

    async def count(self, account: Address, block: int | None = None) -> int:
        """Return how many transactions of an account are on the chain, at its head or after a block."""
        at = "latest" if block is None else hex(block)
        return await self.rpc.quantity("eth_getTransactionCount", account, at)

    async def who_used(self, account: Address, nonce: int, first: int, last: int) -> tuple[int, bytes] | None:
        """Return block and hash of the transaction that used a nonce between two blocks, both included.

        None where nobody has, as far as the endpoint can see.

        Raises:
            RpcRefused: the endpoint no longer knows the state of blocks that old.
        """
        if await self.count(account, last) <= nonce:
            return None
        while first < last:
            middle = (first + last) // 2
            if await self.count(account, middle) > nonce:
                last = middle
            else:
                first = middle + 1
        block = await self.rpc.call("eth_getBlockByNumber", hex(last), True)
        wanted = account.lower()
        for each in (block or {}).get("transactions", ()):
            if str(each["from"]).lower() == wanted and int(each["nonce"], 16) == nonce:
                return last, unhexed(each["hash"])
        return None

    async def why_failed(self, call: Call, mined: TransactionReceipt) -> Refusal:
        """Return why a transaction failed in its block, as far as repeating it before that block tells."""
        message = f"the transaction 0x{mined.hash.hex()} failed on the chain"
        try:
            await self.rpc.call("eth_call", call_of(call), hex(mined.block - 1))
        except Reverted as error:
            name, data = str(error.facts.get("error", "")), str(error.facts.get("data", ""))
            return Refusal(f"{message}: {error.message}", name, data, mined.hash.hex())
        except RpcRefused:
            log.info(
                "%s keeps no state of block %d: why 0x%s failed stays unknown",
                self.rpc.place,
                mined.block - 1,
                mined.hash.hex(),
            )
        return Refusal(message, hash=mined.hash.hex())


def call_of(call: Call) -> dict[str, str]:
    """Return a call as JSON-RPC has it."""
    found = {"from": call.sender, "data": hexed(call.data), "value": hex(call.value)}
    return found if call.to is None else {**found, "to": call.to}


def _sighting(receipt: dict[str, Any] | None, pooled: bool) -> Sighting:
    if receipt is None:
        return Sighting(None, b"", False, pooled)
    mined = TransactionReceipt(
        unhexed(receipt["transactionHash"]), int(receipt["blockNumber"], 16), int(receipt["gasUsed"], 16)
    )
    return Sighting(mined, unhexed(receipt["blockHash"]), int(receipt["status"], 16) == 1, True)
