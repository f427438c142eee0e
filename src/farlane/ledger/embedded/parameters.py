"""Parameters of JSON-RPC methods: quantities, bytes, addresses, blocks and calls, or why they are none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from farlane.ledger.embedded.chain import Chain
from farlane.ledger.embedded.evm import AccessList
from farlane.ledger.embedded.refusals import INVALID_PARAMS, refuse

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_BYTES = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_HEAD_TAGS = ("latest", "pending", "safe", "finalized")


def wrong(what: str) -> Any:
    """Refuse a parameter; raises RpcRefused."""
    refuse(f"invalid argument: {what}", INVALID_PARAMS)


def quantity(value: Any) -> int:
    """Read a number."""
    if isinstance(value, str) and _QUANTITY.fullmatch(value):
        return int(value, 16)
    return int(wrong(f"expected a quantity such as 0x1f, not {str(value)[:80]!r}"))


def data(value: Any, size: int | None = None) -> bytes:
    """Read bytes, `size` of them."""
    if isinstance(value, str) and _BYTES.fullmatch(value) and size in (None, len(value) // 2 - 1):
        return bytes.fromhex(value[2:])
    wanted = "hex data" if size is None else f"hex data of {size} bytes"
    return bytes(wrong(f"expected {wanted} with 0x before it, not {str(value)[:80]!r}"))


def address(value: Any) -> bytes:
    """Read an address."""
    return data(value, 20)


def block_number(value: Any, chain: Chain) -> int:
    """Read a block by number, tag, or EIP-1898 object; one that is not there yet has its number all the same."""
    if value is None or value in _HEAD_TAGS:
        return chain.head.number
    if value == "earliest":
        return 0
    if isinstance(value, Mapping):
        if "blockHash" not in value:
            return quantity(value.get("blockNumber"))
        found = chain.file.block_number(data(value["blockHash"], 32))
        return refuse("header not found") if found is None else found
    return quantity(value)


def state_of(value: Any, chain: Chain) -> None:
    """Check that the state of a block is at hand: only the head's is kept.

    Raises:
        RpcRefused: another block.
    """
    number = block_number(value, chain)
    if number > chain.head.number:
        refuse("header not found")
    # A head that moved on while somebody asked about it answers for the block before: its caller wants the newest.
    if number != chain.head.number:
        refuse(
            f"historical state of block {number} is not available: the embedded chain keeps the newest, "
            f"{chain.head.number}; read events (eth_getLogs) for what was before"
        )


def access_list(value: Any) -> AccessList:
    """Read an EIP-2930 list."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        wrong("expected an access list")
    return tuple(
        (
            address(entry.get("address")),
            tuple(int.from_bytes(data(key, 32), "big") for key in entry.get("storageKeys") or ()),
        )
        for entry in value
    )
