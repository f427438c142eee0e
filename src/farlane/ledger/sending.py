"""Sending: one transaction of one account, from its calldata to a receipt that is deep enough."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from farlane.errors import ChainUnavailable, FarlaneError, Reverted, RpcRefused
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.outbox.engine import OutboxSettings
from farlane.ledger.outbox.intents import Call, GasPolicy, Intent, IntentState
from farlane.ledger.outbox.outbox import ChainOutbox
from farlane.ledger.port import TransactionReceipt
from farlane.ledger.rpc import RpcClient

CONFIRM_TIMEOUT_S = 600.0
BUMP_AFTER_S = 45.0
FIRST_POLL_S = 0.005
MAX_POLL_S = 2.0


@dataclass(frozen=True, slots=True)
class Finished:
    """What an earlier process had sent and not seen end: the receipt, or what it was refused with."""

    call: Call
    receipt: TransactionReceipt | None
    error: FarlaneError | None


class Sender:
    """Sends transactions and waits for them; one at a time for each account, so that nonces have no gaps.

    Unlike an outbox it does not wait for a chain that is away, for coin or for cheaper gas before it has sent: it
    raises, and nothing is left behind. What it has signed is another matter: with a `file` that survives its process,
    and the same call then goes on with the same transaction.

    Args:
        rpc: the chain.
        chain_id: its id, checked by whoever made this.
        confirmations: blocks a transaction must have on top of its own before it counts.
        file: keeps what was signed until it is confirmed; None: nothing survives the process.
        policy: what gas may cost.
    """

    def __init__(
        self, rpc: RpcClient, chain_id: int, confirmations: int = 0, file: Path | None = None,
        policy: GasPolicy | None = None,
    ) -> None:  # fmt: skip
        self._rpc, self._chain_id, self._confirmations, self._file = rpc, chain_id, confirmations, file
        self._policy = policy or GasPolicy()
        # With a file all take turns: it is opened for one transaction at a time.
        self._locks: defaultdict[Address | None, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def send(
        self, key: PrivateKey, to: Address | None, data: bytes, value: int = 0
    ) -> TransactionReceipt:
        """Send one transaction and wait until it is confirmed; a stuck one is replaced at a higher fee.

        Raises:
            Reverted: the contract refuses, found out before anything is sent where possible.
            InsufficientFunds: the account cannot pay for gas and value.
            RpcRefused: the endpoint refuses the call.
            ChainUnavailable: the chain cannot be reached, or does not confirm within ten minutes.
            Conflict: another process uses the file.
        """
        call = Call(key.address, to, data, value, self._policy)
        async with self._opened(key) as outbox:
            name = await _name_of(outbox, call)
            await outbox.submit(name, call)
            return await self._ended(outbox, name)

    async def finish(self, key: PrivateKey) -> list[Finished]:
        """Wait for what an earlier process has signed and not seen end; what it had not signed yet is taken back.

        Raises:
            ChainUnavailable: the chain cannot be reached, or does not confirm within ten minutes.
            Conflict: another process uses the file.
        """
        if self._file is None or not self._file.exists():
            return []
        async with self._opened(key) as outbox:
            left = [one for one in await outbox.pending() if not await self._taken_back(outbox, one)]
            for one in left:  # with today's cap on gas rather than that of the process that died
                await outbox.submit(one.key, replace(one.call, policy=self._policy))
            return [await self._finished(outbox, one) for one in left]

    async def _taken_back(self, outbox: ChainOutbox, intent: Intent) -> bool:
        return not intent.attempts and await outbox.withdraw(intent.key)

    async def _finished(self, outbox: ChainOutbox, intent: Intent) -> Finished:
        try:
            return Finished(intent.call, await self._ended(outbox, intent.key), None)
        except (Reverted, RpcRefused) as error:
            return Finished(intent.call, None, error)

    @asynccontextmanager
    async def _opened(self, key: PrivateKey) -> AsyncIterator[ChainOutbox]:
        async with self._locks[key.address if self._file is None else None]:
            settings = OutboxSettings(confirmations=self._confirmations, bump_after_s=BUMP_AFTER_S)
            outbox = await ChainOutbox.open(self._file, self._rpc, self._chain_id, [key], settings=settings)
            try:
                yield outbox
            finally:
                await outbox.close()

    async def _ended(self, outbox: ChainOutbox, name: str) -> TransactionReceipt:
        loop, pause_s = asyncio.get_running_loop(), FIRST_POLL_S
        give_up = loop.time() + CONFIRM_TIMEOUT_S
        while True:
            await outbox.step()
            state = await outbox.state(name)
            if state.ended:
                return await outbox.outcome(name)
            if state == IntentState.PLANNED:
                await _raise_if_stopped(outbox, name)
            if loop.time() > give_up:
                raise await self._unconfirmed(outbox, name)
            await asyncio.sleep(pause_s)
            pause_s = min(MAX_POLL_S, pause_s * 1.5)

    async def _unconfirmed(self, outbox: ChainOutbox, name: str) -> ChainUnavailable:
        hashes = [
            each.newest.hash.hex() for each in await outbox.pending() if each.key == name and each.attempts
        ]
        wait, trouble = outbox.waits_for(name), outbox.status().trouble
        why = f" ({wait.error.message if wait else trouble})" if wait or trouble else ""
        return ChainUnavailable(
            f"the transaction {', '.join(f'0x{each}' for each in hashes)} is not confirmed after "
            f"{CONFIRM_TIMEOUT_S:g} s{why}; it may still be: "
            + ("repeat the call to wait for it" if self._file else "look it up before you repeat it")
        )


async def _name_of(outbox: ChainOutbox, call: Call) -> str:
    """Return the name of the same call where an earlier process has left it open, else a new one."""
    left = (each.key for each in await outbox.pending() if each.call.digest == call.digest)
    return next(left, None) or f"send {secrets.token_hex(8)}"


async def _raise_if_stopped(outbox: ChainOutbox, name: str) -> None:
    trouble, wait = outbox.status().trouble, outbox.waits_for(name)
    if not trouble and (wait is None or wait.until_earlier):
        return
    if await outbox.withdraw(name):
        raise wait.error if wait is not None else ChainUnavailable(trouble)
