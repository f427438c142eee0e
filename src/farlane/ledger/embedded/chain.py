"""The chain itself: checks a transaction as a pool does, runs it, seals its block; calls, estimates, the faucet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from farlane.errors import InvalidInput
from farlane.kit.clock import Clock
from farlane.ledger.accounts import Address, address_bytes, address_from_bytes
from farlane.ledger.embedded.blocks import (
    BENEFICIARY,
    EMPTY_ROOT,
    GWEI,
    Header,
    Withdrawal,
    bloom_of,
    receipt_bytes,
    root_of,
)
from farlane.ledger.embedded.chain_file import Block, ChainFile, Mined
from farlane.ledger.embedded.envelope import (
    MAX_INIT_CODE_BYTES,
    Envelope,
    floor_gas,
    intrinsic_gas,
    open_envelope,
)
from farlane.ledger.embedded.evm import (
    EMPTY_CODE_HASH,
    AccessList,
    Account,
    BlockContext,
    Changes,
    Evm,
    Message,
    Outcome,
)
from farlane.ledger.embedded.refusals import REVERTED, refuse
from farlane.ledger.embedded.state_sum import moved, new_entries
from farlane.ledger.keccak import keccak256

BASE_FEE = 1_000_000
"""Wei per gas, of every block: a thousandth of a gwei. Gas keeps its meaning, and nobody runs out of coin."""
GAS_LIMIT = 30_000_000
HEARTBEAT_S = 60
"""Whoever asks for the head when it is older than this gets a new, empty block: chain time goes on without work."""
_STIPEND = 2_300
"""Source: yellow paper, fee schedule, Gcallstipend."""


@dataclass(frozen=True, slots=True)
class Call:
    """What `eth_call` and `eth_estimateGas` ask about; gas None: as much as a block has."""

    sender: bytes
    to: bytes | None
    value: int = 0
    data: bytes = b""
    gas: int | None = None
    access_list: AccessList = ()


def create_chain(path: Path, chain_id: int, genesis: Mapping[Address, int], time_s: int) -> None:
    """Make a new chain file.

    Args:
        path: where.
        chain_id: of the new chain.
        genesis: wei of the first accounts.
        time_s: of block 0, unix seconds.

    Raises:
        InvalidInput: an impossible chain id or amount.
        DiskFull: no room.
    """
    if not 0 < chain_id < 1 << 63 or any(not 0 <= wei < 1 << 128 for wei in genesis.values()):
        raise InvalidInput("a chain id is between 1 and 2**63, a first balance between 0 and 2**128 wei")
    changes = Changes({address_bytes(owner): Account(balance=wei) for owner, wei in genesis.items() if wei})
    root = moved(bytes(32), iter(()), new_entries(changes))
    header = Header(
        parent=bytes(32),
        state=root,
        transactions=EMPTY_ROOT,
        receipts=EMPTY_ROOT,
        bloom=bytes(256),
        number=0,
        gas_limit=GAS_LIMIT,
        gas_used=0,
        time=time_s,
        base_fee=BASE_FEE,
        withdrawals=EMPTY_ROOT,
    )
    ChainFile.create(path, chain_id, header, changes)


class Chain:
    """A chain over its file, for one thread. What it refuses it says in geth's words, as RpcRefused.

    Args:
        file: the chain's file.
        evm: called when something must be executed; makes or returns the EVM.
        clock: the time of blocks.
    """

    def __init__(self, file: ChainFile, evm: Callable[[], Evm], clock: Clock) -> None:
        self.file, self.evm, self._clock = file, evm, clock
        self.offset_s = 0

    @property
    def head(self) -> Block:
        """The newest block."""
        return self.file.head

    def next_time(self) -> int:
        """Return the time a block sealed now gets, unix seconds.

        It never goes back, and it never runs ahead of the clock: blocks of one second share its time, so that
        nobody can hurry a close window along by sending many transactions.
        """
        return max(self.head.header.time, int(self._clock.now()) + self.offset_s)

    def submit(self, raw: bytes) -> bytes:
        """Check a signed transaction, run it and seal it in a block of its own; returns its hash.

        It is on disk when this returns.

        Raises:
            RpcRefused: it is refused, and nothing has happened.
            DiskFull: no room, and nothing has happened.
        """
        signed = open_envelope(raw, self.file.chain_id)
        self._check(signed)
        message = Message(
            signed.sender,
            signed.to,
            signed.value,
            signed.data,
            signed.gas,
            intrinsic_gas(signed.to, signed.data, signed.access_list),
            signed.nonce,
            signed.max_fee,
            signed.max_tip,
            signed.access_list,
        )
        outcome = self.evm().execute(self._context(BASE_FEE), self.file, message)
        self._seal_transaction(signed, outcome)
        return signed.hash

    def _check(self, signed: Envelope) -> None:
        """Refuse what a pool refuses. Source: go-ethereum, core/txpool/validation.go and core/error.go."""
        if self.file.transaction(signed.hash) is not None:
            refuse("already known")
        account = self.file.account(signed.sender) or Account()
        who = f"address {address_from_bytes(signed.sender)}"
        if signed.nonce < account.nonce:
            refuse(f"nonce too low: {who}, tx: {signed.nonce} state: {account.nonce}")
        if signed.nonce > account.nonce:
            refuse(f"nonce too high: {who}, tx: {signed.nonce} state: {account.nonce}")
        if account.code_hash != EMPTY_CODE_HASH:
            refuse(f"sender not an eoa: {who}")
        if signed.max_fee < BASE_FEE:
            refuse(
                f"max fee per gas less than block base fee: {who}, maxFeePerGas: {signed.max_fee}, baseFee: {BASE_FEE}"
            )
        _check_gas(signed)
        cost = signed.gas * signed.max_fee + signed.value
        if account.balance < cost:
            refuse(f"insufficient funds for gas * price + value: {who} have {account.balance} want {cost}")

    def _seal_transaction(self, signed: Envelope, outcome: Outcome) -> None:
        succeeded = not outcome.failure
        receipt = receipt_bytes(signed.kind, succeeded, outcome.gas_used, outcome.logs)
        header = replace(
            self._empty_header(),
            state=self.file.root_after(outcome.changes),
            transactions=root_of(signed.raw),
            receipts=root_of(receipt),
            bloom=bloom_of(outcome.logs),
            gas_used=outcome.gas_used,
        )
        mined = Mined(header.number, signed.raw, succeeded, outcome.created)
        self._append(header, outcome.changes, None, (signed.hash, mined), outcome)

    def mine(self) -> None:
        """Seal an empty block."""
        self._append(self._empty_header(), Changes())

    def keep_up(self) -> None:
        """Seal an empty block if the head is old."""
        if self.next_time() - self.head.header.time >= HEARTBEAT_S:
            self.mine()

    def credit(self, to: bytes, wei: int) -> int:
        """Make coin for gas, as a withdrawal from outside of the EVM; returns the block.

        Raises:
            InvalidInput: not a whole, positive number of gwei that fits.
        """
        gwei, rest = divmod(wei, GWEI)
        if rest or not 0 < gwei < 1 << 63:
            raise InvalidInput(
                f"the faucet cannot pay {wei} wei; expected a positive multiple of 10**9 (a gwei)"
            )
        account = self.file.account(to) or Account()
        changes = Changes({to: replace(account, balance=account.balance + wei)})
        paid = Withdrawal(self.file.credits(), to, gwei)
        root = self.file.root_after(changes)
        header = replace(self._empty_header(), state=root, withdrawals=root_of(paid.encode()))
        self._append(header, changes, paid)
        return header.number

    def _empty_header(self) -> Header:
        head = self.head
        return Header(
            parent=head.hash,
            state=head.header.state,
            transactions=EMPTY_ROOT,
            receipts=EMPTY_ROOT,
            bloom=bytes(256),
            number=head.number + 1,
            gas_limit=GAS_LIMIT,
            gas_used=0,
            time=self.next_time(),
            base_fee=BASE_FEE,
            withdrawals=EMPTY_ROOT,
        )

    def _append(
        self,
        header: Header,
        changes: Changes,
        paid: Withdrawal | None = None,
        transaction: tuple[bytes, Mined] | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        block = Block(header, keccak256(header.encode()), paid)
        self.file.append(block, changes, transaction, outcome.logs if outcome else ())

    def call(self, wanted: Call) -> Outcome:
        """Run a call as a transaction of the next block would, free of fees, and forget what it changes."""
        gas = min(GAS_LIMIT, wanted.gas or GAS_LIMIT)
        account = self.file.account(wanted.sender) or Account()
        if account.balance < wanted.value:
            refuse(
                f"insufficient funds for transfer: address {address_from_bytes(wanted.sender)} have "
                f"{account.balance} want {wanted.value}"
            )
        intrinsic = intrinsic_gas(wanted.to, wanted.data, wanted.access_list)
        if gas < intrinsic:
            refuse(f"intrinsic gas too low: have {gas}, want {intrinsic}")
        message = Message(
            wanted.sender,
            wanted.to,
            wanted.value,
            wanted.data,
            gas,
            intrinsic,
            account.nonce,
            0,
            0,
            wanted.access_list,
        )
        return self.evm().execute(self._context(0), self.file, message)

    def estimate(self, wanted: Call) -> int:
        """Return gas with which a transaction succeeds: what it needs plus what calls keep back on the way.

        Raises:
            RpcRefused: it fails whatever it gets; code 3 with the data of a revert.
        """
        limit = min(GAS_LIMIT, wanted.gas or GAS_LIMIT)
        if wanted.to is not None and not wanted.data and not self._has_code(wanted.to):
            limit = min(limit, intrinsic_gas(wanted.to, b"", wanted.access_list))
        outcome = self.call(replace(wanted, gas=limit))
        check_outcome(outcome)
        # Each call hands on 63 of 64 parts of what is left (EIP-150), so that a little more can be needed than spent.
        low, high = outcome.gas_spent - 1, limit
        guess = (outcome.gas_spent + _STIPEND) * 64 // 63
        if guess < high:
            if not self.call(replace(wanted, gas=guess)).failure:
                return guess
            low = guess
        while high - low > max(1, high // 64):
            middle = (low + high) // 2
            if self.call(replace(wanted, gas=middle)).failure:
                low = middle
            else:
                high = middle
        return high

    def _has_code(self, address: bytes) -> bool:
        account = self.file.account(address)
        return int.from_bytes(address, "big") < 32 or (
            account is not None and account.code_hash != EMPTY_CODE_HASH
        )

    def _context(self, base_fee: int) -> BlockContext:
        head = self.head
        return BlockContext(
            self.file.chain_id, head.number + 1, self.next_time(), GAS_LIMIT, base_fee, BENEFICIARY, head.hash
        )


def check_outcome(outcome: Outcome) -> None:
    """Refuse what failed as `eth_call` does.

    Raises:
        RpcRefused: code 3 with data for a revert.
    """
    if outcome.reverted:
        refuse(outcome.failure, REVERTED, "0x" + outcome.output.hex())
    if outcome.failure:
        refuse(outcome.failure)


def _check_gas(signed: Envelope) -> None:
    needed = intrinsic_gas(signed.to, signed.data, signed.access_list)
    if signed.gas > GAS_LIMIT:
        refuse(f"exceeds block gas limit: have {signed.gas}, limit {GAS_LIMIT}")
    if signed.to is None and len(signed.data) > MAX_INIT_CODE_BYTES:
        refuse(f"max initcode size exceeded: code size {len(signed.data)}, limit {MAX_INIT_CODE_BYTES}")
    if signed.gas < needed:
        refuse(f"intrinsic gas too low: gas {signed.gas}, minimum needed {needed}")
    if signed.gas < floor_gas(signed.data):
        refuse(
            f"insufficient gas for floor data gas cost: gas {signed.gas}, minimum needed {floor_gas(signed.data)}"
        )
