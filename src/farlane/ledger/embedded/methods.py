"""The JSON-RPC methods of the embedded chain, each from its parameters to its result."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from farlane.errors import DiskFull, Unavailable
from farlane.ledger.embedded import parameters as read
from farlane.ledger.embedded.chain import BASE_FEE, Call, Chain, check_outcome
from farlane.ledger.embedded.chain_file import Block
from farlane.ledger.embedded.envelope import open_envelope
from farlane.ledger.embedded.evm import EMPTY_CODE_HASH, Account
from farlane.ledger.embedded.refusals import INVALID_PARAMS, UNKNOWN_METHOD, refuse
from farlane.ledger.embedded.views import Json, block_view, log_view, receipt_view, transaction_view, word
from farlane.ledger.rpc import hexed

MAX_LOGS = 10_000
"""Logs in one answer; whoever wants more asks for fewer blocks."""
MAX_LOG_FILTERS = 1_000
MAX_FEE_BLOCKS = 1_024
"""Source: go-ethereum, eth/gasprice, maxBlockFetchers."""

Method = Callable[[Chain, Sequence[Any]], Any]
log = logging.getLogger(__name__)


def call(chain: Chain, method: str, given: Sequence[Any], testing: bool) -> Any:
    """Return the result of a method.

    Args:
        chain: asked.
        method: its name.
        given: parameters in order; those left out are None.
        testing: also take the methods that move time.

    Raises:
        RpcRefused: no such method, wrong parameters, or the chain refuses.
        FarlaneError: as `Chain`.
    """
    found = METHODS.get(method) or (TEST_METHODS.get(method) if testing else None)
    if found is None:
        refuse(f"the method {method[:80]} does not exist/is not available", UNKNOWN_METHOD)
    return found(chain, [*given, *[None] * 4])


def _head(chain: Chain) -> Block:
    # A disk that is full must not stop anybody from reading.
    with contextlib.suppress(DiskFull, Unavailable):
        chain.keep_up()
    return chain.head


def _account(chain: Chain, given: Sequence[Any]) -> Account:
    address = read.address(given[0])
    read.state_of(given[1], chain)
    return chain.file.account(address) or Account()


def _code(chain: Chain, given: Sequence[Any]) -> str:
    account = _account(chain, given)
    return "0x" if account.code_hash == EMPTY_CODE_HASH else hexed(chain.file.code(account.code_hash))


def _storage(chain: Chain, given: Sequence[Any]) -> str:
    read.state_of(given[2], chain)
    return word(chain.file.slot(read.address(given[0]), read.quantity(given[1])))


def _wanted(given: Any) -> Call:
    if not isinstance(given, Mapping):
        read.wrong("expected a call object")
    data, to, gas = given.get("input") or given.get("data") or "0x", given.get("to"), given.get("gas")
    return Call(
        read.address(given["from"]) if given.get("from") else bytes(20),
        read.address(to) if to else None,
        read.quantity(given.get("value") or "0x0"),
        read.data(data),
        read.quantity(gas) if gas else None,
        read.access_list(given.get("accessList")),
    )


def _no_overrides(given: Sequence[Any]) -> None:
    if any(given[2:4]):
        refuse("state and block overrides are not supported", INVALID_PARAMS)


def _call(chain: Chain, given: Sequence[Any]) -> str:
    _no_overrides(given)
    read.state_of(given[1], chain)
    outcome = chain.call(_wanted(given[0]))
    check_outcome(outcome)
    return hexed(outcome.output)


def _estimate(chain: Chain, given: Sequence[Any]) -> str:
    _no_overrides(given)
    read.state_of(given[1], chain)
    return hex(chain.estimate(_wanted(given[0])))


def _block_by_number(chain: Chain, given: Sequence[Any]) -> Json | None:
    _head(chain)
    return _block(chain, read.block_number(given[0], chain), bool(given[1]))


def _block_by_hash(chain: Chain, given: Sequence[Any]) -> Json | None:
    number = chain.file.block_number(read.data(given[0], 32))
    return None if number is None else _block(chain, number, bool(given[1]))


def _block(chain: Chain, number: int, whole: bool) -> Json | None:
    block = chain.file.block(number) if number <= chain.head.number else None
    if block is None:
        return None
    mined = chain.file.transaction_in(number)
    if mined is None:
        return block_view(block, [])
    signed = open_envelope(mined.raw, chain.file.chain_id)
    return block_view(block, [transaction_view(signed, block) if whole else hexed(signed.hash)])


def _transaction(chain: Chain, given: Sequence[Any]) -> Json | None:
    mined = chain.file.transaction(read.data(given[0], 32))
    block = None if mined is None else chain.file.block(mined.block)
    if mined is None or block is None:
        return None
    return transaction_view(open_envelope(mined.raw, chain.file.chain_id), block)


def _receipt(chain: Chain, given: Sequence[Any]) -> Json | None:
    mined = chain.file.transaction(read.data(given[0], 32))
    block = None if mined is None else chain.file.block(mined.block)
    if mined is None or block is None:
        return None
    signed = open_envelope(mined.raw, chain.file.chain_id)
    return receipt_view(signed, mined, block, chain.file.logs_in(mined.block))


def _logs(chain: Chain, given: Sequence[Any]) -> list[Json]:
    wanted = given[0]
    if not isinstance(wanted, Mapping):
        read.wrong("expected a filter object")
    if wanted.get("blockHash") is not None:
        first = last = read.block_number({"blockHash": wanted["blockHash"]}, chain)
    else:
        first = read.block_number(wanted.get("fromBlock"), chain)
        last = min(read.block_number(wanted.get("toBlock"), chain), chain.head.number)
    if first > last + 1:
        refuse("invalid block range params", INVALID_PARAMS)
    found = chain.file.logs(first, last, _any_of(wanted.get("address"), 20), _topics(wanted), MAX_LOGS + 1)
    if len(found) > MAX_LOGS:
        end = max(first, found[-1].block - 1)
        refuse(f"query exceeds max results {MAX_LOGS}, retry with the range {first}-{end}", INVALID_PARAMS)
    places = {number: _place(chain, number) for number in {each.block for each in found}}
    return [log_view(each, *places[each.block]) for each in found]


def _place(chain: Chain, number: int) -> tuple[Block, bytes]:
    block, mined = chain.file.block(number), chain.file.transaction_in(number)
    if block is None or mined is None:
        refuse(f"block {number} has logs but no transaction")
    return block, open_envelope(mined.raw, chain.file.chain_id).hash


def _any_of(value: Any, size: int) -> list[bytes]:
    if value is None:
        return []
    many = value if isinstance(value, list) else [value]
    if len(many) > MAX_LOG_FILTERS:
        refuse(f"exceed max addresses or topics: {len(many)}, limit {MAX_LOG_FILTERS}", INVALID_PARAMS)
    return [read.data(each, size) for each in many]


def _topics(wanted: Mapping[str, Any]) -> list[list[bytes]]:
    topics = wanted.get("topics") or []
    if not isinstance(topics, list) or len(topics) > 4:
        read.wrong("expected at most four topics")
    return [_any_of(each, 32) for each in topics]


def _fee_history(chain: Chain, given: Sequence[Any]) -> Json:
    count = given[0] if type(given[0]) is int else read.quantity(given[0])
    newest = min(read.block_number(given[1], chain), chain.head.number)
    blocks = chain.file.blocks(max(0, newest - min(count, MAX_FEE_BLOCKS) + 1), newest) if count > 0 else []
    history: Json = {
        "oldestBlock": hex(blocks[0].number if blocks else newest),
        "baseFeePerGas": [hex(BASE_FEE)] * (len(blocks) + 1),
        "gasUsedRatio": [block.header.gas_used / block.header.gas_limit for block in blocks],
        "baseFeePerBlobGas": ["0x1"] * (len(blocks) + 1),
        "blobGasUsedRatio": [0.0] * len(blocks),
    }
    if isinstance(given[2], list):
        history["reward"] = [["0x0"] * len(given[2])] * len(blocks)
    return history


def _more_time(chain: Chain, given: Sequence[Any]) -> str:
    chain.offset_s += given[0] if type(given[0]) is int else read.quantity(given[0])
    return hex(chain.offset_s)


def _mine(chain: Chain, given: Sequence[Any]) -> str:
    chain.mine()
    return "0x0"


METHODS: Mapping[str, Method] = {
    "eth_chainId": lambda chain, _: hex(chain.file.chain_id),
    "net_version": lambda chain, _: str(chain.file.chain_id),
    "web3_clientVersion": lambda chain, _: f"farlane-embedded/{chain.evm().name}",
    "eth_syncing": lambda *_: False,
    "eth_accounts": lambda *_: [],
    "eth_gasPrice": lambda *_: hex(BASE_FEE),
    "eth_maxPriorityFeePerGas": lambda *_: "0x0",
    "eth_feeHistory": _fee_history,
    "eth_blockNumber": lambda chain, _: hex(_head(chain).number),
    "eth_getBlockByNumber": _block_by_number,
    "eth_getBlockByHash": _block_by_hash,
    "eth_getBalance": lambda chain, given: hex(_account(chain, given).balance),
    "eth_getTransactionCount": lambda chain, given: hex(_account(chain, given).nonce),
    "eth_getCode": _code,
    "eth_getStorageAt": _storage,
    "eth_call": _call,
    "eth_estimateGas": _estimate,
    "eth_sendRawTransaction": lambda chain, given: hexed(chain.submit(read.data(given[0]))),
    "eth_getTransactionByHash": _transaction,
    "eth_getTransactionReceipt": _receipt,
    "eth_getLogs": _logs,
}
TEST_METHODS: Mapping[str, Method] = {"evm_increaseTime": _more_time, "evm_mine": _mine}
"""Only where the chain was opened for tests: time is what close windows rest on."""
