"""A version on its way into a repository from elsewhere: what of it is missing, and what has come, checked and kept."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from farlane.errors import (
    Conflict,
    Corrupted,
    FarlaneError,
    InvalidInput,
    NotFound,
    PermissionRefused,
    TooLarge,
)
from farlane.models.arriving_delta import ArrivingDelta, DeltaOffer, chosen
from farlane.models.blocks.port import FileAssembly
from farlane.models.catalog.values import Author, Version
from farlane.models.cid import Cid, Octets
from farlane.models.manifest.codec import encode
from farlane.models.manifest.signature import Signature, check_publisher
from farlane.models.manifest.values import Manifest, ModelFile
from farlane.models.repository import Repository, read_manifest
from farlane.models.transfer.outline import Lacking, outline
from farlane.models.trees import Tree, tree
from farlane.models.unixfs.file_dag import FileDag
from farlane.models.usable import Guard, UsableBlocks
from farlane.models.version_blocks import dag_of

MAX_LEAVES: Final = 4_000_000
"""Of all files that are not here: 4 TB in leaves of 1 MiB."""
SPARE_NODE_BYTES: Final = 64 << 20
"""Inner nodes of a version may have so many bytes and a quarter of its size: leaves have 50 bytes of them each."""


@dataclass(slots=True)
class Part:
    """A file under way: where its leaves are written, which of them are missing, and how many bytes were here."""

    assembly: FileAssembly
    missing: set[int]
    present_bytes: int

    def write(self, index: int, block: Octets) -> None:
        """Write a leaf that is missing.

        Raises:
            InvalidInput: it is not.
            Corrupted: the bytes are others; nothing is written.
            DiskFull: no room.
        """
        if index not in self.missing:
            raise InvalidInput(
                f"leaf {index} came, which was not asked for; upgrade farlane on the other side"
            )
        self.assembly.write(index, block)
        self.missing.discard(index)


class Arrival:
    """What is known of a version that comes in; closed in the end, also while a call goes on in another thread.

    Every call may use the disk. What has come is kept between tries: inner nodes as blocks, files as far as their
    leaves are written.

    Args:
        repository: where to.
        manifest: of the version, as `decode` read it.
        cid: of the manifest.
        whose: who sends it; files under way are theirs.
        guard: what of the repository they may not have, and must send even where it is here; None for nothing.
    """

    def __init__(
        self,
        repository: Repository,
        manifest: Manifest,
        cid: Cid,
        whose: str = "",
        guard: Guard | None = None,
    ) -> None:
        self._repository, self._manifest, self._cid = repository, manifest, cid
        self._usable, self._whose = UsableBlocks(repository.blocks, guard), whose
        self._dags: dict[Cid, FileDag] = {}
        self._parts: dict[int, Part] = {}
        self._node_bytes = 0
        self._delta: ArrivingDelta | None = None
        self._lock, self._ended, self._held = threading.Lock(), False, ExitStack()
        known: set[ModelFile] = set()
        awaited: list[int] = []
        for number, file in enumerate(manifest.files):
            content = _content(file)
            if content not in known and not _is_here(self._usable, file):
                awaited.append(number)
            known.add(content)
        self.files: Final = tuple(awaited)
        """Numbers of the files that are not here; of several with the same content the first."""

    @property
    def present_bytes(self) -> int:
        """Bytes of the files that are here whole, counted as often as the version has them."""
        return self._manifest.size_bytes - self.awaited_bytes

    @property
    def awaited_bytes(self) -> int:
        """Bytes of the files that are not here whole, each content once."""
        return sum(self._manifest.files[number].size for number in self.files)

    def hold(self) -> None:
        """Keep the manifest, and hold it, so that no collection takes what has come before it is named."""
        self._hold(self._cid)
        self._repository.blocks.put(self._cid, encode(self._manifest))

    def close(self) -> None:
        """Stop; what has come is kept."""
        with self._lock:
            self._ended = True
            for part in self._parts.values():
                part.assembly.close()
            self._held.close()

    def lacking(self) -> tuple[Cid, ...]:
        """Return the inner nodes to bring next; none once all files' outlines are known.

        Raises:
            Corrupted: they do not make up the files, or the directory, that the manifest names.
            TooLarge: more blocks than a version may have.
        """
        lacking: dict[Cid, None] = {}
        leaves = sum(len(dag.leaves) for dag in self._dags.values())
        for root, file in self._roots():
            if root not in self._dags:
                found = outline(root, file.size, self._node)
                if isinstance(found, Lacking):
                    lacking.update(dict.fromkeys(found.nodes))
                else:
                    self._dags[root] = found
                    leaves += len(found.leaves)
            if leaves > 2 * MAX_LEAVES:  # at once: many small files can have millions each
                raise TooLarge(f"the version has more than {MAX_LEAVES} blocks: publish it in parts")
        if not lacking:
            self._directory()
        return tuple(lacking)

    def put_nodes(self, blocks: Iterable[tuple[Cid, Octets]]) -> None:
        """Keep inner nodes that were lacking.

        Raises:
            Corrupted: one is another block.
            TooLarge: more of them than the version's files can need.
            DiskFull: no room.
        """
        self._usable.put_many(self._counted(blocks))

    def choose(self, offers: Sequence[DeltaOffer]) -> ArrivingDelta | None:
        """Return the delta that is worth bringing, once nothing is lacking; it fills the files as they are begun."""
        if not offers:
            return None
        found = chosen(
            self._repository, (self._manifest, self._cid), self._needed_bytes(), offers, self._usable
        )
        if found is not None:
            self._hold(found.offer.root)
            self._delta = found
        return found

    def begin(self, file: int) -> Part | None:
        """Start, or go on with, a file whose outline is known; what the repository has of it is taken from there.

        Returns:
            None if the file is here by now.

        Raises:
            Conflict: somebody else is bringing it: try again later.
            DiskFull: no room.
        """
        wanted = self._manifest.files[file]
        if _is_here(self._usable, wanted):
            return None
        dags = [self._dags[root] for root in dict.fromkeys((wanted.cid, wanted.ipfs_cid))]
        assembly = self._repository.blocks.begin_file(dags, wanted.sha256.hex(), self._whose)
        try:
            assembly.copy_local(self._usable.may)
            if self._delta is not None:
                self._delta.fill(file, assembly)
            missing = assembly.missing()
        except BaseException:
            assembly.close()
            raise
        absent = sum(int(assembly.leaves.lengths[leaf]) for leaf in missing)
        part = Part(assembly, set(missing), wanted.size - absent)
        with self._lock:
            if self._ended:
                assembly.close()
                raise Conflict("this transfer was ended meanwhile")
            self._parts[file] = part
        return part

    def commit(self, file: int) -> None:
        """Check a file whose leaves are all here, and keep it.

        Raises:
            Corrupted: it is not the file that the manifest names, although its leaves are.
            DiskFull: no room.
        """
        self._parts[file].assembly.commit()
        with self._lock:
            del self._parts[file]

    def leaf(self, file: int, index: int) -> Cid:
        """Return the CID of a leaf of a file whose outline is known."""
        return self._dags[self._manifest.files[file].cid].leaves.cid(index)

    def publish(self, signature: Signature | None, author: Author | None) -> Version:
        """Name the version once all files are here; raises as `Repository.publish`."""
        self._repository.blocks.put_many(self._directory().nodes.items())
        version = self._repository.publish(self._manifest, signature, author)
        if self._delta is not None:
            self._delta.keep()
        return version

    def _hold(self, root: Cid) -> None:
        with self._lock:
            if not self._ended:
                self._held.enter_context(self._repository.blocks.hold(root))

    def _needed_bytes(self) -> int:
        needed: dict[bytes, int] = {}
        for number in self.files:
            leaves = self._dags[self._manifest.files[number].cid].leaves
            for leaf, length in enumerate(leaves.lengths.tolist()):
                if not self._usable.has(leaves.cid(leaf)):
                    needed[leaves.digest(leaf)] = length
        return sum(needed.values())

    def _counted(self, blocks: Iterable[tuple[Cid, Octets]]) -> Iterator[tuple[Cid, Octets]]:
        for cid, block in blocks:
            self._node_bytes += memoryview(block).nbytes
            if self._node_bytes > SPARE_NODE_BYTES + self._manifest.size_bytes // 4:
                raise TooLarge(f"inner nodes of {self._node_bytes} bytes for a version of "
                               f"{self._manifest.size_bytes}: no version needs so many")  # fmt: skip
            yield cid, block

    def _roots(self) -> Iterator[tuple[Cid, ModelFile]]:
        for number in self.files:
            file = self._manifest.files[number]
            for root in dict.fromkeys((file.cid, file.ipfs_cid)):
                yield root, file

    def _node(self, cid: Cid) -> bytes | None:
        try:
            return self._usable.get(cid)
        except (NotFound, Corrupted):
            return None

    def _directory(self) -> Tree:
        found = tree((file.path, file.ipfs_cid, self._dag_bytes(file)) for file in self._manifest.files)
        if found.root != self._manifest.root:
            raise Corrupted(
                f"the directory of {self._manifest.name} is {found.root}, not {self._manifest.root} as its manifest "
                "says: the version was not put together by farlane"
            )
        return found

    def _dag_bytes(self, file: ModelFile) -> int:
        dag = self._dags.get(file.ipfs_cid) or dag_of(self._repository.blocks, file.ipfs_cid, file.size)
        return dag.size_bytes + sum(map(len, dag.nodes.values()))


def check_arriving(
    repository: Repository, manifest: Manifest, cid: Cid, signature: Signature | None, author: Author
) -> None:
    """Refuse a version before anything of it is taken in.

    Raises:
        InvalidSignature: somebody else signed it than it says.
        PermissionRefused: the name is another organisation's, or another account publishes it.
        Conflict: it is private and the newest version of its name is public, or the reverse.
    """
    repository.check_signature(manifest, cid, signature)
    try:
        model = repository.catalog.model(manifest.name)
    except NotFound:
        return
    if model.organisation != author.organisation:
        raise PermissionRefused(
            f"the model {model.name} belongs to {model.organisation or 'the owner of this repository'}: "
            "publish under a name of your own",
            name=model.name,
        )
    check_publisher(model.name, signature.signer if signature else "", model.publisher)
    try:
        newest = read_manifest(repository.blocks, repository.catalog.resolve(model.name).manifest)
    except FarlaneError:
        return  # no version is left, or it is damaged: nothing to compare with
    if (newest.encryption is None) != (manifest.encryption is None):
        was, is_now = ("public", "private") if newest.encryption is None else ("private", "public")
        raise Conflict(f"the versions of {model.name} are {was}, and this one is {is_now}: use another name")


def _content(file: ModelFile) -> ModelFile:
    return ModelFile(path="", cid=file.cid, ipfs_cid=file.ipfs_cid, sha256=file.sha256, size=file.size)


def _is_here(blocks: UsableBlocks, file: ModelFile) -> bool:
    try:
        stored = blocks.file(file.sha256.hex())
    except NotFound:
        return False
    if stored.size_bytes != file.size:
        raise Corrupted(f"{file.path} has {file.size} bytes by its manifest and {stored.size_bytes} by its SHA-256: "
                        "the manifest is wrong")  # fmt: skip
    return {file.cid, file.ipfs_cid} <= set(stored.roots)
