"""Signed transactions as they arrive: legacy with EIP-155, EIP-2930 and EIP-1559; who signed, and what gas they owe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import rlp

from farlane.errors import InvalidSignature
from farlane.ledger.accounts import recover_bytes
from farlane.ledger.embedded.evm import AccessList
from farlane.ledger.embedded.refusals import refuse
from farlane.ledger.keccak import keccak256

LEGACY, WITH_ACCESS_LIST, WITH_TIP = 0, 1, 2
MAX_RAW_BYTES = 128 << 10
"""Source: go-ethereum, core/txpool, txMaxSize."""
MAX_INIT_CODE_BYTES = 49152
"""Source: EIP-3860."""
_FIELDS = {LEGACY: 9, WITH_ACCESS_LIST: 11, WITH_TIP: 12}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A transaction whose signature fits. Fees in wei per gas; legacy ones have max_tip equal to max_fee."""

    kind: int
    chain_id: int
    nonce: int
    max_tip: int
    max_fee: int
    gas: int
    to: bytes | None
    value: int
    data: bytes
    access_list: AccessList
    parity: int
    r: int
    s: int
    sender: bytes
    raw: bytes
    hash: bytes

    def price_at(self, base_fee: int) -> int:
        """Return what it pays per gas. Source: EIP-1559."""
        return min(self.max_fee, base_fee + self.max_tip)


def open_envelope(raw: bytes, chain_id: int) -> Envelope:
    """Read a signed transaction for this chain.

    Source: EIP-155, EIP-2718, EIP-2930, EIP-1559.

    Raises:
        RpcRefused: it is none, of another kind or chain, or its signature proves nothing.
    """
    if len(raw) > MAX_RAW_BYTES:
        refuse(f"oversized data: transaction size {len(raw)}, limit {MAX_RAW_BYTES}")
    kind = raw[0] if raw and raw[0] < 0xC0 else LEGACY
    if kind not in _FIELDS or raw[:1] == b"\0":
        refuse("transaction type not supported")
    fields = _decoded(raw if kind == LEGACY else raw[1:], _FIELDS[kind])
    try:
        return _legacy(raw, fields, chain_id) if kind == LEGACY else _typed(raw, kind, fields, chain_id)
    except InvalidSignature as error:
        refuse(f"invalid sender: {error.message}")


def _decoded(body: bytes, count: int) -> list[Any]:
    try:
        fields = rlp.decode(body, strict=True)
    except (rlp.DecodingError, RecursionError) as error:
        refuse(f"rlp: {error}")
    if not isinstance(fields, list) or len(fields) != count:
        refuse(f"rlp: a transaction of this type has {count} fields")
    return fields


def _number(field: Any, bits: int = 256) -> int:
    if not isinstance(field, bytes) or len(field) > bits // 8 or field[:1] == b"\0":
        refuse(f"rlp: expected an integer of at most {bits} bits without leading zeros")
    return int.from_bytes(field, "big")


def _recipient(field: Any) -> bytes | None:
    if not isinstance(field, bytes) or len(field) not in (0, 20):
        refuse("rlp: a recipient has 20 bytes, or none for a new contract")
    return field or None


def _bytes(field: Any) -> bytes:
    if not isinstance(field, bytes):
        refuse("rlp: expected input bytes")
    return field


def _access_list(field: Any) -> AccessList:
    fits = isinstance(field, list) and all(
        isinstance(entry, list)
        and len(entry) == 2
        and isinstance(entry[0], bytes)
        and len(entry[0]) == 20
        and isinstance(entry[1], list)
        and all(isinstance(key, bytes) and len(key) == 32 for key in entry[1])
        for entry in field
    )
    if not fits:
        refuse("rlp: the access list is not one of addresses with storage keys")
    return tuple((address, tuple(int.from_bytes(key, "big") for key in keys)) for address, keys in field)


def _legacy(raw: bytes, fields: list[Any], chain_id: int) -> Envelope:
    nonce, price, gas = (_number(field, 64 if place != 1 else 256) for place, field in enumerate(fields[:3]))
    v, r, s = (_number(field) for field in fields[6:])
    if v in (27, 28):
        refuse("only replay-protected (EIP-155) transactions allowed over RPC")
    signed_for, parity = divmod(v - 35, 2)
    _check_chain(signed_for, chain_id)
    digest = keccak256(rlp.encode([*fields[:6], chain_id, b"", b""]))
    sender = _sender(digest, parity, r, s)
    to, value, data = _recipient(fields[3]), _number(fields[4]), _bytes(fields[5])
    return Envelope(
        LEGACY,
        chain_id,
        nonce,
        price,
        price,
        gas,
        to,
        value,
        data,
        (),
        parity,
        r,
        s,
        sender,
        raw,
        keccak256(raw),
    )


def _typed(raw: bytes, kind: int, fields: list[Any], chain_id: int) -> Envelope:
    signed_for, nonce = _number(fields[0]), _number(fields[1], 64)
    _check_chain(signed_for, chain_id)
    tip = _number(fields[2])
    fee = _number(fields[3]) if kind == WITH_TIP else tip
    gas, to, value, data, access = fields[-8:-3]
    parity, r, s = (_number(field) for field in fields[-3:])
    if parity > 1:
        refuse("invalid transaction v, r, s values")
    if tip > fee:
        refuse(
            "max priority fee per gas higher than max fee per gas: "
            f"maxPriorityFeePerGas: {tip}, maxFeePerGas: {fee}"
        )
    sender = _sender(keccak256(raw[:1] + rlp.encode(fields[:-3])), parity, r, s)
    return Envelope(
        kind,
        chain_id,
        nonce,
        tip,
        fee,
        _number(gas, 64),
        _recipient(to),
        _number(value),
        _bytes(data),
        _access_list(access),
        parity,
        r,
        s,
        sender,
        raw,
        keccak256(raw),
    )


def _check_chain(signed_for: int, chain_id: int) -> None:
    if signed_for != chain_id:
        refuse(f"invalid chain id for signer: have {signed_for} want {chain_id}")


def _sender(digest: bytes, parity: int, r: int, s: int) -> bytes:
    return recover_bytes(digest, r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((27 + parity,)))


def intrinsic_gas(
    to: bytes | None, data: bytes, access_list: Sequence[tuple[bytes, Sequence[int]]] = ()
) -> int:
    """Return the gas a transaction owes before its first instruction.

    Source: EIP-2028 (bytes), EIP-2 and EIP-3860 (creation), EIP-2930 (access lists).
    """
    gas = 21_000 + 4 * data.count(0) + 16 * (len(data) - data.count(0))
    if to is None:
        gas += 32_000 + 2 * -(-len(data) // 32)
    return gas + sum(2_400 + 1_900 * len(slots) for _, slots in access_list)


def floor_gas(data: bytes) -> int:
    """Return the least a transaction with this calldata pays. Source: EIP-7623."""
    return 21_000 + 10 * (data.count(0) + 4 * (len(data) - data.count(0)))
