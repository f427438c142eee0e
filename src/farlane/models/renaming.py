"""A version under another name: the same files, described and signed anew."""

from __future__ import annotations

from dataclasses import replace

from farlane.errors import InvalidInput
from farlane.models.catalog.values import Author, Version
from farlane.models.manifest.codec import encode, manifest_cid
from farlane.models.manifest.signature import Signer, sign
from farlane.models.names import Reference, check_name
from farlane.models.repository import Repository


def renamed(
    repository: Repository,
    reference: Reference | str,
    name: str,
    *,
    signer: Signer | None = None,
    author: Author | None = None,
) -> Version:
    """Add a version to another name of the same repository; nothing is copied.

    Args:
        repository: has the version.
        reference: which one.
        name: the other name.
        signer: its publisher's account, None for an unsigned version.
        author: who adds it.

    Raises:
        InvalidInput: it is no name, or the version is private: its keys are given out under its own.
        PermissionRefused: the name is another's.
    """
    check_name(name)
    version, manifest = repository.resolve(reference)
    if manifest.encryption is not None:
        raise InvalidInput(
            f"{version.name} is private and keeps its name: add it again under the other one with --private"
        )
    publisher = signer.address if signer is not None else ""
    if (name, publisher) == (manifest.name, manifest.publisher):
        return version
    other = replace(manifest, name=name, publisher=publisher)
    signature = sign(other, manifest_cid(encode(other)), signer) if signer is not None else None
    return repository.publish(other, signature, author)
