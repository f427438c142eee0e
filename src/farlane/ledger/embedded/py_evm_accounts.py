"""Accounts for py-evm: read from a State, written to dictionaries that can be taken back step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn, cast

from eth.abc import AccountDatabaseAPI, MetaWitnessAPI
from eth.db.journal import get_next_checkpoint
from eth.typing import JournalDBCheckpoint
from eth_typing import Address, Hash32

from farlane.errors import Internal
from farlane.ledger.embedded.evm import EMPTY_CODE_HASH, Account, Changes, Slot, State
from farlane.ledger.keccak import keccak256

_MISSING = object()
_NO_ROOT = Hash32(bytes(32))
_NO_ACCOUNT = Account()


class JournaledAccounts(AccountDatabaseAPI):
    """The accounts during one message. Instead of tries it keeps what changed; the chain stores that.

    Args:
        db: the State before the message (py-evm hands on whatever its own state is made with).
        state_root: not used.
    """

    def __init__(self, db: Any, state_root: Hash32 = _NO_ROOT) -> None:
        self._before: State = db
        self._accounts: dict[bytes, Account | None] = {}
        self._slots: dict[Slot, int] = {}
        self._read: dict[Slot, int] = {}
        self._codes: dict[bytes, bytes] = {}
        self._wiped: dict[bytes, bool] = {}
        self._warm: dict[bytes | Slot, bool] = {}
        self._undo: list[tuple[dict[Any, Any], Any, Any]] = []
        self._marks: dict[JournalDBCheckpoint, int] = {}

    def changes(self) -> Changes:
        """Return what is different now."""
        slots = {
            at: value for at, value in self._slots.items() if at[0] in self._wiped or value != self._read[at]
        }
        accounts = {
            address: account
            for address, account in self._accounts.items()
            if account != self._before.account(address)
        }
        used = {account.code_hash for account in accounts.values() if account is not None}
        codes = {digest: code for digest, code in self._codes.items() if digest in used}
        return Changes(accounts, slots, codes, frozenset(self._wiped))

    # Each write notes what was there before.
    def _put(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        self._undo.append((table, key, table.get(key, _MISSING)))
        table[key] = value

    def record(self) -> JournalDBCheckpoint:
        """Return a mark to come back to."""
        mark = get_next_checkpoint()  # py-evm's own numbers: its transient storage takes the same
        self._marks[mark] = len(self._undo)
        return mark

    def discard(self, checkpoint: JournalDBCheckpoint) -> None:
        """Take back everything since a mark."""
        keep = self._marks[checkpoint]
        while len(self._undo) > keep:
            table, key, old = self._undo.pop()
            if old is _MISSING:
                del table[key]
            else:
                table[key] = old

    def commit(self, checkpoint: JournalDBCheckpoint) -> None:
        """Keep what was done since a mark, as part of what was done before it."""
        del self._marks[checkpoint]

    # Accounts.
    def _find(self, address: bytes) -> Account | None:
        try:
            return self._accounts[address]
        except KeyError:
            found = self._before.account(address)
            self._accounts[address] = found  # a reading, not a change: nothing to take back
            return found

    def _get(self, address: bytes) -> Account:
        return self._find(address) or _NO_ACCOUNT

    def get_balance(self, address: Address) -> int:
        """Return wei."""
        return self._get(address).balance

    def set_balance(self, address: Address, balance: int) -> None:
        """Set wei."""
        if balance < 0:
            raise Internal(
                f"the balance of 0x{address.hex()} became {balance} wei; the chain let it overspend"
            )
        self._put(self._accounts, address, replace(self._get(address), balance=balance))

    def get_nonce(self, address: Address) -> int:
        """Return how many transactions, or contracts, it has made."""
        return self._get(address).nonce

    def set_nonce(self, address: Address, nonce: int) -> None:
        """Set the nonce."""
        self._put(self._accounts, address, replace(self._get(address), nonce=nonce))

    def increment_nonce(self, address: Address) -> None:
        """Add one to the nonce."""
        self.set_nonce(address, self.get_nonce(address) + 1)

    def get_code(self, address: Address) -> bytes:
        """Return a contract's code."""
        digest = self._get(address).code_hash
        if digest == EMPTY_CODE_HASH:
            return b""
        return self._codes[digest] if digest in self._codes else self._before.code(digest)

    def set_code(self, address: Address, code: bytes) -> None:
        """Put code at an address."""
        digest = keccak256(code)
        self._codes[digest] = code  # by its hash: it may stay when the account's change is taken back
        self._put(self._accounts, address, replace(self._get(address), code_hash=digest))

    def get_code_hash(self, address: Address) -> Hash32:
        """Return the hash of the code."""
        return Hash32(self._get(address).code_hash)

    def delete_code(self, address: Address) -> None:
        """Remove an account's code."""
        self._put(self._accounts, address, replace(self._get(address), code_hash=EMPTY_CODE_HASH))

    def account_has_code_or_nonce(self, address: Address) -> bool:
        """Tell whether a contract cannot be created here."""
        found = self._get(address)
        return found.nonce != 0 or found.code_hash != EMPTY_CODE_HASH

    def account_exists(self, address: Address) -> bool:
        """Tell whether there is one, be it empty."""
        return self._find(address) is not None

    def account_is_empty(self, address: Address) -> bool:
        """Tell whether there is nothing in it. Source: EIP-161."""
        return self._get(address) == _NO_ACCOUNT

    def touch_account(self, address: Address) -> None:
        """Let an account exist."""
        self._put(self._accounts, address, self._get(address))

    def delete_account(self, address: Address) -> None:
        """Remove an account with its storage."""
        self.delete_storage(address)
        self._put(self._accounts, address, None)

    # Storage.
    def _stored(self, at: Slot) -> int:
        if at not in self._read:
            self._read[at] = self._before.slot(*at)
        return self._read[at]

    def get_storage(self, address: Address, slot: int, from_journal: bool = True) -> int:
        """Return a slot; without the journal, as it was before the message."""
        at = (address, slot)
        if not from_journal:
            return self._stored(at)
        if at in self._slots:
            return self._slots[at]
        return 0 if address in self._wiped else self._stored(at)

    def set_storage(self, address: Address, slot: int, value: int) -> None:
        """Set a slot."""
        self._stored((address, slot))
        self._put(self._slots, (address, slot), value)

    def delete_storage(self, address: Address) -> None:
        """Remove all of an account's storage."""
        self._put(self._wiped, address, True)
        for at in [each for each in self._slots if each[0] == address]:
            self._put(self._slots, at, 0)

    # What is warm. Source: EIP-2929.
    def is_storage_warm(self, address: Address, slot: int) -> bool:
        """Tell whether the message has used this slot."""
        return (address, slot) in self._warm

    def mark_storage_warm(self, address: Address, slot: int) -> None:
        """Note that it has."""
        self._put(self._warm, (address, slot), True)

    def is_address_warm(self, address: Address) -> bool:
        """Tell whether the message has used this address."""
        return address in self._warm

    def mark_address_warm(self, address: Address) -> None:
        """Note that it has."""
        self._put(self._warm, address, True)

    # Tries: there are none.
    @property
    def state_root(self) -> Hash32:
        """Return the same for every state: py-evm only hands it back."""
        return _NO_ROOT

    @state_root.setter
    def state_root(self, value: Hash32) -> None:
        """Take what `state_root` gave."""

    def has_root(self, state_root: bytes) -> bool:
        """Tell that there are no roots."""
        return False

    def lock_changes(self) -> None:
        """Do nothing: what was before the message stays as it is by itself."""

    def make_state_root(self) -> NoReturn:
        """Refuse: the chain makes its own root."""
        raise Internal("the embedded chain's accounts have no trie")

    def persist(self) -> MetaWitnessAPI:
        """Refuse: the chain stores `changes`."""
        return cast(MetaWitnessAPI, self.make_state_root())
