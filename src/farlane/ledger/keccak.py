"""Keccak-256 as Ethereum uses it: the padding of before the SHA-3 standard, which hashlib does not offer."""

from __future__ import annotations

from Crypto.Hash import keccak


def keccak256(data: bytes) -> bytes:
    """Return the 32-byte Keccak-256 digest.

    Source: Keccak submission, rate 1088, as in the Ethereum yellow paper, appendix on notation.
    """
    return keccak.new(digest_bits=256, data=data).digest()
