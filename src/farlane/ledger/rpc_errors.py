"""What a chain answers instead of a result, as one of our own errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from farlane.errors import (
    ChainUnavailable,
    Conflict,
    FarlaneError,
    InsufficientFunds,
    InvalidInput,
    Reverted,
)
from farlane.ledger.abi import decode_error

MAX_MESSAGE_CHARACTERS = 500


class RefusalReason(StrEnum):
    """Why a chain did not take a transaction; fact `reason` of `Conflict`."""

    NONCE_TOO_LOW = "nonce too low"
    NONCE_TOO_HIGH = "nonce too high"
    ALREADY_KNOWN = "already known"
    UNDERPRICED = "underpriced"
    GAS_LIMIT = "gas limit"
    OTHER = "other"


# The words of geth, anvil, besu, nethermind, erigon and reth, in the order in which they are tried.
_REASONS: Sequence[tuple[str, RefusalReason]] = (
    (r"already known|already imported|alreadyknown|known transaction", RefusalReason.ALREADY_KNOWN),
    (r"nonce.{0,20}too low|oldnonce|nonce too small", RefusalReason.NONCE_TOO_LOW),
    (r"nonce.{0,20}too high|noncegap|nonce gap|nonce too distant", RefusalReason.NONCE_TOO_HIGH),
    (r"underpriced|fee per gas less than|fee too low|feetoolow", RefusalReason.UNDERPRICED),
    (
        r"intrinsic gas|exceeds block gas limit|gas required exceeds|gas limit|out of gas|oversized",
        RefusalReason.GAS_LIMIT,
    ),
)
_REVERTED_CODE = 3  # Source: go-ethereum, internal/ethapi/errors.go
_LIMIT_CODES = (-32005, 429)  # Source: EIP-1474, "limit exceeded"
_REQUEST_CODES = (-32700, -32600, -32601, -32602, -32604)  # Source: JSON-RPC 2.0 and EIP-1474


def error_from_answer(
    error: object, method: str, endpoint: str, abi: Sequence[Mapping[str, Any]]
) -> FarlaneError:
    """Return our error for the `error` member of a JSON-RPC answer.

    Args:
        error: the member; a well-behaved chain gives code, message and sometimes data.
        method: what had been called.
        endpoint: the chain's name for messages.
        abi: the custom errors known so far.
    """
    fields = error if isinstance(error, Mapping) else {"message": str(error)}
    code, text = fields.get("code"), str(fields.get("message", ""))[:MAX_MESSAGE_CHARACTERS]
    facts = {"code": code, "rpc_message": text, "endpoint": endpoint}
    lower = text.lower()
    data = _revert_data(fields.get("data"))
    if code == _REVERTED_CODE or "revert" in lower or (data and method in ("eth_call", "eth_estimateGas")):
        return _reverted(method, text, data, abi, facts)
    if "insufficient" in lower and ("fund" in lower or "balance" in lower):
        return InsufficientFunds(
            f"the sender cannot pay for {method}: {text}. Send coin for gas to that account first", **facts
        )
    if code in _LIMIT_CODES or "too many requests" in lower or "rate limit" in lower:
        return ChainUnavailable(
            f"the chain at {endpoint} asks to be called less often: {text}. Wait, or use another endpoint",
            **facts,
        )
    if code in _REQUEST_CODES:
        return InvalidInput(f"the chain at {endpoint} cannot serve {method}: {text} (code {code})", **facts)
    reason = next((reason for words, reason in _REASONS if re.search(words, lower)), RefusalReason.OTHER)
    return Conflict(f"the chain at {endpoint} refused {method}: {text}", reason=reason, **facts)


def _reverted(
    method: str, text: str, data: bytes, abi: Sequence[Mapping[str, Any]], facts: Mapping[str, object]
) -> Reverted:
    name, args = decode_error(abi, data) if data else ("", ())
    shown = f"{name}({', '.join(_shown(arg) for arg in args)})" if name else text or "without a reason"
    return Reverted(
        f"the contract refused {method}: {shown}", error=name, args=args, data="0x" + data.hex(), **facts
    )


def _shown(value: object) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)


def _revert_data(data: object) -> bytes:
    if isinstance(data, Mapping):  # some nodes wrap it
        data = data.get("data")
    if not isinstance(data, str):
        return b""
    try:
        return bytes.fromhex(data.removeprefix("Reverted ").removeprefix("0x"))
    except ValueError:
        return b""
