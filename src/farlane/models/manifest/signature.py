"""Who stands behind a version: a detached signature over the manifest's CID, as every Ethereum wallet makes it.

A name on a chain belongs to an account, so the publisher of a version signs with an account's key too (EIP-191 over a
text that a wallet shows). Keys and curves are not this room's: it takes a `Signer` and a `Recover`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from farlane.errors import InvalidSignature, PermissionRefused
from farlane.models.cid import Cid
from farlane.models.manifest.values import Manifest

SIGNATURE_BYTES: Final = 65


class Signer(Protocol):
    """A publisher's account."""

    @property
    def address(self) -> str:
        """The account, as it stands in the manifest."""
        ...

    def sign_text(self, text: str) -> bytes:
        """Return 65 bytes r || s || v over a text. Source: EIP-191, version 0x45."""
        ...


Recover = Callable[[str, bytes], str]
"""(text, signature) -> the address that signed; raises InvalidSignature."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A publisher's word for a manifest: its address and 65 bytes."""

    signer: str
    value: bytes


def statement(name: str, cid: Cid) -> str:
    """Return the text that is signed for a version."""
    return f"farlane: I publish this version of a model.\n\nmodel: {name}\nmanifest: {cid.text}"


def sign(manifest: Manifest, cid: Cid, signer: Signer) -> Signature:
    """Sign a manifest with the account that it names.

    Raises:
        InvalidSignature: it names another publisher.
    """
    if manifest.publisher != signer.address:
        raise InvalidSignature(
            f"the manifest names {manifest.publisher or 'no publisher'}, the key is of {signer.address}: "
            "sign with the key of the publisher"
        )
    return Signature(signer.address, signer.sign_text(statement(manifest.name, cid)))


def check_signature(manifest: Manifest, cid: Cid, signature: Signature | None, recover: Recover) -> str:
    """Return who published a version, empty for an unsigned one.

    Raises:
        InvalidSignature: the manifest names a publisher and this signature is not theirs, or the reverse.
    """
    if not manifest.publisher:
        if signature is not None:
            raise InvalidSignature(
                f"version {cid.text} names no publisher, but came with a signature: do not use it"
            )
        return ""
    if signature is None:
        raise InvalidSignature(
            f"version {cid.text} says that {manifest.publisher} published it, but nobody signed it: do not use it"
        )
    signed_by = recover(statement(manifest.name, cid), signature.value)
    if signed_by != manifest.publisher or signature.signer != manifest.publisher:
        raise InvalidSignature(
            f"version {cid.text} says that {manifest.publisher} published it, but {signed_by} signed it: do not use it"
        )
    return signed_by


def check_publisher(name: str, publisher: str, trusted: str | None) -> None:
    """Refuse a version of a name by somebody else than the account it belongs to.

    Args:
        name: of the model.
        publisher: who signed, empty for nobody.
        trusted: the owner on the chain, or who published the first version seen here; None for a name that is new.

    Raises:
        PermissionRefused: it is somebody else.
    """
    if trusted is not None and publisher != trusted:
        raise PermissionRefused(
            f"{name} belongs to {trusted or 'nobody who signs'}, and this version is of "
            f"{publisher or 'nobody who signs'}: "
            "if its owner has changed, trust the new one with `farlane models trust`",
            name=name,
            trusted=trusted,
            publisher=publisher,
        )
