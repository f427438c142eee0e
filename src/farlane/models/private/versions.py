"""Private versions in a repository: added, shared with one more recipient, taken from one, opened, never announced."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from farlane.errors import Conflict, InvalidInput, NotFound, PermissionRefused
from farlane.models.adding import Added, Description, OnProgress, add
from farlane.models.blocks.port import Placement
from farlane.models.catalog.values import Author, Version
from farlane.models.manifest.codec import encode, manifest_cid
from farlane.models.manifest.signature import Signer, sign
from farlane.models.manifest.values import Encryption, Manifest
from farlane.models.names import Reference
from farlane.models.private.folders import open_folder, seal_folder
from farlane.models.private.recipients import Recipient, RecipientKey
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
        InvalidInput, DiskFull, PermissionRefused: as `farlane.models.adding.add`.
    """
    _require_name_for_private(repository, name)
    key = new_version_key()
    encryption = wrapped_for(key, (*recipients, own.recipient))
    with _workspace() as place:
        seal_folder(source, place / "sealed", key)
        said = replace(description or Description(), encryption=encryption)
        return add(
            repository,
            place / "sealed",
            name,
            said,
            signer=signer,
            author=author,
            placement=Placement.MOVE,
            on_progress=on_progress,
        )


def share(
    repository: Repository,
    reference: Reference | str,
    recipient: Recipient,
    own: RecipientKey,
    *,
    signer: Signer | None = None,
    author: Author | None = None,
) -> Version:
    """Let one more recipient read a version: the same files under a new manifest, as the next version.

    Returns:
        The new version, or the old one if it is shared with them already.

    Raises:
        InvalidInput: the version is public.
        PermissionRefused: we cannot read it ourselves.
    """
    version, manifest = repository.resolve(reference)
    encryption = _encryption(manifest)
    if recipient in recipients_of(encryption):
        return version
    added = wrapped_for(unwrap(encryption, own), [recipient])
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
    recipient: Recipient,
    own: RecipientKey,
    *,
    signer: Signer | None = None,
    author: Author | None = None,
) -> Added:
    """Encrypt a version again, under a new key that a recipient does not get, as the next version.

    Whoever could read the old version can still read what they have of it: no key can be taken back.

    Raises:
        InvalidInput: the version is public, was not shared with them, or they are we.
        PermissionRefused: we cannot read it ourselves.
    """
    _, manifest = repository.resolve(reference)
    left = set(recipients_of(_encryption(manifest)))
    if recipient == own.recipient or recipient not in left:
        whose = "is your own key" if recipient == own.recipient else "cannot read this version"
        raise InvalidInput(f"{recipient.text} {whose}: expected one of those it is shared with")
    with _workspace() as place:
        open_version(repository, manifest, own, place / "plain")
        said = Description(
            task=manifest.task,
            runtime=manifest.runtime,
            licence=manifest.licence.expression,
            acceptance=manifest.licence.acceptance,
            parents=manifest.parents,
            metrics=manifest.metrics,
        )
        remaining = left - {recipient}
        return add_private(
            repository, place / "plain", manifest.name, remaining, own, said, signer=signer, author=author
        )


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
    open_folder({one.path: repository.file_path(one) for one in manifest.files}, key, target)


def _encryption(manifest: Manifest) -> Encryption:
    if manifest.encryption is None:
        raise InvalidInput(
            f"{manifest.name} is not private: it is there for everybody who may read the repository"
        )
    return manifest.encryption


def _require_name_for_private(repository: Repository, name: str) -> None:
    """Refuse to continue a public name: who reads it expects to go on reading it."""
    try:
        _, newest = repository.resolve(name)
    except NotFound:
        return
    if not is_private(newest):
        raise Conflict(f"{name} has a public version: choose another name for what shall be private")


@contextmanager
def _workspace() -> Iterator[Path]:
    """Yield a folder only this user can enter, removed at the end."""
    place = Path(tempfile.mkdtemp(prefix="farlane-private-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
