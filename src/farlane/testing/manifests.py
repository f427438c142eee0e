"""Builders of manifests, and a signer for tests that needs no account."""

from __future__ import annotations

import hashlib
from typing import Any

from farlane.errors import InvalidSignature
from farlane.kit.hashing import sha256
from farlane.models.cid import Cid
from farlane.models.manifest.values import Manifest, ModelFile


def model_file(path: str = "model.safetensors", data: bytes = b"weights", **changes: Any) -> ModelFile:
    """Return a file with some content."""
    raw = Cid(1, 0x55, sha256(data))
    known: dict[str, Any] = {
        "path": path, "cid": raw, "ipfs_cid": raw, "sha256": sha256(data), "size": len(data), "format": "plain",
    }  # fmt: skip
    return ModelFile(**known | changes)


def small_manifest(**changes: Any) -> Manifest:
    """Return a manifest of one file."""
    known: dict[str, Any] = {
        "name": "lab/mini", "root": Cid(1, 0x70, sha256(b"root")), "files": (model_file(),), "format": "safetensors",
    }  # fmt: skip
    return Manifest(**known | changes)


class KeyedHashSigner:
    """Signs with a keyed hash: 65 bytes that only `recover` of this class understands."""

    def __init__(self, address: str) -> None:
        self.address = address

    def sign_text(self, text: str) -> bytes:
        """Return the address and a hash of it and the text."""
        return self.address.encode().ljust(33, b"\0")[:33] + _tag(self.address, text)

    @staticmethod
    def recover(text: str, signature: bytes) -> str:
        """Return who signed.

        Raises:
            InvalidSignature: nobody.
        """
        address = signature[:33].rstrip(b"\0").decode()
        if signature[33:] != _tag(address, text):
            raise InvalidSignature("the signature belongs to no key")
        return address


def _tag(address: str, text: str) -> bytes:
    return hashlib.sha256(f"{address}|{text}".encode()).digest()
