"""Publishers of models sign with their Ethereum account: the signer and the check that `farlane.models` asks for."""

from __future__ import annotations

from farlane.ledger.accounts import PrivateKey, recover
from farlane.ledger.keccak import keccak256


class AccountSigner:
    """Signs texts as a wallet does.

    Args:
        key: the account's.
    """

    def __init__(self, key: PrivateKey) -> None:
        self._key = key

    @property
    def address(self) -> str:
        """The account."""
        return self._key.address

    def sign_text(self, text: str) -> bytes:
        """Return 65 bytes r || s || v over a text."""
        return self._key.sign(text_digest(text))


def recover_text(text: str, signature: bytes) -> str:
    """Return the account that signed a text.

    Raises:
        InvalidSignature: none did.
    """
    return recover(text_digest(text), signature)


def text_digest(text: str) -> bytes:
    """Return the 32 bytes that are signed for a text.

    Source: EIP-191, version 0x45 (personal_sign).
    """
    raw = text.encode()
    return keccak256(b"\x19Ethereum Signed Message:\n" + str(len(raw)).encode() + raw)
