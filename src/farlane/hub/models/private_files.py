"""Whose private files are at the hub: who may not read them must send their blocks, as if they were not there."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from farlane.errors import FarlaneError, NotFound
from farlane.models.blocks.port import BlockSource
from farlane.models.catalog.values import PrivateFile
from farlane.models.cid import DAG_PB, Cid
from farlane.models.manifest.codec import decode
from farlane.models.manifest.values import Manifest
from farlane.models.repository import Repository, read_manifest
from farlane.models.unixfs.dag_pb import decode_node
from farlane.wire.serving import Identity

log = logging.getLogger(__name__)
Name = TypeVar("Name", str, bytes)
_ENCRYPTION = b"encryption"
"""Stands in the manifest of each private version."""
_SHA256 = re.compile(rb"fsha256X (.{32})", re.DOTALL)
"""Of a file, as DAG-CBOR has it: a text of 6 characters, then 32 bytes; it may also be part of some text."""


@dataclass(slots=True)
class _State:
    """named: versions in the catalog that have a file; arriving: pushes that bring it; complete: nodes are known."""

    named: int = 0
    arriving: int = 0
    complete: bool = False


class PrivateFiles:
    """Files of private versions by organisation, found when they are first needed and kept up from then on.

    What was removed, or broken off, stays its organisation's while it is here. May be used from any thread.

    Args:
        repository: the hub's.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._lock = threading.RLock()
        self._public: set[Cid] = set()
        self._told: dict[bytes, list[Cid]] = {}
        """Manifests, of public versions or ones that are gone, in which a SHA-256 seems to stand."""
        self._confirmed: dict[str, Cid] = {}
        self._private: dict[Cid, frozenset[PrivateFile]] = {}
        self._files: dict[PrivateFile, _State] = {}
        self._organisations: Counter[str] = Counter()
        self._by_sha256: dict[str, set[PrivateFile]] = {}
        self._by_node: dict[bytes, set[PrivateFile]] = {}
        self._noted: frozenset[PrivateFile] | None = None

    def __len__(self) -> int:
        """Files that are known as private."""
        return len(self._files)

    def guard(self, who: Identity) -> PrivateGuard:
        """Return what keeps somebody from others' private files, now and while they send."""
        with self._lock:
            self._look()
            for file, state in self._files.items():
                if not state.complete and not _owns(who, file.organisation):
                    self._find_nodes(file, state)
        return PrivateGuard(self, who)

    @contextmanager
    def arriving(self, manifest: Manifest, organisation: str) -> Iterator[None]:
        """Know a version as its organisation's while it comes, if it is private; what came of it earlier is found."""
        files = _files_of(manifest, organisation) if manifest.encryption is not None else frozenset()
        with self._lock:
            states = [(file, self._known(file)) for file in files]
            self._note()
            for file, state in states:
                state.arriving += 1
                self._find_nodes(file, state)
        try:
            yield
        finally:
            with self._lock:
                for _, state in states:
                    state.arriving -= 1

    def nodes_come(self, manifest: Manifest, organisation: str, digests: Iterable[bytes]) -> None:
        """Know inner nodes of a version that arrives, before they are kept; of which file they are is found later."""
        if manifest.encryption is None:
            return
        with self._lock:
            file = next(iter(_files_of(manifest, organisation)))
            self._known(file)
            self._note_nodes(file, digests)

    def hides_from(self, who: Identity) -> bool:
        """Tell whether there are private versions that somebody may not read."""
        with self._lock:
            return any(not _owns(who, organisation) for organisation in self._organisations)

    def may_have_file(self, who: Identity, sha256: str) -> bool:
        """Tell whether a file is public, somebody's own, or unknown."""
        with self._lock:
            return self._theirs(who, self._by_sha256.get(sha256, ())) or self._is_public(sha256)

    def may_have_node(self, who: Identity, digest: bytes) -> bool:
        """Tell whether a block is no inner node of a private file, or of somebody's own.

        One that a public file has, too, is sent again: that costs little.
        """
        with self._lock:
            return self._theirs(who, self._by_node.get(digest, ()))

    def _theirs(self, who: Identity, files: Collection[PrivateFile]) -> bool:
        """Tell whether what private files have is somebody's: nobody else's, or part of what they have published."""
        owned = [file for file in files if _owns(who, file.organisation)]
        return len(owned) == len(files) or any(self._files[file].named for file in owned)

    def _look(self) -> None:
        """Hear which versions came and went, here or by another process."""
        if self._noted is None:
            self._note()
        now = self._repository.catalog.manifests()
        self._public &= now
        for cid in self._private.keys() - now:
            for file in self._private.pop(cid):
                self._files[file].named -= 1
        for cid in now - self._public - self._private.keys():
            try:
                self._take(cid)
            except FarlaneError as error:
                log.debug("%s is looked at later: %s", cid, error.message)
        for file, state in list(self._files.items()):
            if not state.named and not state.arriving and not self._is_here(file):
                self._forget(file)
        self._note()

    def _note(self) -> None:
        """Have the catalog know what is known here, after a restart too."""
        if self._noted is None:
            self._noted = self._repository.catalog.private.all()
            for file in self._noted:
                self._known(file)
        known = frozenset(self._files)
        if known != self._noted:
            self._repository.catalog.private.change(known - self._noted, self._noted - known)
            self._noted = known

    def _take(self, cid: Cid) -> None:
        raw = self._repository.blocks.get(cid)
        # Decoding takes a hundred times as long as this, and a hub has thousands of public versions.
        if _ENCRYPTION not in raw or decode(raw, cid).encryption is None:
            self._public.add(cid)
            for sha256 in _SHA256.findall(raw):
                self._told.setdefault(sha256, []).append(cid)
            return
        version, manifest = self._repository.version_of(cid)
        files = _files_of(manifest, self._repository.catalog.model(version.name).organisation)
        self._private[version.manifest] = files
        for file in files:
            self._known(file).named += 1

    def _is_public(self, sha256: str) -> bool:
        """Tell whether a public version has a file; only those are asked about that a private one has, too."""
        if self._confirmed.get(sha256) in self._public:
            return True
        for cid in self._told.get(bytes.fromhex(sha256), ()):
            if cid in self._public:
                with contextlib.suppress(FarlaneError):
                    manifest = read_manifest(self._repository.blocks, cid)
                    if any(one.sha256.hex() == sha256 for one in manifest.files):
                        self._confirmed[sha256] = cid
                        return True
        return False

    def _known(self, file: PrivateFile) -> _State:
        if file not in self._files:
            self._files[file] = _State()
            self._organisations[file.organisation] += 1
            self._by_sha256.setdefault(file.sha256, set()).add(file)
        return self._files[file]

    def _is_here(self, file: PrivateFile) -> bool:
        """Tell whether anything is left of a file that no version has."""
        blocks = self._repository.blocks
        try:
            return not {file.cid, file.ipfs_cid}.isdisjoint(blocks.file(file.sha256).roots)
        except NotFound:
            return blocks.has(file.cid) or blocks.has(file.ipfs_cid)

    def _forget(self, file: PrivateFile) -> None:
        del self._files[file]
        self._organisations -= Counter([file.organisation])
        _without(self._by_sha256, file, [file.sha256])
        _without(self._by_node, file, [digest for digest, files in self._by_node.items() if file in files])

    def _find_nodes(self, file: PrivateFile, state: _State) -> None:
        if not self._is_public(file.sha256):  # else everybody may have them
            nodes, state.complete = _inner_nodes(self._repository.blocks, (file.cid, file.ipfs_cid))
            self._note_nodes(file, nodes)

    def _note_nodes(self, file: PrivateFile, digests: Iterable[bytes]) -> None:
        for digest in digests:
            self._by_node.setdefault(digest, set()).add(file)


