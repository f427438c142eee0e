"""Whose private files are at the hub: who may not read them must send their blocks, as if they were not there."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from farlane.errors import FarlaneError, NotFound
from farlane.models.blocks.port import BlockSource
from farlane.models.cid import DAG_PB, Cid
from farlane.models.manifest.values import Manifest, ModelFile
from farlane.models.repository import Repository
from farlane.models.unixfs.dag_pb import decode_node
from farlane.wire.serving import Identity

log = logging.getLogger(__name__)
Name = TypeVar("Name", str, bytes)


@dataclass(slots=True)
class _Version:
    """A version that is here, was here, or arrives.

    named: whether it is in the catalog; arriving: pushes that bring it; complete: whether its inner nodes are known.
    """

    organisation: str
    manifest: Manifest
    named: bool = False
    arriving: int = 0
    complete: bool = False


_Key = tuple[Cid, str]
"""A manifest, and the organisation whose it is: what another one sends under the same name is another's."""


class PrivateFiles:
    """Private versions of a repository by organisation, found when they are first needed and kept up from then on.

    What was removed, or broken off, stays its organisation's while it is here. May be used from any thread.

    Args:
        repository: the hub's.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._lock = threading.RLock()
        self._public: dict[Cid, tuple[bytes, ...]] = {}
        self._public_files: Counter[str] = Counter()
        self._private: dict[_Key, _Version] = {}
        self._organisations: Counter[str] = Counter()
        self._by_file: dict[str, set[_Key]] = {}
        self._by_node: dict[bytes, set[_Key]] = {}

    def guard(self, who: Identity) -> PrivateGuard:
        """Return what keeps somebody from others' private files, now and while they send."""
        with self._lock:
            self._look()
            for key, version in self._private.items():
                if not version.complete and not _owns(who, version.organisation):
                    self._find_nodes(key)
        return PrivateGuard(self, who)

    @contextmanager
    def arriving(self, cid: Cid, manifest: Manifest, organisation: str) -> Iterator[None]:
        """Know a version as its organisation's while it comes, if it is private; what came of it earlier is found."""
        if manifest.encryption is None:
            yield
            return
        with self._lock:
            version = self._private.get((cid, organisation)) or self._add(
                cid, _Version(organisation, manifest)
            )
            version.arriving += 1
            self._find_nodes((cid, organisation))
        try:
            yield
        finally:
            with self._lock:
                version.arriving -= 1

    def nodes_come(self, cid: Cid, organisation: str, digests: Iterable[bytes]) -> None:
        """Know inner nodes of a private version that arrives, before they are kept."""
        with self._lock:
            self._note_nodes((cid, organisation), digests)

    def hides_from(self, who: Identity) -> bool:
        """Tell whether there are private versions that somebody may not read."""
        with self._lock:
            return any(not _owns(who, organisation) for organisation in self._organisations)

    def may_have_file(self, who: Identity, sha256: str) -> bool:
        """Tell whether a file is public, somebody's own, or unknown."""
        with self._lock:
            return self._public_files[sha256] > 0 or self._theirs(who, self._by_file.get(sha256, ()))

    def may_have_node(self, who: Identity, digest: bytes) -> bool:
        """Tell whether a block is no inner node of a private file, or of somebody's own.

        One that a public file has, too, is sent again: that costs little.
        """
        with self._lock:
            return self._theirs(who, self._by_node.get(digest, ()))

    def _theirs(self, who: Identity, keys: Collection[_Key]) -> bool:
        """Tell whether what private versions have is somebody's: nobody else's, or part of what they have published."""
        owned = [key for key in keys if _owns(who, key[1])]
        return len(owned) == len(keys) or any(self._private[key].named for key in owned)

    def _look(self) -> None:
        """Hear which versions came and went, here or by another process."""
        now = self._repository.catalog.manifests()
        for cid in self._public.keys() - now:
            self._public_files -= Counter(one.hex() for one in self._public.pop(cid))
        known = self._public.keys() | {cid for (cid, _), version in self._private.items() if version.named}
        for cid in now - known:
            try:
                self._name(cid)
            except FarlaneError as error:
                log.debug("%s is looked at later: %s", cid, error.message)
        for key, version in list(self._private.items()):
            if key[0] not in now:
                version.named = False
                if not version.arriving and not self._is_here(version):
                    self._forget(key)

    def _name(self, cid: Cid) -> None:
        named, manifest = self._repository.version_of(cid)
        if manifest.encryption is None:
            self._public[cid] = tuple(file.sha256 for file in manifest.files)
            self._public_files.update(one.hex() for one in self._public[cid])
            return
        organisation = self._repository.catalog.model(named.name).organisation
        version = self._private.get((cid, organisation)) or self._add(cid, _Version(organisation, manifest))
        version.named, version.complete = True, False

    def _add(self, cid: Cid, version: _Version) -> _Version:
        key = cid, version.organisation
        self._private[key] = version
        self._organisations[version.organisation] += 1
        for file in version.manifest.files:
            self._by_file.setdefault(file.sha256.hex(), set()).add(key)
        return version

    def _is_here(self, version: _Version) -> bool:
        """Tell whether anything is left of a version without a name."""
        return any(map(self._file_is_here, version.manifest.files))

    def _file_is_here(self, file: ModelFile) -> bool:
        try:
            self._repository.blocks.file(file.sha256.hex())
        except NotFound:
            return any(self._repository.blocks.has(root) for root in (file.cid, file.ipfs_cid))
        return True

    def _forget(self, key: _Key) -> None:
        version = self._private.pop(key)
        self._organisations -= Counter([version.organisation])
        _without(self._by_file, key, {file.sha256.hex() for file in version.manifest.files})
        _without(self._by_node, key, [digest for digest, keys in self._by_node.items() if key in keys])

    def _find_nodes(self, key: _Key) -> None:
        version, roots = self._private[key], set[Cid]()
        for file in version.manifest.files:
            roots |= {file.cid, file.ipfs_cid}
        nodes, whole = _inner_nodes(self._repository.blocks, roots)
        self._note_nodes(key, nodes)
        version.complete = version.named and whole

    def _note_nodes(self, key: _Key, digests: Iterable[bytes]) -> None:
        for digest in digests:
            self._by_node.setdefault(digest, set()).add(key)


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


def _without(holders: dict[Name, set[_Key]], key: _Key, names: Iterable[Name]) -> None:
    for name in names:
        holders[name].discard(key)
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
