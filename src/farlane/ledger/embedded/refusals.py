"""What the embedded chain refuses, in the words and codes of go-ethereum, so that every client understands."""

from __future__ import annotations

from typing import NoReturn

from farlane.errors import RpcRefused

SERVER_ERROR = -32000
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
UNKNOWN_METHOD = -32601
INVALID_PARAMS = -32602
INTERNAL = -32603
LIMIT_EXCEEDED = -32005
REVERTED = 3
"""Source: JSON-RPC 2.0, section 5.1; EIP-1474; go-ethereum, internal/ethapi/errors.go."""


def refuse(message: str, code: int = SERVER_ERROR, data: str | None = None) -> NoReturn:
    """Refuse a call.

    Raises:
        RpcRefused: always; facts code, rpc_message and data are what the caller is answered.
    """
    raise RpcRefused(f"the embedded chain refuses: {message}", code=code, rpc_message=message, data=data)