class PrivateGuard:
    """Keeps one publisher from others' private files; implements `farlane.models.usable.Guard`.

    Args:
        files: whose are which.
        who: the publisher.
    """

    def __init__(self, files: PrivateFiles, who: Identity) -> None:
        self._files, self._who = files, who

    @property
    def hides(self) -> bool:
        """Whether there is anything that they may not have."""
        return self._files.hides_from(self._who)

    def file(self, sha256: str) -> bool:
        """Tell whether they may have a file, and all its leaves."""
        return self._files.may_have_file(self._who, sha256)

    def node(self, digest: bytes) -> bool:
        """Tell whether they may have a block that is no leaf of a file."""
        return self._files.may_have_node(self._who, digest)


def _owns(who: Identity, organisation: str) -> bool:
    return who.organisation == organisation or (not organisation and who.owner)


def _files_of(manifest: Manifest, organisation: str) -> frozenset[PrivateFile]:
    return frozenset(
        PrivateFile(organisation, one.sha256.hex(), one.cid, one.ipfs_cid) for one in manifest.files
    )


def _without(holders: dict[Name, set[PrivateFile]], file: PrivateFile, names: Iterable[Name]) -> None:
    for name in names:
        holders[name].discard(file)
        if not holders[name]:
            del holders[name]


def _inner_nodes(blocks: BlockSource, roots: Iterable[Cid]) -> tuple[set[bytes], bool]:
    """Return the inner nodes of files, as far as they are here, and whether all are."""
    waiting, nodes, whole = list(roots), set[bytes](), True
    while waiting:
        cid = waiting.pop()
        if cid.codec != DAG_PB or cid.digest in nodes:
            continue
        try:
            waiting += [link.cid for link in decode_node(blocks.get(cid)).links]
            nodes.add(cid.digest)
        except FarlaneError:
            whole = False
    return nodes, whole
