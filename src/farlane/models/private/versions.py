"""Private versions in a repository: added, shared with one more recipient, taken from one, opened, never announced."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from farlane.errors import InvalidInput, PermissionRefused
from farlane.models.adding import Added, Description, OnProgress, add
from farlane.models.blocks.port import Placement
from farlane.models.catalog.values import Author, Version
from farlane.models.folders import find_files
from farlane.models.formats.sniff import inspect_file
from farlane.models.manifest.codec import encode, manifest_cid
from farlane.models.manifest.signature import Signer, sign
from farlane.models.manifest.values import Encryption, Manifest
from farlane.models.names import Reference
from farlane.models.private.folders import listed_files, open_folder, reseal_folder, seal_folder
from farlane.models.private.listing import Listed
from farlane.models.private.recipients import Recipient, RecipientKey
from farlane.models.private.workspace import workspace
from farlane.models.private.wrapping import new_version_key, recipients_of, unwrap, wrapped_for
from farlane.models.repository import Repository


def is_private(manifest: Manifest) -> bool:
    """Tell whether a version is private: encrypted, and never to be announced or published anywhere."""
    return manifest.encryption is not None


def require_public(manifest: Manifest, doing: str) -> None:
    """Refuse to make a private version known.

    Args:
        manifest: of the version.
        doing: what was asked for: `publish it to IPFS`.

    Raises:
        PermissionRefused: it is private.
    """
    if is_private(manifest):
        raise PermissionRefused(
            f"{manifest.name} is private: farlane does not {doing}, for that tells everybody that it exists and who "
            "has it. Share it with recipients instead"
        )


def add_private(
    repository: Repository,
    source: Path,
    name: str,
    recipients: Iterable[Recipient],
    own: RecipientKey,
    description: Description | None = None,
    *,
    signer: Signer | None = None,
    author: Author | None = None,
    on_progress: OnProgress | None = None,
) -> Added:
    """Add a folder as the next version of a name, encrypted with a key of its own.

    What the description says stands in the manifest in clear.

    Args:
        repository: where to.
        source: a folder or one file.
        name: of the model, in clear.
        recipients: who may read it, besides us.
        own: our key; whoever adds a version can also share it.
        description: what shall be known of it; nothing is taken from its files.
        signer: the publisher's account, None for an unsigned version.
        author: who adds it.
        on_progress: called as encrypted bytes are read.

    Raises:
        Conflict: the newest version of this name is public: a name is either.
        InvalidInput, Corrupted, DiskFull, PermissionRefused: as `farlane.models.adding.add`.
    """
    repository.require_kind(name, private=True)
    for one in find_files(source):
        inspect_file(one.source, one.path)  # a pickle is refused while it can still be seen
    key = new_version_key()
    encryption = wrapped_for(key, (*recipients, own.recipient))
    with workspace(repository.workspace) as place:
        seal_folder(source, place / "sealed", key)
        said = replace(description or Description(), encryption=encryption)
        return _add_sealed(repository, place / "sealed", name, said, signer, author, on_progress)


def _add_sealed(
    repository: Repository,
    sealed: Path,
    name: str,
    said: Description,
    signer: Signer | None,
    author: Author | None,
    on_progress: OnProgress | None = None,
) -> Added:
    placement = Placement.MOVE
    return add(
        repository,
        sealed,
        name,
        said,
        signer=signer,
        author=author,
        placement=placement,
        on_progress=on_progress,
    )


def share(
    repository: Repository,
    reference: Reference | str,
    recipients: Iterable[Recipient],
    own: RecipientKey,
    *,
    signer: Signer | None = None,
    author: Author | None = None,
) -> Version:
    """Let more recipients read a version: the same files under a new manifest, as the next version.

    Returns:
        The new version, or the old one if it is shared with all of them already.

    Raises:
        InvalidInput: the version is public.
        PermissionRefused: we cannot read it ourselves.
    """
    version, manifest = repository.resolve(reference)
    encryption = _encryption(manifest)
    new = set(recipients) - set(recipients_of(encryption))
    if not new:
        return version
    added = wrapped_for(unwrap(encryption, own), new)
    entries = tuple(sorted((*encryption.recipients, *added.recipients)))
    shared = replace(
        manifest,
        encryption=replace(encryption, recipients=entries),
        created=int(repository.clock.now()),
        publisher=signer.address if signer else "",
    )
    signature = sign(shared, manifest_cid(encode(shared)), signer) if signer else None
    return repository.publish(shared, signature, author)


def revoke(
    repository: Repository,
    reference: Reference | str,
    recipients: Iterable[Recipient],
    own: RecipientKey,
    *,
    signer: Signer | None = None,
    author: Author | None = None,
) -> Added:
    """Encrypt a version again, under a new key that some recipients do not get, as the next version.

    Whoever could read the old version can still read what they have of it: no key can be taken back.

    Raises:
        InvalidInput: the version is public, was not shared with them, or they are we.
        PermissionRefused: we cannot read it ourselves.
    """
    _, manifest = repository.resolve(reference)
    encryption = _encryption(manifest)
    left = set(recipients_of(encryption))
    for one in (gone := set(recipients)):
        if one == own.recipient or one not in left:
            whose = "is your own key" if one == own.recipient else "cannot read this version"
            raise InvalidInput(f"{one.text} {whose}: expected one of those it is shared with")
    old, key = unwrap(encryption, own), new_version_key()
    said = Description(
        task=manifest.task,
        runtime=manifest.runtime,
        licence=manifest.licence.expression,
        acceptance=manifest.licence.acceptance,
        parents=manifest.parents,
        metrics=manifest.metrics,
        encryption=wrapped_for(key, (*(left - gone), own.recipient)),
    )
    with workspace(repository.workspace) as place:
        reseal_folder(_sealed_files(repository, manifest), old, place / "sealed", key)
        return _add_sealed(repository, place / "sealed", manifest.name, said, signer, author)


def open_version(repository: Repository, manifest: Manifest, own: RecipientKey, target: Path) -> None:
    """Decrypt a version whose files are here into a folder for a runtime to map.

    Args:
        repository: has its files.
        manifest: of the version.
        own: our key.
        target: a new folder, made with mode 0700; its files have mode 0400.

    Raises:
        InvalidInput: the version is public.
        PermissionRefused: it is not shared with us.
        NotFound: a file is not here.
        Corrupted: something was changed.
        Conflict: the target exists.
        DiskFull: no room.
    """
    key = unwrap(_encryption(manifest), own)
    open_folder(_sealed_files(repository, manifest), key, target)


def files_of(repository: Repository, manifest: Manifest, own: RecipientKey) -> list[Listed]:
    """Return a version's files as they were before they were sealed; raises as `open_version`."""
    return listed_files(_sealed_files(repository, manifest), unwrap(_encryption(manifest), own))


def readers_of(manifest: Manifest) -> tuple[Recipient, ...]:
    """Return who can read a version, nobody in particular where it is public.

    Raises:
        Corrupted: what it says of its encryption is not what this farlane writes.
    """
    return () if manifest.encryption is None else recipients_of(manifest.encryption)


def _sealed_files(repository: Repository, manifest: Manifest) -> dict[str, Path]:
    return {one.path: repository.file_path(one) for one in manifest.files}


def _encryption(manifest: Manifest) -> Encryption:
    if manifest.encryption is None:
        raise InvalidInput(
            f"{manifest.name} is not private: it is there for everybody who may read the repository"
        )
    return manifest.encryption
