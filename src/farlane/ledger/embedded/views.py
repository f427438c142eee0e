"""Blocks, transactions, receipts and logs as JSON-RPC shows them."""

from __future__ import annotations

from typing import Any

from farlane.ledger.accounts import address_from_bytes
from farlane.ledger.embedded.blocks import BENEFICIARY, EMPTY_LIST_HASH, NO_REQUESTS, bloom_of
from farlane.ledger.embedded.chain_file import Block, FoundLog, Mined
from farlane.ledger.embedded.envelope import LEGACY, WITH_TIP, Envelope
from farlane.ledger.embedded.evm import Log
from farlane.ledger.rpc import hexed

Json = dict[str, Any]


def word(number: int) -> str:
    """Return a storage word: 32 bytes."""
    return f"0x{number:064x}"


def block_view(block: Block, transactions: list[Any]) -> Json:
    """Return a block; `transactions` are hashes or whole views."""
    header, paid = block.header, block.withdrawal
    withdrawals = []
    if paid is not None:
        withdrawals.append(
            {
                "index": hex(paid.index),
                "validatorIndex": "0x0",
                "address": address_from_bytes(paid.address).lower(),
                "amount": hex(paid.gwei),
            }
        )
    return {
        "number": hex(header.number),
        "hash": hexed(block.hash),
        "parentHash": hexed(header.parent),
        "nonce": hexed(bytes(8)),
        "mixHash": hexed(header.parent),
        "sha3Uncles": hexed(EMPTY_LIST_HASH),
        "logsBloom": hexed(header.bloom),
        "transactionsRoot": hexed(header.transactions),
        "stateRoot": hexed(header.state),
        "receiptsRoot": hexed(header.receipts),
        "withdrawalsRoot": hexed(header.withdrawals),
        "miner": hexed(BENEFICIARY),
        "difficulty": "0x0",
        "totalDifficulty": "0x0",
        "extraData": "0x",
        "size": hex(len(header.encode())),
        "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used),
        "timestamp": hex(header.time),
        "baseFeePerGas": hex(header.base_fee),
        "blobGasUsed": "0x0",
        "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": hexed(bytes(32)),
        "requestsHash": hexed(NO_REQUESTS),
        "transactions": transactions,
        "withdrawals": withdrawals,
        "uncles": [],
    }


def transaction_view(signed: Envelope, block: Block) -> Json:
    """Return a transaction with its place."""
    view: Json = {
        "type": hex(signed.kind),
        "hash": hexed(signed.hash),
        "nonce": hex(signed.nonce),
        "from": hexed(signed.sender),
        "to": None if signed.to is None else hexed(signed.to),
        "value": hex(signed.value),
        "input": hexed(signed.data),
        "gas": hex(signed.gas),
        "gasPrice": hex(signed.price_at(block.header.base_fee)),
        "chainId": hex(signed.chain_id),
        "v": hex(signed.parity + 35 + 2 * signed.chain_id if signed.kind == LEGACY else signed.parity),
        "r": hex(signed.r),
        "s": hex(signed.s),
        "blockHash": hexed(block.hash),
        "blockNumber": hex(block.number),
        "transactionIndex": "0x0",
    }
    if signed.kind != LEGACY:
        view["yParity"] = hex(signed.parity)
        view["accessList"] = [
            {"address": hexed(address), "storageKeys": [word(number) for number in numbers]}
            for address, numbers in signed.access_list
        ]
    if signed.kind == WITH_TIP:
        view |= {"maxFeePerGas": hex(signed.max_fee), "maxPriorityFeePerGas": hex(signed.max_tip)}
    return view


def receipt_view(signed: Envelope, mined: Mined, block: Block, logs: tuple[Log, ...]) -> Json:
    """Return a transaction's receipt."""
    return {
        "type": hex(signed.kind),
        "status": "0x1" if mined.succeeded else "0x0",
        "transactionHash": hexed(signed.hash),
        "transactionIndex": "0x0",
        "blockHash": hexed(block.hash),
        "blockNumber": hex(block.number),
        "from": hexed(signed.sender),
        "to": None if signed.to is None else hexed(signed.to),
        "contractAddress": None if mined.created is None else hexed(mined.created),
        "gasUsed": hex(block.header.gas_used),
        "cumulativeGasUsed": hex(block.header.gas_used),
        "effectiveGasPrice": hex(signed.price_at(block.header.base_fee)),
        "logsBloom": hexed(bloom_of(logs)),
        "logs": [
            log_view(FoundLog(block.number, position, log), block, signed.hash)
            for position, log in enumerate(logs)
        ],
    }


def log_view(found: FoundLog, block: Block, transaction: bytes) -> Json:
    """Return a log with its place."""
    return {
        "address": hexed(found.log.address),
        "topics": [hexed(topic) for topic in found.log.topics],
        "data": hexed(found.log.data),
        "blockHash": hexed(block.hash),
        "blockNumber": hex(found.block),
        "blockTimestamp": hex(block.header.time),
        "transactionHash": hexed(transaction),
        "transactionIndex": "0x0",
        "logIndex": hex(found.position),
        "removed": False,
    }
