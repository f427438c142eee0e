"""A repository of models: a store of blocks and files, and the catalog that names what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from farlane.errors import Conflict, Corrupted, InvalidInput, NotFound, PermissionRefused
from farlane.kit.clock import Clock, SystemClock
from farlane.models.blocks.port import BlockSource, BlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.values import Author, Version
from farlane.models.cid import DAG_CBOR, Cid
from farlane.models.manifest.codec import decode, encode, manifest_cid
from farlane.models.manifest.licences import require_acceptance
from farlane.models.manifest.signature import Recover, Signature, check_signature
from farlane.models.manifest.values import MAX_MANIFEST_BYTES, Manifest, ModelFile
from farlane.models.names import Reference


class Repository:
    """Versions with all their blocks; every method may be called from any thread.

    Args:
        blocks: where files and blocks are kept.
        catalog: what names them.
        recover: tells who signed a text; without it signed versions are refused, since nobody could check them.
        clock: dates new versions.
        workspace: a directory on the same disk, where large files may be made before they are added.
    """

    def __init__(
        self, blocks: BlockStore, catalog: Catalog, recover: Recover | None = None, clock: Clock | None = None,
        workspace: Path | None = None,
    ) -> None:  # fmt: skip
        self.blocks, self.catalog = blocks, catalog
        self.clock, self.workspace = clock or SystemClock(), workspace
        self._recover = recover

    def close(self) -> None:
        """Close the catalog."""
        self.catalog.close()

    def publish(
        self, manifest: Manifest, signature: Signature | None = None, author: Author | None = None
    ) -> Version:
        """Keep a manifest whose files are here, and name it as the next version.

        Raises:
            NotFound: one of its files is not here.
            InvalidSignature: it names a publisher who did not sign it.
            PermissionRefused: the name is another's.
            Conflict: its other versions are private and this one is not, or the other way round.
        """
        self.require_kind(manifest.name, private=manifest.encryption is not None)
        raw = encode(manifest)
        cid = manifest_cid(raw)
        self.check_signature(manifest, cid, signature)
        for one in manifest.files:
            self.file_path(one)
        with self.blocks.hold(cid):
            self.blocks.put(cid, raw)
            return self.catalog.add(manifest.name, cid, signature, author)

    def require_kind(self, name: str, *, private: bool) -> None:
        """Refuse to continue a private name in public, or a public one in private: a name is either.

        Raises:
            Conflict: its newest version is of the other kind.
        """
        try:
            versions = self.catalog.versions(name)
        except NotFound:
            return
        for version in reversed(versions):
            try:
                known = self.manifest(version).encryption is not None
            except (NotFound, Corrupted):
                continue  # an older one tells as well
            if known != private:
                raise Conflict(_of_the_other_kind(name, known))
            return

    def check_signature(self, manifest: Manifest, cid: Cid, signature: Signature | None) -> None:
        """Check who stands behind a manifest.

        Raises:
            InvalidSignature: somebody else than it says, or nobody here can check signatures.
        """
        check_signature(manifest, cid, signature, self._recover or _cannot_recover)

    def manifest(self, version: Version) -> Manifest:
        """Return what a version says.

        Raises:
            NotFound: its manifest is not here.
            Corrupted: it is damaged, or of another model.
        """
        manifest = read_manifest(self.blocks, version.manifest)
        if manifest.name != version.name:
            raise Corrupted(
                f"{version.name}@v{version.number} is a manifest of {manifest.name}: the catalog is damaged"
            )
        return manifest

    def resolve(self, reference: Reference | str) -> tuple[Version, Manifest]:
        """Return the version that a reference means, and what it says; raises as `Catalog.resolve` and `manifest`."""
        version = self.catalog.resolve(reference)
        return version, self.manifest(version)

    def version_of(self, manifest: Cid) -> tuple[Version, Manifest]:
        """Return the version that has a manifest, and what it says.

        Raises:
            NotFound: there is none.
            InvalidInput, Corrupted: it is no manifest, or damaged.
        """
        if not self.catalog.has(manifest):
            raise NotFound(f"no version here has the manifest {manifest.text}", version=manifest.text)
        said = read_manifest(self.blocks, manifest)
        return self.catalog.resolve(Reference(said.name, cid=manifest)), said

    def require_acceptance(self, version: Version, manifest: Manifest, who: str = "") -> None:
        """Refuse a version whose licence somebody must accept first.

        Raises:
            PermissionRefused: they have not; the message says what to type.
        """
        require_acceptance(
            manifest,
            self.catalog.accepted(who, version.manifest),
            f"accept it with `farlane models accept {version.name}@v{version.number} "
            f"--licence {manifest.licence.expression}`",
        )

    def accept(self, version: Version, expression: str, who: str = "") -> None:
        """Record that somebody accepts the licence of a version.

        Raises:
            PermissionRefused: it has another licence.
        """
        licence = self.manifest(version).licence
        if not licence.expression or licence.expression.lower() != expression.lower():
            raise PermissionRefused(
                f"{version.name}@v{version.number} has the licence {licence.expression or '(none)'}, not {expression}: "
                "read that one, and accept it by its name"
            )
        self.catalog.accept(who, licence.expression, version.manifest)

    def file_path(self, file: ModelFile) -> Path:
        """Return a local read-only file with the content of a version's file, unverified.

        Raises:
            NotFound: it is not here.
        """
        try:
            return self.blocks.file_path(file.sha256.hex())
        except NotFound as error:
            raise NotFound(
                f"the file {file.path} of this version is not in this repository: pull the version again",
                path=file.path,
            ) from error

    def versions(self) -> Iterator[Version]:
        """Yield all versions of all names."""
        for model in self.catalog.models():
            yield from self.catalog.versions(model.name)


def read_manifest(blocks: BlockSource, cid: Cid) -> Manifest:
    """Return a manifest from any source of blocks.

    Raises:
        InvalidInput: it is no manifest's CID.
        NotFound: it is not there.
        Corrupted: it is none.
    """
    if cid.codec != DAG_CBOR:
        raise InvalidInput(f"{cid.text} is no manifest's CID, which begins with bafyrei")
    if blocks.size(cid) > MAX_MANIFEST_BYTES:
        raise Corrupted(f"{cid.text} is too long for a manifest")
    return decode(blocks.get(cid), cid)


def _of_the_other_kind(name: str, private: bool) -> str:
    if private:
        return (
            f"{name} is private, and a public version would tell everybody about it: add it with --private, or choose "
            "another name for what shall be public"
        )
    return f"{name} has a public version: choose another name for what shall be private"


def _cannot_recover(text: str, signature: bytes) -> str:
    raise InvalidInput(
        "this program was given nothing to check signatures with: open the repository through farlane.app"
    )
