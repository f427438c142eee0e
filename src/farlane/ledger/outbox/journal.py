"""The outbox's journal: every step of an intent as one durable transaction on an SQLite file."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from farlane.errors import Conflict, Corrupted, IdempotencyMismatch, NotFound
from farlane.kit.file_lock import FileLock
from farlane.ledger.accounts import Address
from farlane.ledger.fees import Fees
from farlane.ledger.keccak import keccak256
from farlane.ledger.outbox import queries
from farlane.ledger.outbox.file import file_errors, open_file, transaction
from farlane.ledger.outbox.intents import (
    Attempt,
    Call,
    GasPolicy,
    Intent,
    IntentKey,
    IntentState,
    Outcome,
    Refusal,
)
from farlane.ledger.port import TransactionReceipt


class Journal:
    """What is written down of every intent. All of it blocks; one thread at a time uses it.

    Args:
        path: of the file; None keeps it in memory, which survives nothing.
        chain_id: of the chain it sends to.

    Raises:
        Conflict: another process has it open; it is another chain's, or a newer farlane's.
        InvalidInput: it is some other database.
        Corrupted: it is damaged.
    """

    def __init__(self, path: Path | None, chain_id: int) -> None:
        self._path = path
        self._lock = None if path is None else FileLock(path.with_name(f"{path.name}.lock"))
        if self._lock is not None:
            self._lock.acquire()
        try:
            self._connection = open_file(path, chain_id)
        except BaseException:
            self._release()
            raise

    def close(self) -> None:
        """Let go of file and lock."""
        self._connection.close()
        self._release()

    def add(self, key: IntentKey, call: Call, now: float) -> bool:
        """Write down an intent; True if it is new. The same call again only brings its newest gas policy.

        Raises:
            IdempotencyMismatch: the key is another call's.
        """
        policy = json.dumps(asdict(call.policy))
        with file_errors(self._path), transaction(self._connection):
            known = self._connection.execute(queries.FIND, (key,)).fetchone()
            if known is None:
                row = (key, call.sender, call.to or "", str(call.value), call.digest, policy, now, call.data)
                self._connection.execute(queries.ADD, row)
                return True
            number, digest, old_policy, state = known
            if digest != call.digest:
                raise IdempotencyMismatch(
                    f"{key!r} is already the key of another transaction of {call.sender}: use a new key for a new "
                    "transaction",
                    key=key,
                )
            if policy != old_policy and not IntentState(state).ended:
                self._connection.execute(queries.SET_POLICY, (policy, number))
            return False

    def withdraw(self, key: IntentKey) -> bool:
        """Take back an intent for which nothing was ever signed; False if it is too late."""
        with file_errors(self._path):
            return bool(self._connection.execute(queries.WITHDRAW, (key,)).rowcount)

    def open_intents(self) -> list[Intent]:
        """Return what has not ended, oldest first.

        Raises:
            Corrupted: what is on disk does not match its digest.
        """
        with file_errors(self._path):
            attempts: defaultdict[int, list[Attempt]] = defaultdict(list)
            for row in self._connection.execute(queries.OPEN_ATTEMPTS):
                attempts[row[0]].append(self._attempt(row))
            return [
                self._intent(row, attempts[row[0]]) for row in self._connection.execute(queries.OPEN_INTENTS)
            ]

    def count_open(self) -> int:
        """Return how many have not ended."""
        with file_errors(self._path):
            return int(self._connection.execute(queries.COUNT_OPEN).fetchone()[0])

    def sign(self, number: int, attempt: Attempt, gas: int, first_block: int) -> None:
        """Write down a signed transaction; only then may it be sent."""
        fees = attempt.fees
        row = (
            number, attempt.hash, attempt.nonce, str(fees.max_tip), str(fees.max_fee), attempt.signed_at, attempt.raw,
        )  # fmt: skip
        with file_errors(self._path), transaction(self._connection):
            self._connection.execute(queries.ADD_ATTEMPT, row)
            self._connection.execute(queries.SIGNED, (attempt.nonce, gas, first_block, number))

    def sent(self, number: int) -> None:
        """Note that the chain has the newest transaction, or that a reorganisation took it out of its block."""
        self._change(queries.SENT, number)

    def mined(self, number: int, receipt: TransactionReceipt, block_hash: bytes) -> None:
        """Note the block that a transaction of the intent is in."""
        self._change(queries.MINED, receipt.hash, receipt.block, block_hash, receipt.gas_used, number)

    def displaced(self, number: int) -> None:
        """Note that somebody else has used the nonce, for good: the intent needs another one."""
        self._change(queries.DISPLACED, number)

    def confirmed(self, number: int, now: float) -> None:
        """End an intent well."""
        with file_errors(self._path), transaction(self._connection):
            self._connection.execute(queries.CONFIRMED, (now, number))
            self._connection.execute(queries.DROP_ATTEMPTS, (number,))

    def refused(self, number: int, refusal: Refusal, now: float) -> None:
        """End an intent badly."""
        with file_errors(self._path), transaction(self._connection):
            self._connection.execute(queries.REFUSED, (json.dumps(asdict(refusal)), now, number))
            self._connection.execute(queries.DROP_ATTEMPTS, (number,))

    def outcome(self, key: IntentKey) -> Outcome:
        """Return how an intent ended.

        Raises:
            NotFound: it was never submitted.
        """
        with file_errors(self._path):
            row = self._connection.execute(queries.OUTCOME, (key,)).fetchone()
        if row is None:
            raise NotFound(f"the outbox knows no transaction {key!r}: submit it first", key=key)
        state, hash_, block, gas_used, refusal = row
        found = IntentState(state)
        receipt = TransactionReceipt(hash_, block, gas_used) if found == IntentState.CONFIRMED else None
        return Outcome(found, receipt, Refusal(**json.loads(refusal)) if refusal else None)

    def _change(self, statement: str, *parameters: Any) -> None:
        with file_errors(self._path):
            changed = self._connection.execute(statement, parameters).rowcount
        if changed != 1:
            raise Conflict("the intent has ended already; nothing about it changes any more")

    def _attempt(self, row: tuple[Any, ...]) -> Attempt:
        _, hash_, raw, nonce, tip, fee, signed_at = row
        if keccak256(raw) != hash_:
            raise self._damaged(f"the transaction 0x{hash_.hex()}")
        return Attempt(hash_, raw, nonce, Fees(int(tip), int(fee)), signed_at)

    def _intent(self, row: tuple[Any, ...], attempts: list[Attempt]) -> Intent:
        number, key, sender, to, value, digest, policy, created_at, state, *rest, data = row
        nonce, gas, first_block, block_hash = rest
        call = Call(
            Address(sender), Address(to) if to else None, data, int(value), GasPolicy(**json.loads(policy))
        )
        if call.digest != digest:
            raise self._damaged(f"the intent {key!r}")
        return Intent(
            number, IntentKey(key), call, created_at, IntentState(state), nonce, gas, first_block, block_hash,
            tuple(attempts),
        )  # fmt: skip

    def _damaged(self, what: str) -> Corrupted:
        return Corrupted(
            f"{what} in the outbox {self._path} does not match its digest: the file is damaged; move it away and look "
            "up, on the chain, the latest transactions of its accounts before you send anything again",
            path=str(self._path),
        )

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
