"""The chain on disk: state, blocks, transactions and logs in one SQLite file, one durable commit a block."""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain as joined
from pathlib import Path
from typing import Any

import rlp

from farlane.kit.sqlite_files import new_file, recognise
from farlane.ledger.embedded import queries
from farlane.ledger.embedded.blocks import Header, Withdrawal, decode_header
from farlane.ledger.embedded.chain_schema import CHAIN, damaged, file_error, write_schema
from farlane.ledger.embedded.evm import Account, Changes, Log
from farlane.ledger.embedded.state_sum import account_entry, moved, new_entries, slot_entry
from farlane.ledger.keccak import keccak256

PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Block:
    """A sealed block."""

    header: Header
    hash: bytes
    withdrawal: Withdrawal | None

    @property
    def number(self) -> int:
        """Its height."""
        return self.header.number


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction of a block."""

    block: int
    raw: bytes
    succeeded: bool
    created: bytes | None


@dataclass(frozen=True, slots=True)
class FoundLog:
    """A log with its place."""

    block: int
    position: int
    log: Log


def _to_bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


@contextlib.contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise file_error(error, path) from error


class ChainFile:
    """One open chain file; the State that the EVM reads is the one after the head. For one thread at a time.

    Args:
        path: an existing file.
        max_bytes: it does not grow beyond this; None: as far as the disk goes.

    Raises:
        Corrupted: the file is damaged.
        InvalidInput: it is no chain.
        Conflict: a newer farlane wrote it.
    """

    def __init__(self, path: Path, max_bytes: int | None = None) -> None:
        self._path = path
        with _file_errors(path):
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(max_bytes)
            except BaseException:
                self._connection.close()
                raise
        self.code = lru_cache(maxsize=64)(self._code)

    def _prepare(self, max_bytes: int | None) -> None:
        self._connection.execute(queries.ALONE)
        # Recognised before any pragma that would write into somebody else's file.
        recognise(self._connection, self._path, CHAIN)
        for pragma in queries.PRAGMAS:
            self._connection.execute(pragma)
        if max_bytes is not None:
            (page_bytes,) = self._connection.execute(queries.PAGE_BYTES).fetchone()
            self._connection.execute(f"PRAGMA max_page_count = {max(1, max_bytes // page_bytes)}")
        (chain_id,) = self._row(queries.PROPERTY, "chain_id") or (None,)
        head = self._row(queries.HEAD)
        if chain_id is None or head is None:
            raise damaged(self._path, "it has no chain id or no block")
        self.chain_id = int(chain_id)
        self.head = self._block(head)

    @classmethod
    def create(cls, path: Path, chain_id: int, header: Header, changes: Changes) -> None:
        """Make a new chain from its first block. A crash leaves all of it or nothing.

        Raises:
            DiskFull: no room; nothing is left behind.
        """
        with new_file(path) as temporary, _file_errors(path):
            connection = sqlite3.connect(temporary, isolation_level=None)
            try:
                connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
                connection.execute(queries.BEGIN)
                write_schema(connection, chain_id)
                _write_state(connection, changes)
                _write_block(connection, Block(header, keccak256(header.encode()), None))
                connection.execute(queries.COMMIT)
            finally:
                connection.close()

    def close(self) -> None:
        """Move the journal into the file and close it."""
        self._connection.close()

    # The state after the head.
    def account(self, address: bytes) -> Account | None:
        """Return an account."""
        row = self._row(queries.ACCOUNT, address)
        return None if row is None else Account(row[0], int.from_bytes(row[1], "big"), row[2])

    def _code(self, code_hash: bytes) -> bytes:
        row = self._row(queries.CODE, code_hash)
        if row is None:
            raise damaged(self._path, f"the code 0x{code_hash.hex()} is missing")
        return bytes(row[0])

    def slot(self, address: bytes, number: int) -> int:
        """Return a storage slot."""
        row = self._row(queries.SLOT, address, _to_bytes(number))
        return 0 if row is None else int.from_bytes(row[0], "big")

    def block_hash(self, number: int) -> bytes | None:
        """Return a block's hash."""
        row = self._row(queries.BLOCK_HASH, number)
        return None if row is None else row[0]

    # History.
    def block(self, number: int) -> Block | None:
        """Return a block by its height."""
        row = self._row(queries.BLOCK, number)
        return None if row is None else self._block(row)

    def block_number(self, block_hash: bytes) -> int | None:
        """Return the height of a block."""
        row = self._row(queries.BLOCK_NUMBER, block_hash)
        return None if row is None else int(row[0])

    def blocks(self, first: int, last: int) -> list[Block]:
        """Return blocks in order, both ends included."""
        return [self._block(row) for row in self._rows(queries.BLOCKS, first, last)]

    def credits(self) -> int:
        """Return how often the faucet has paid."""
        row = self._row(queries.CREDITS)
        return int(row[0]) if row else 0

    def transaction(self, transaction_hash: bytes) -> Mined | None:
        """Return a transaction by its hash."""
        return _mined(self._row(queries.TRANSACTION, transaction_hash))

    def transaction_in(self, block: int) -> Mined | None:
        """Return the transaction of a block, None for a block without one."""
        return _mined(self._row(queries.TRANSACTION_IN, block))

    def logs_in(self, block: int) -> tuple[Log, ...]:
        """Return the logs of a block in order."""
        return tuple(_log(row) for row in self._rows(queries.LOGS_IN, block))

    def logs(
        self, first: int, last: int, addresses: Sequence[bytes], topics: Sequence[Sequence[bytes]], limit: int
    ) -> list[FoundLog]:
        """Return logs of blocks, both ends included, in order.

        Args:
            first: block.
            last: block.
            addresses: any of them; empty: of anybody.
            topics: by position any of them; empty: anything, or nothing, at this position.
            limit: at most so many.
        """
        filters, values = "", [first, last]
        for column, wanted in (("address", addresses), *((f"topic{i}", t) for i, t in enumerate(topics))):
            if wanted:
                filters += f" AND {column} IN ({','.join('?' * len(wanted))})"
                values += wanted  # type: ignore[arg-type]
        rows = self._rows(queries.LOGS.format(filters=filters), *values, limit)
        return [FoundLog(row[0], row[1], _log(row[2:])) for row in rows]

    # Writing.
    def root_after(self, changes: Changes) -> bytes:
        """Return the state root that the changes lead to."""
        return moved(self.head.header.state, self._gone_entries(changes), new_entries(changes))

    def _gone_entries(self, changes: Changes) -> Iterator[int]:
        for address in changes.accounts:
            if (old := self.account(address)) is not None:
                yield account_entry(address, old)
        for address, number in changes.slots:
            if address not in changes.wiped:
                yield slot_entry(address, number, self.slot(address, number))
        for wiped in changes.wiped:
            for address, number, value in self._rows(queries.SLOTS_OF, wiped):
                yield slot_entry(address, int.from_bytes(number, "big"), int.from_bytes(value, "big"))

    def append(
        self,
        block: Block,
        changes: Changes,
        transaction: tuple[bytes, Mined] | None = None,
        logs: Sequence[Log] = (),
    ) -> None:
        """Make a block the head: it is on disk, all of it, when this returns.

        Args:
            block: its parent is the head.
            changes: of the state.
            transaction: its hash and itself.
            logs: of the transaction.

        Raises:
            DiskFull: no room; nothing has changed.
            Unavailable: the disk failed; nothing has changed.
        """
        with _file_errors(self._path):
            self._connection.execute(queries.BEGIN)
            try:
                _write_block(self._connection, block)
                _write_state(self._connection, changes)
                if transaction is not None:
                    _write_transaction(self._connection, *transaction, logs)
                self._connection.execute(queries.COMMIT)
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute(queries.ROLLBACK)
                raise
        self.head = block

    def check_state(self) -> int:
        """Add up all entries of the state and compare with the head; returns how many there are.

        Raises:
            Corrupted: the state is not what the blocks say.
        """
        count = 0

        def shares() -> Iterator[int]:
            nonlocal count
            for share in joined(self._account_shares(), self._slot_shares()):
                count += 1
                yield share

        if moved(bytes(32), iter(()), shares()) != self.head.header.state:
            raise damaged(self._path, "accounts and storage do not add up to the head's state root")
        for digest, code in self._rows(queries.ALL_CODES):
            if keccak256(code) != digest:
                raise damaged(self._path, f"the code 0x{digest.hex()} does not match its hash")
        return count

    def _account_shares(self) -> Iterator[int]:
        for address, nonce, balance, digest in self._rows(queries.ALL_ACCOUNTS):
            yield account_entry(address, Account(nonce, int.from_bytes(balance, "big"), digest))

    def _slot_shares(self) -> Iterator[int]:
        for address, number, value in self._rows(queries.ALL_SLOTS):
            yield slot_entry(address, int.from_bytes(number, "big"), int.from_bytes(value, "big"))

    def _row(self, statement: str, *values: Any) -> tuple[Any, ...] | None:
        return next(self._rows(statement, *values), None)

    def _rows(self, statement: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        with _file_errors(self._path):
            yield from self._connection.execute(statement, values)

    def _block(self, row: Sequence[Any]) -> Block:
        number, digest, packed, credited, gwei, credit = row
        try:
            raw = zlib.decompress(packed)
            header = decode_header(raw)
        except (zlib.error, rlp.DecodingError, ValueError, TypeError, IndexError) as error:
            raise damaged(self._path, f"block {number} cannot be read") from error
        if keccak256(raw) != digest or header.number != number:
            raise damaged(self._path, f"block {number} does not match its hash")
        return Block(header, digest, None if credited is None else Withdrawal(credit, credited, gwei))


def _write_block(connection: sqlite3.Connection, block: Block) -> None:
    header, paid = block.header, block.withdrawal
    credit = (None, None, None) if paid is None else (paid.address, paid.gwei, paid.index)
    packed = zlib.compress(header.encode(), 1)
    connection.execute(queries.ADD_BLOCK, (header.number, block.hash, header.time, packed, *credit))


def _write_state(connection: sqlite3.Connection, changes: Changes) -> None:
    for address, account in changes.accounts.items():
        if account is None:
            connection.execute(queries.DROP_ACCOUNT, (address,))
        else:
            row = (address, account.nonce, _to_bytes(account.balance), account.code_hash)
            connection.execute(queries.SET_ACCOUNT, row)
    connection.executemany(queries.SET_CODE, changes.codes.items())
    connection.executemany(queries.DROP_SLOTS, ((address,) for address in changes.wiped))
    for (address, number), value in changes.slots.items():
        if value:
            connection.execute(queries.SET_SLOT, (address, _to_bytes(number), _to_bytes(value)))
        else:
            connection.execute(queries.DROP_SLOT, (address, _to_bytes(number)))


def _write_transaction(
    connection: sqlite3.Connection, digest: bytes, mined: Mined, logs: Sequence[Log]
) -> None:
    connection.execute(
        queries.ADD_TRANSACTION, (mined.block, digest, mined.raw, mined.succeeded, mined.created)
    )
    for position, log in enumerate(logs):
        topics = (*log.topics, *(None,) * (4 - len(log.topics)))
        connection.execute(queries.ADD_LOG, (mined.block, position, log.address, *topics, log.data))


def _mined(row: Sequence[Any] | None) -> Mined | None:
    return None if row is None else Mined(row[0], row[1], bool(row[2]), row[3])


def _log(row: Sequence[Any]) -> Log:
    address, *topics, data = row
    return Log(address, tuple(topic for topic in topics if topic is not None), data)
