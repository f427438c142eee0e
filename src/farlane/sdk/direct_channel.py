"""A publisher's channel to one node: its files and locks, its session key, and the deposit behind it on chain."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from farlane.errors import Conflict, InsufficientFunds, NotFound
from farlane.kit.file_lock import FileLock
from farlane.kit.files import private_directory
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.port import Ledger
from farlane.ledger.vouchers import NANO_PER_CREDIT, Channel
from farlane.sdk.direct_book import ChannelBook, channel_file
from farlane.wire.compute import MAX_UNPAID_TASKS

POLL_S = 0.05
"""How often a lock that another task or process holds is tried again."""
LOCK_WAIT_S = 180.0
"""How long the book may be locked: opening a channel waits for the chain."""
_KEY_NAME = "session"


@dataclass(frozen=True, slots=True)
class Spending:
    """What a task would do with its payer's money.

    ceiling_nano: the most it may cost; deposit_units: what goes into the channel first; opens: the channel is new.
    """

    ceiling_nano: int
    deposit_units: int
    opens: bool


class DirectChannel:
    """The channel of one payer to one node; several tasks and processes of the payer may share it.

    Args:
        directory: below which all channels are kept.
        ledger: the chain.
        payer: who opens and funds it.
        node: the node's key.
        provider: who is paid.
    """

    def __init__(
        self, directory: Path, ledger: Ledger, payer: PrivateKey, node: Address, provider: Address
    ) -> None:
        self._ledger, self._payer, self._node, self._provider = ledger, payer, node, provider
        self.file = channel_file(directory, ledger.domain.network, payer.address, node)
        self._root = self.file.path.parent

    async def open_key(self) -> PrivateKey:
        """Return the key that signs orders and vouchers, made if there is none."""
        async with self.locked():  # two tasks that are the first must not make two
            return await asyncio.to_thread(self.session_key)

    def session_key(self) -> PrivateKey:
        """As `open_key`, with the lock held; blocks."""
        from farlane.ledger.keystore import KeyRing
        from farlane.ledger.passwords import machine_password

        ring = KeyRing(private_directory(self._root / "keys"))
        password = machine_password(ring.directory)
        try:
            return ring.open(_KEY_NAME, password)
        except NotFound:
            return ring.create(_KEY_NAME, password)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Have the book to oneself for a moment.

        Raises:
            Conflict: somebody else has had it for minutes.
        """
        lock = FileLock(private_directory(self._root) / "lock")
        end = asyncio.get_running_loop().time() + LOCK_WAIT_S
        while not _acquired(lock):
            if asyncio.get_running_loop().time() > end:
                raise Conflict(f"another process has held {self._root}/lock for {LOCK_WAIT_S:g} s: end it")
            await asyncio.sleep(POLL_S)
        try:
            yield
        finally:
            lock.release()

    def slot(self, place: int) -> FileLock | None:
        """Return the lock of one order, held, or None where another task or process is busy with that order."""
        lock = FileLock(private_directory(self._root) / f"order-{place % MAX_UNPAID_TASKS}.lock")
        return lock if _acquired(lock) else None

    def load(self, key: PrivateKey) -> ChannelBook:
        """Return the book, a new one where there is none; the lock must be held.

        Raises:
            Conflict: it is in dispute, or the node is paid at another address now.
            Corrupted, PermissionRefused: as `ChannelFile.load`.
        """
        book = self.file.load()
        if book is None:
            channel = Channel(self._payer.address, self._provider, key.address, secrets.token_bytes(32))
            book = ChannelBook(channel)
            self.file.save(book)  # before the chain knows it, so that a crash finds it again
        if book.dispute:
            raise Conflict(
                f"the channel to {book.channel.provider} is in dispute and used no more: {book.dispute}. Close it by "
                "`farlane direct close`, keep its directory as evidence, and call another node"
            )
        if book.channel.provider != self._provider:
            raise Conflict(
                f"the node {self._node} is paid at {self._provider} now, and the channel pays {book.channel.provider}: "
                f"close it by `farlane direct close` and move {self.file.path} away to open another"
            )
        return book

    async def spending(self, reserve_nano: int, deposit_units: int = 0) -> Spending:
        """Return what one more task would do with the payer's money; nothing is sent.

        Args:
            reserve_nano: the most it may cost.
            deposit_units: what to put into a channel that is new or too small, as far as the payer has it.
        """
        book = self.file.load()
        channel = b"" if book is None else book.channel.id
        deposit = 0 if book is None else (await self._ledger.channel(channel)).deposit
        missing = self._missing(book, reserve_nano, deposit)
        if missing <= 0:
            return Spending(reserve_nano, 0, opens=False)
        payer = self._payer.address
        there = await self._ledger.balance(payer) + await self._ledger.token_balance(payer)
        return Spending(reserve_nano, max(missing, min(deposit_units, there)), opens=deposit == 0)

    async def funded(self, book: ChannelBook, reserve_nano: int, deposit_units: int) -> ChannelBook:
        """Open or fill the channel where it does not cover one more task; the lock must be held.

        Raises:
            Conflict: the channel is being closed.
            InsufficientFunds: the payer has too little.
        """
        state = await self._ledger.channel(book.channel.id)
        if state.close_at:
            raise Conflict(
                f"this channel is being closed: move {self.file.path} away to open another",
                path=str(self.file.path),
            )
        needed = self._missing(book, reserve_nano, state.deposit)
        if needed > 0:
            amount = max(needed, deposit_units)
            await self._cover(amount)
            move = self._ledger.top_up if state.exists else self._ledger.open_channel
            await move(self._payer, book.channel, amount)
        if not book.opened:
            book = replace(book, opened=True)
            self.file.save(book)
        return book

    async def close(self) -> None:
        """Announce on chain that the channel is closed; what the deposit holds beyond the vouchers comes back later.

        Raises:
            NotFound: there is no channel.
        """
        book = self.file.load()
        if book is None:
            raise NotFound(
                f"there is no channel of {self._payer.address} to {self._node} in {self._root.parent.parent.parent}"
            )
        await self._ledger.start_close(self._payer, book.channel)

    def _missing(self, book: ChannelBook | None, reserve_nano: int, deposit: int) -> int:
        owed = 0 if book is None else book.owed_nano + book.reserved_nano
        return _units_ceiling(owed + reserve_nano, self._ledger.units_per_credit) - deposit

    async def _cover(self, amount: int) -> None:
        """Deposit what the balance lacks."""
        missing = amount - await self._ledger.balance(self._payer.address)
        if missing <= 0:
            return
        there = await self._ledger.token_balance(self._payer.address)
        if there < missing:
            raise InsufficientFunds(
                f"the channel needs {amount} units; {self._payer.address} lacks {missing - there} of them",
                missing_units=missing - there,
            )
        await self._ledger.deposit(self._payer, missing)


def _acquired(lock: FileLock) -> bool:
    try:
        lock.acquire()
    except Conflict:
        return False
    return True


def _units_ceiling(nano: int, units_per_credit: int) -> int:
    return -(-nano * units_per_credit // NANO_PER_CREDIT)
