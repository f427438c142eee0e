"""ChainOutbox: hand in a call under a key, and it ends on the chain exactly once, whatever crashes in between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any, Self

from farlane.errors import ChainUnavailable, FarlaneError, Reverted, RpcRefused, Unavailable
from farlane.kit.backoff import Backoff
from farlane.kit.clock import Clock, SystemClock
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.outbox.chain import ChainReader
from farlane.ledger.outbox.engine import Engine, KeySource, OutboxSettings
from farlane.ledger.outbox.intents import Call, Intent, IntentKey, IntentState, OutboxStatus, Refusal
from farlane.ledger.outbox.journal import Journal
from farlane.ledger.outbox.preparing import Wait
from farlane.ledger.port import TransactionReceipt
from farlane.ledger.rpc import RefusalReason, RpcClient

log = logging.getLogger(__name__)

IDLE_S = 3600.0


class ChainOutbox:
    """A durable outbox of one chain. Made by `open`; a task runs `run`, others `submit` and await `outcome`.

    Keys of accounts are never written down: whoever opens it gives them.
    """

    def __init__(
        self, rpc: RpcClient, chain_id: int, keys: Sequence[PrivateKey] | KeySource, journal: Journal,
        pool: ThreadPoolExecutor, settings: OutboxSettings, clock: Clock, random: Random,
    ) -> None:  # fmt: skip
        self._journal, self._pool, self._settings, self._clock = journal, pool, settings, clock
        self._engine = Engine(
            ChainReader(rpc, chain_id), chain_id, keys, journal, self._disk, clock, settings
        )
        self._backoff = Backoff(min(1.0, settings.backoff_cap_s), settings.backoff_cap_s)
        self._random = random
        self._delays = self._backoff.delays(random)
        self._wake, self._changed, self._passing = asyncio.Event(), asyncio.Event(), asyncio.Lock()
        self._trouble, self._since, self._open, self._closed = "", 0.0, 0, False

    @classmethod
    async def open(
        cls, path: Path | None, rpc: RpcClient, chain_id: int, keys: Sequence[PrivateKey] | KeySource, *,
        settings: OutboxSettings | None = None, clock: Clock | None = None, random: Random | None = None,
    ) -> Self:  # fmt: skip
        """Open an outbox; what had not ended when it was last used goes on.

        Args:
            path: its file, made if it is missing; None: in memory, for one that need survive nothing.
            rpc: the chain.
            chain_id: its id; an endpoint that answers with another one is not used.
            keys: of the accounts it may sign for, or what finds an account's key.
            settings: how it sends.
            clock: the machine's, unless a test moves time.
            random: source of the jitter.

        Raises:
            Conflict: another process uses it; it is another chain's, or a newer farlane's.
            Corrupted: it is damaged.
        """
        pool = ThreadPoolExecutor(1, "outbox")
        opening = asyncio.get_running_loop().run_in_executor(pool, Journal, path, chain_id)
        try:
            journal = await asyncio.shield(opening)
        except BaseException:
            # Cancelled in the meantime: the thread opens it all the same, and its lock would stay behind.
            await asyncio.wait([opening])
            if opening.exception() is None:
                opening.result().close()
            pool.shutdown(wait=False)
            raise
        return cls(
            rpc, chain_id, keys, journal, pool, settings or OutboxSettings(), clock or SystemClock(),
            random or Random(),
        )  # fmt: skip

    async def submit(self, key: str, call: Call) -> None:
        """Write a call down; when this returns it is durable, and will be sent once.

        The same key with the same call changes nothing but its gas policy, also after it has ended.

        Raises:
            IdempotencyMismatch: the key is another call's.
            DiskFull: it could not be written down, and will not be sent.
        """
        await self._disk(self._journal.add, IntentKey(key), call, self._clock.now())
        self._wake.set()

    async def outcome(self, key: str) -> TransactionReceipt:
        """Wait until an intent has ended well, which may take as long as the chain is away (see `status`).

        Raises:
            Reverted: the contract refuses; fact `error` is its own error, fact `sent` tells whether gas was spent.
            RpcRefused: it needs more gas than a block has.
            NotFound: it was never submitted.
            Unavailable: the outbox was closed meanwhile; the intent is kept.
        """
        while True:
            changed = self._changed
            found = await self._disk(self._journal.outcome, IntentKey(key))
            if found.receipt is not None:
                return found.receipt  # type: ignore[no-any-return]
            if found.refusal is not None:
                raise _error_of(found.refusal)
            await changed.wait()

    async def state(self, key: str) -> IntentState:
        """Return where an intent stands.

        Raises:
            NotFound: it was never submitted.
        """
        return (await self._disk(self._journal.outcome, IntentKey(key))).state  # type: ignore[no-any-return]

    async def pending(self) -> list[Intent]:
        """Return what has not ended, oldest first."""
        return await self._disk(self._journal.open_intents)  # type: ignore[no-any-return]

    def status(self) -> OutboxStatus:
        """Return what keeps it from its work, as of its last pass."""
        waiting = {key: why.error.message for key, why in self._engine.waiting.items()}
        return OutboxStatus(self._open, self._trouble, self._since, waiting)

    def waits_for(self, key: str) -> Wait | None:
        """Return why an intent could not go on in the last pass, None if it could."""
        return self._engine.waiting.get(IntentKey(key))

    async def withdraw(self, key: str) -> bool:
        """Take back an intent; False if it is too late, since a transaction of it was signed already."""
        async with self._passing:
            return bool(await self._disk(self._journal.withdraw, IntentKey(key)))

    async def run(self) -> None:
        """Drive everything until cancelled; failures of the chain are waited out, those of the disk are raised."""
        while True:
            self._wake.clear()
            pause_s = await self.step()
            try:
                async with asyncio.timeout(pause_s):
                    # While the chain is away new intents are no reason to ask it more often.
                    await (asyncio.Event() if self._trouble else self._wake).wait()
            except TimeoutError:
                continue

    async def step(self) -> float:
        """Do one pass over everything; returns the seconds after which the next one is due."""
        async with self._passing:
            try:
                self._open = await self._engine.step()
            except (ChainUnavailable, RpcRefused) as error:
                return self._in_trouble(error)
            finally:
                self._changed.set()
                self._changed = asyncio.Event()
            if self._trouble:
                log.info("the chain can be used again, after %.0f s", self._clock.now() - self._since)
            self._trouble, self._since = "", 0.0
            self._delays = self._backoff.delays(self._random)
            return self._settings.poll_s if self._open else IDLE_S

    async def close(self) -> None:
        """Close the file, after the pass that is under way; whoever waits for an outcome is told."""
        async with self._passing:
            if self._closed:
                return
            self._closed = True
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._pool, self._journal.close)
            self._pool.shutdown(wait=False)
            self._changed.set()

    def _in_trouble(self, error: FarlaneError) -> float:
        if not self._trouble:
            self._since = self._clock.now()
            log.warning("the chain cannot be used: %s; everything is kept and tried again", error.message)
        self._trouble = error.message
        return next(self._delays)

    async def _disk(self, method: Any, *arguments: Any) -> Any:
        if self._closed:
            raise Unavailable("the outbox is closed; what is in it is kept: open it again")
        # Shielded: what was begun on the disk is finished there, also if nobody waits for it any more.
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._pool, method, *arguments))


def _error_of(refusal: Refusal) -> FarlaneError:
    if refusal.too_large:
        return RpcRefused(refusal.message, reason=RefusalReason.GAS_LIMIT)
    return Reverted(
        refusal.message, error=refusal.error, data=refusal.data, hash=refusal.hash, sent=bool(refusal.hash)
    )
