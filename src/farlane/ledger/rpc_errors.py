"""What a chain answers instead of a result, as one of our own errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

from farlane.errors import (
    ChainUnavailable,
    FarlaneError,
    InsufficientFunds,
    Reverted,
    RpcRefused,
)
from farlane.ledger import abi

MAX_MESSAGE_CHARACTERS = 500


class RefusalReason(StrEnum):
    """Why a chain refuses."""

    NONCE_TOO_LOW = "nonce too low"
    NONCE_TOO_HIGH = "nonce too high"
    ALREADY_KNOWN = "already known"
    UNDERPRICED = "underpriced"
    GAS_LIMIT = "gas limit"
    UNKNOWN_METHOD = "unknown method"
    OTHER = "other"


# The words of geth, anvil, besu, nethermind, erigon and reth, in the order in which they are tried.
_REASONS: Sequence[tuple[str, RefusalReason]] = (
    (r"already known|already imported|alreadyknown|known transaction", RefusalReason.ALREADY_KNOWN),
    (r"nonce.{0,20}too low|oldnonce|invalid nonce|nonce too small", RefusalReason.NONCE_TOO_LOW),
    (r"nonce.{0,20}too high|noncegap|nonce gap|nonce too distant", RefusalReason.NONCE_TOO_HIGH),
    (r"underpriced|fee per gas less than|fee too low|feetoolow", RefusalReason.UNDERPRICED),
    (r"intrinsic gas|block gas limit|gas required exceeds|out of gas|oversized", RefusalReason.GAS_LIMIT),
)
_REVERTED_CODE = 3  # Source: go-ethereum, internal/ethapi/errors.go
_LIMIT_CODES = (-32005, 429)  # Source: EIP-1474, "limit exceeded"
_UNKNOWN_METHOD_CODE = -32601  # Source: JSON-RPC 2.0, section 5.1
_BEHIND = ("header not found", "unknown block", "missing trie node")


def refusal(method: str, error: object, endpoint: str = "the chain's endpoint") -> FarlaneError:
    """Return what the `error` member of a JSON-RPC answer means.

    Args:
        method: what had been called.
        error: the member; a well-behaved chain gives code, message and sometimes data.
        endpoint: the chain's name for messages.
    """
    if not isinstance(error, Mapping):
        return ChainUnavailable(f"{endpoint} refuses {method} without a reason")
    code, text = error.get("code"), str(error.get("message", ""))[:MAX_MESSAGE_CHARACTERS]
    lower, data = text.lower(), _revert_data(error.get("data"))
    if code == _REVERTED_CODE or "revert" in lower or len(data) >= 4:
        return _reverted(method, text, data)
    if "insufficient" in lower and ("fund" in lower or "balance" in lower):
        return InsufficientFunds(
            f"the sender cannot pay for {method}: {text}. Send that account coin for gas first",
            rpc_message=text,
        )
    if code in _LIMIT_CODES or "too many requests" in lower or "rate limit" in lower:
        return ChainUnavailable(
            f"{endpoint} is asked too much at once: {text}. Wait, or use another endpoint"
        )
    if any(words in lower for words in _BEHIND):
        return ChainUnavailable(f"{endpoint} is behind: {text}. Wait, or use another endpoint")
    return RpcRefused(
        f"{endpoint} refuses {method}: {text}", code=code, rpc_message=text, reason=_reason(code, lower)
    )


def _reason(code: object, lower: str) -> RefusalReason:
    if code == _UNKNOWN_METHOD_CODE:
        return RefusalReason.UNKNOWN_METHOD
    return next((reason for words, reason in _REASONS if re.search(words, lower)), RefusalReason.OTHER)


def _reverted(method: str, text: str, data: bytes) -> Reverted:
    known = abi.decode_error(data) if data else None
    name, arguments = known or ("", ())
    shown = abi.error_text(name, arguments) if name else text or "without a reason"
    return Reverted(
        f"the contract refuses {method}: {shown}",
        error=name,
        arguments=[str(each) for each in arguments],
        data="0x" + data.hex(),
    )


def _revert_data(data: object) -> bytes:
    if isinstance(data, Mapping):  # some endpoints nest it
        data = data.get("data")
    if not isinstance(data, str):
        return b""
    try:
        return bytes.fromhex(data.removeprefix("Reverted ").removeprefix("0x"))
    except ValueError:
        return b""
