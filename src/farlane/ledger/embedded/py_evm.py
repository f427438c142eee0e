"""The Evm port on py-evm, with the rules of Prague; importing this room costs a quarter of a second."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, cast

from eth.abc import ComputationAPI
from eth.constants import CREATE_CONTRACT_ADDRESS
from eth.exceptions import (
    ContractCreationCollision,
    InsufficientFunds,
    InsufficientStack,
    InvalidInstruction,
    InvalidJumpDestination,
    OutOfGas,
    Revert,
    StackDepthLimit,
    WriteProtection,
)
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.prague.state import PragueState, PragueTransactionExecutor
from eth_typing import Address, BlockNumber, Hash32

from farlane.ledger.embedded.evm import AccessList, BlockContext, Changes, Log, Message, Outcome, State
from farlane.ledger.embedded.py_evm_accounts import JournaledAccounts
from farlane.ledger.embedded.refusals import refuse

_NAMES = (
    (OutOfGas, "out of gas"),
    (InvalidInstruction, "invalid opcode"),
    (InvalidJumpDestination, "invalid jump destination"),
    (InsufficientStack, "stack underflow"),
    (WriteProtection, "write protection"),
    (StackDepthLimit, "max call depth exceeded"),
    (InsufficientFunds, "insufficient balance for transfer"),
    (ContractCreationCollision, "contract address collision"),
)
"""py-evm's errors in the words of go-ethereum, core/vm/errors.go."""
_BLOCK_HASHES = 256


@dataclass(frozen=True, slots=True)
class _Transaction:
    """What py-evm's executor asks of a transaction whose signature, nonce and fees the chain has checked."""

    sender: Address
    to: Address
    value: int
    data: bytes
    gas: int
    intrinsic_gas: int
    nonce: int
    max_fee_per_gas: int
    max_priority_fee_per_gas: int
    access_list: AccessList
    type_id: int = 2
    y_parity: int = 0
    r: int = 0
    s: int = 0

    @property
    def gas_price(self) -> int:
        return self.max_fee_per_gas

    def validate(self) -> None:
        """Do nothing: the chain has."""


class _State(PragueState):
    account_db_class = JournaledAccounts

    def set_system_contracts(self) -> None:
        """Do nothing: there is no beacon chain whose roots a contract could keep."""

    def validate_transaction(self, transaction: Any) -> None:
        """Do nothing: the chain has."""


class PyEvm:
    """The EVM of the Ethereum Foundation's Python client."""

    name = f"py-evm/{version('py-evm')}"

    def execute(self, block: BlockContext, state: State, message: Message) -> Outcome:
        """Run a message; one whose calls nest deeper than Python does is refused."""
        context = ExecutionContext(
            coinbase=Address(block.beneficiary),
            timestamp=block.time,
            block_number=BlockNumber(block.number),
            difficulty=0,
            mix_hash=Hash32(block.randomness),
            gas_limit=block.gas_limit,
            prev_hashes=_hashes_before(block.number, state),
            chain_id=block.chain_id,
            base_fee_per_gas=block.base_fee,
            excess_blob_gas=0,
        )
        running = _State(cast(Any, state), context, Hash32(bytes(32)))
        transaction = _transaction(message)
        try:
            computation = running.apply_transaction(cast(Any, transaction))
        except RecursionError:
            refuse("max call depth exceeded: contracts call one another deeper than the embedded EVM goes")
        accounts = cast(JournaledAccounts, running._account_db)
        return _outcome(transaction, computation, accounts.changes())


def _transaction(message: Message) -> _Transaction:
    return _Transaction(
        Address(message.sender),
        CREATE_CONTRACT_ADDRESS if message.to is None else Address(message.to),
        message.value,
        message.data,
        message.gas,
        message.intrinsic_gas,
        message.nonce,
        message.max_fee,
        message.max_tip,
        message.access_list,
    )


def _outcome(transaction: _Transaction, computation: ComputationAPI, changes: Changes) -> Outcome:
    spent = transaction.gas - computation.get_gas_remaining()
    refund = PragueTransactionExecutor.calculate_gas_refund(computation, spent)
    # EIP-7623: what is missing to the price of the calldata alone.
    used = spent - refund + computation.data_floor_gas
    failed = computation.is_error
    logs = () if failed else tuple(map(_log, computation.get_log_entries()))
    created = computation.msg.storage_address if computation.msg.is_create and not failed else None
    return Outcome(
        gas_used=used,
        gas_spent=max(spent, used),
        failure=_failure(computation),
        reverted=failed and isinstance(computation.error, Revert),
        output=computation.output,
        logs=logs,
        created=created,
        changes=changes,
    )


def _failure(computation: ComputationAPI) -> str:
    if not computation.is_error:
        return ""
    error = computation.error
    if isinstance(error, Revert):
        return "execution reverted"
    return next(
        (name for kind, name in _NAMES if isinstance(error, kind)), str(error) or type(error).__name__
    )


def _log(entry: tuple[bytes, tuple[int, ...], bytes]) -> Log:
    address, topics, data = entry
    return Log(address, tuple(topic.to_bytes(32, "big") for topic in topics), data)


def _hashes_before(number: int, state: State) -> Iterator[Hash32]:
    """Yield the hashes of the blocks before this one, newest first, as far as BLOCKHASH sees."""
    for earlier in range(number - 1, max(-1, number - 1 - _BLOCK_HASHES), -1):
        found = state.block_hash(earlier)
        if found is None:
            return
        yield Hash32(found)
