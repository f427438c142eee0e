"""Sending: one transaction of one account, from its calldata to a receipt that is deep enough."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from farlane.errors import ChainUnavailable, Reverted, RpcRefused
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.fees import Fees, current_fees
from farlane.ledger.port import TransactionReceipt
from farlane.ledger.rpc import RefusalReason, RpcClient, hexed, unhexed
from farlane.ledger.transactions import SignedTransaction, Transaction, sign_transaction

GAS_MARGIN_PERCENT = 20
"""An estimate is made on the present state; by its block the transaction may touch a slot or two more."""
CONFIRM_TIMEOUT_S = 600.0
BUMP_AFTER_S = 45.0
POLL_S = 0.05
MAX_POLL_S = 2.0


class Sender:
    """Sends transactions and waits for them; one at a time for each account, so that nonces have no gaps.

    Args:
        rpc: the chain.
        chain_id: its id, checked by whoever made this.
        confirmations: blocks a transaction must have on top of its own before it counts.
    """

    def __init__(self, rpc: RpcClient, chain_id: int, confirmations: int = 0) -> None:
        self._rpc, self._chain_id, self._confirmations = rpc, chain_id, confirmations
        self._locks: defaultdict[Address, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def send(
        self, key: PrivateKey, to: Address | None, data: bytes, value: int = 0
    ) -> TransactionReceipt:
        """Send one transaction and wait until it is confirmed; a stuck one is replaced at a higher fee.

        Raises:
            Reverted: the contract refuses, found out before anything is sent where possible.
            ChainUnavailable: the chain cannot be reached, or does not confirm within ten minutes.
        """
        async with self._locks[key.address]:
            gas = await self._estimate(key.address, to, data, value)
            nonce = await self._rpc.quantity("eth_getTransactionCount", key.address, "pending")
            fees = await current_fees(self._rpc)

            def signed(offered: Fees) -> SignedTransaction:
                return sign_transaction(
                    Transaction(
                        self._chain_id, nonce, offered.max_tip, offered.max_fee, gas, to, value, data
                    ),
                    key,
                )

            return await self._confirmed(signed, fees)

    async def _estimate(self, sender: Address, to: Address | None, data: bytes, value: int) -> int:
        call = {"from": sender, "data": hexed(data), "value": hex(value)}
        if to is not None:
            call["to"] = to
        estimate = await self._rpc.quantity("eth_estimateGas", call)
        return estimate + estimate * GAS_MARGIN_PERCENT // 100

    async def _confirmed(self, signed: Any, fees: Fees) -> TransactionReceipt:
        loop = asyncio.get_running_loop()
        hashes: list[bytes] = []
        give_up = loop.time() + CONFIRM_TIMEOUT_S
        while loop.time() < give_up:
            attempt = signed(fees)
            if await self._submit(attempt.raw):
                hashes.append(attempt.hash)
            receipt = await self._await_receipt(hashes, min(give_up, loop.time() + BUMP_AFTER_S))
            if receipt is not None:
                return await self._deep_enough(receipt, give_up)
            fees = fees.bumped().at_least(await current_fees(self._rpc))
        raise ChainUnavailable(
            f"the transaction 0x{hashes[-1].hex() if hashes else ''} is not confirmed after {CONFIRM_TIMEOUT_S:g} s; "
            "it may still be: look it up before you repeat it"
        )

    async def _submit(self, raw: bytes) -> bool:
        try:
            await self._rpc.call("eth_sendRawTransaction", hexed(raw))
        except RpcRefused as error:
            reason = error.facts.get("reason")
            if reason == RefusalReason.ALREADY_KNOWN:
                return True
            if reason == RefusalReason.NONCE_TOO_LOW:
                return False  # one of ours before it was mined meanwhile
            raise
        return True

    async def _await_receipt(self, hashes: list[bytes], until: float) -> dict[str, Any] | None:
        loop, pause = asyncio.get_running_loop(), POLL_S
        while loop.time() < until:
            for hash_ in hashes:
                found: dict[str, Any] | None = await self._rpc.call("eth_getTransactionReceipt", hexed(hash_))
                if found is not None:
                    return found
            await asyncio.sleep(pause)
            pause = min(MAX_POLL_S, pause * 1.5)
        return None

    async def _deep_enough(self, receipt: dict[str, Any], give_up: float) -> TransactionReceipt:
        hash_, block = unhexed(receipt["transactionHash"]), int(receipt["blockNumber"], 16)
        loop = asyncio.get_running_loop()
        while await self._rpc.quantity("eth_blockNumber") < block + self._confirmations:
            if loop.time() > give_up:
                raise ChainUnavailable(
                    f"block {block} does not get {self._confirmations} blocks on top of it"
                )
            await asyncio.sleep(POLL_S)
        again = await self._rpc.call("eth_getTransactionReceipt", hexed(hash_))
        if again is None or again["blockHash"] != receipt["blockHash"]:
            found = await self._await_receipt([hash_], give_up)
            if found is None:
                raise ChainUnavailable(
                    f"a reorganisation has dropped the transaction 0x{hash_.hex()}; send it again"
                )
            return await self._deep_enough(found, give_up)
        if int(receipt["status"], 16) != 1:
            raise Reverted(f"the transaction 0x{hash_.hex()} failed on the chain", error="", hash=hash_.hex())
        return TransactionReceipt(hash_, block, int(receipt["gasUsed"], 16))
