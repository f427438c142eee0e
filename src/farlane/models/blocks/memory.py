"""A block store in memory: the fake for tests, with every promise of the real one but durability."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from farlane.errors import Conflict, DiskFull, NotFound
from farlane.kit.clock import Clock, SystemClock
from farlane.kit.files import open_regular
from farlane.kit.hashing import sha256, sha256_hex
from farlane.models.blocks.assembly import partial_name
from farlane.models.blocks.checks import check_block, check_same_file, damaged, missing_block, missing_file
from farlane.models.blocks.memory_assembly import MemoryAssembly
from farlane.models.blocks.port import Collected, FileAssembly, Location, Placement, StoredFile
from farlane.models.cid import RAW, Cid, Octets
from farlane.models.unixfs.file_dag import DescribedFile, FileDag
from farlane.models.unixfs.nodes import wrap_leaf


class _Place(NamedTuple):
    """Where a leaf lies: a file by its SHA-256, and whether the block is a node around the bytes."""

    sha256: str
    offset: int
    length: int
    wrapped: bool


class _File:
    def __init__(self, data: bytes, dags: Sequence[FileDag], used_s: float) -> None:
        self.data = data
        self.roots = tuple(dag.root for dag in dags)
        self.dags = list(dags)
        self.used_s = used_s
        self.path: Path | None = None


class MemoryBlockStore:
    """Blocks and files in memory.

    Args:
        max_bytes: budget for all of them, or None for no limit.
        clock: tells when something was used.
    """

    def __init__(self, *, max_bytes: int | None = None, clock: Clock | None = None) -> None:
        self._max_bytes = max_bytes
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()
        self._blocks: dict[bytes, bytes] = {}
        self._used_s: dict[bytes, float] = {}
        self._files: dict[str, _File] = {}
        self._places: dict[bytes, _Place] = {}
        self._holds: Counter[Cid] = Counter()
        self._assemblies: dict[str, MemoryAssembly] = {}
        self._directory = Path(tempfile.mkdtemp(prefix="farlane-blocks-"))
        weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)

    @property
    def total_bytes(self) -> int:
        """Bytes of all files and single blocks here."""
        with self._lock:
            return sum(map(len, self._blocks.values())) + sum(len(file.data) for file in self._files.values())

    def has(self, cid: Cid) -> bool:
        """Tell whether a block is here."""
        return self._find(cid) is not None

    def size(self, cid: Cid) -> int:
        """Return a block's size in bytes."""
        return len(self._require(cid))

    def get(self, cid: Cid) -> bytes:
        """Return a block, verified."""
        data = self._require(cid)
        if sha256(data) == cid.digest:
            return data
        with self._lock:
            self._forget(cid.digest)
        raise damaged(cid)

    def locate(self, cid: Cid) -> Location | None:
        """Return where a leaf lies in the file made for it; None for single blocks."""
        self._require(cid)
        with self._lock:
            place = self._places.get(cid.digest)
            if place is None or place.wrapped or cid.digest in self._blocks:
                return None
            return Location(self.file_path(place.sha256), place.offset, place.length)

    def put(self, cid: Cid, data: Octets) -> None:
        """Keep a block."""
        check_block(cid, data)
        with self._lock:
            found = self._find(cid)
            if found is None or sha256(found) != cid.digest:
                self._forget(cid.digest)
                self._require_room(memoryview(data).nbytes)
                self._blocks[cid.digest] = bytes(data)
            self._used_s[cid.digest] = self._clock.now()

    def put_many(self, blocks: Iterable[tuple[Cid, Octets]]) -> None:
        """Keep many blocks."""
        for cid, data in blocks:
            self.put(cid, data)

    def add_file(
        self, path: Path, described: DescribedFile, placement: Placement = Placement.COPY
    ) -> StoredFile:
        """Keep a file and everything its DAGs consist of; a referenced file is copied all the same."""
        with open(open_regular(path), "rb") as stream:
            data = stream.read()
        if sha256_hex(data) != described.sha256:
            raise Conflict(f"{path} was changed since it was described: describe it again", path=str(path))
        stored = self._keep(data, described.dags)
        if placement is Placement.MOVE:
            path.unlink()
        return stored

    def begin_file(self, dags: Sequence[FileDag], sha256: str | None = None, whose: str = "") -> FileAssembly:
        """Start, or go on with, a file that arrives leaf by leaf."""
        check_same_file(dags)
        key = partial_name(sha256 or dags[0].root.text, whose)
        with self._lock:
            assembly = self._assemblies.get(key)
            if assembly is None:
                self._require_room(dags[0].size_bytes)
                assembly = self._assemblies[key] = MemoryAssembly(self, key, dags, sha256)
            elif assembly.open:
                raise Conflict(f"file {key} is being assembled already: wait for it or close it first")
            assembly.open, assembly.used_s = True, self._clock.now()
            return assembly

    def partial_bytes(self, beside: Collection[str] = (), whose: str = "") -> int:
        """Return the bytes set aside for files that are not whole yet."""
        names = {partial_name(one, whose) for one in beside}
        with self._lock:
            return sum(one.room_bytes for key, one in self._assemblies.items() if key not in names)

    def drop_partial(self, keep: Collection[str], *, before_s: float) -> None:
        """Drop what has come of files that nobody assembles at present."""
        with self._lock:
            for key, one in list(self._assemblies.items()):
                if key not in keep and not one.open and one.used_s < before_s:
                    del self._assemblies[key]

    def holders(self, cid: Cid) -> frozenset[str]:
        """Return the SHA-256 of all files, whole or under way, that have a block as a leaf."""
        with self._lock:
            whole = [name for name, file in self._files.items() if any(
                cid.digest == dag.leaves.digest(at) for dag in file.dags for at in range(len(dag.leaves)))]  # fmt: skip
            begun = [one.key for one in self._assemblies.values() if one.find(cid.digest) is not None]
        return frozenset((*whole, *begun))

    def file(self, sha256: str) -> StoredFile:
        """Return a file by its SHA-256."""
        with self._lock:
            file = self._files.get(sha256)
            if file is None:
                raise missing_file(sha256)
            return StoredFile(sha256, len(file.data), self.file_path(sha256), file.roots)

    def file_path(self, sha256: str) -> Path:
        """Return a read-only file, written when it is first asked for."""
        with self._lock:
            file = self._files.get(sha256)
            if file is None:
                raise missing_file(sha256)
            file.used_s = self._clock.now()
            if file.path is None:
                file.path = self._directory / sha256
                file.path.write_bytes(file.data)
                file.path.chmod(0o400)
            return file.path

    def files(self) -> Iterator[StoredFile]:
        """Yield the files here."""
        for name in list(self._files):
            with contextlib.suppress(NotFound):
                yield self.file(name)

    def iterate(self) -> Iterator[Cid]:
        """Yield a raw CID for each block here."""
        with self._lock:
            digests = self._blocks.keys() | self._places.keys()
        return (Cid(1, RAW, digest) for digest in digests)

    def delete(self, cid: Cid) -> bool:
        """Remove a single block and tell whether it was here."""
        with self._lock:
            if any(root.digest == cid.digest for root in self._holds):
                raise Conflict(f"block {cid} is held and cannot be deleted: try again when it is released")
            if cid.digest in self._places:
                raise Conflict(
                    f"block {cid} is part of file {self._places[cid.digest].sha256}: delete the file"
                )
            self._used_s.pop(cid.digest, None)
            return self._blocks.pop(cid.digest, None) is not None

    def delete_file(self, sha256: str) -> bool:
        """Remove a file, and its leaves with it, and tell whether it was here."""
        with self._lock:
            file = self._files.get(sha256)
            if file is None:
                return False
            if any(root in self._holds for root in file.roots):
                raise Conflict(f"file {sha256} is held and cannot be deleted: try again when it is released")
            self._drop_file(sha256)
            return True

    @contextlib.contextmanager
    def hold(self, root: Cid) -> Iterator[None]:
        """Keep everything that `root` leads to."""
        with self._lock:
            self._holds[root] += 1
        try:
            yield
        finally:
            with self._lock:
                self._holds[root] -= 1
                self._holds += Counter()  # drops those at zero

    def held(self) -> frozenset[Cid]:
        """Return the roots held at present."""
        with self._lock:
            return frozenset(self._holds)

    @contextlib.contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keep all other threads from adding."""
        with self._lock:
            yield

    def sweep(self, keep: Callable[[bytes], bool], *, max_bytes: int, spare_s: float) -> Collected:
        """Remove what is not kept, least recently used first."""
        with self._lock:
            before_s = self._clock.now() - spare_s
            kept_files = {place.sha256 for digest, place in self._places.items() if keep(digest)}
            items: list[tuple[float, str | bytes]] = [
                (file.used_s, name) for name, file in self._files.items() if name not in kept_files
            ]
            items += [(self._used_s[digest], digest) for digest in self._blocks if not keep(digest)]
            total = self.total_bytes
            files = blocks = freed = 0
            for used_s, item in sorted(items, key=lambda pair: pair[0]):
                if total - freed <= max_bytes or used_s > before_s:
                    break
                if isinstance(item, str):
                    freed += len(self._files[item].data)
                    self._drop_file(item)
                    files += 1
                else:
                    freed += len(self._blocks.pop(item))
                    del self._used_s[item]
                    blocks += 1
            return Collected(files, blocks, freed)

    def _keep(self, data: bytes, dags: Sequence[FileDag]) -> StoredFile:
        name = sha256_hex(data)
        with self._lock:
            if name in self._files:
                dags = [
                    *self._files[name].dags,
                    *(dag for dag in dags if dag.root not in self._files[name].roots),
                ]
            else:
                self._require_room(
                    len(data) + sum(len(block) for dag in dags for block in dag.nodes.values())
                )
            path = self._files[name].path if name in self._files else None
            if path is not None:
                path.unlink(missing_ok=True)
            self._files[name] = _File(data, dags, self._clock.now())
            self._index(name, dags)
            self.put_many((cid, block) for dag in dags for cid, block in dag.nodes.items())
            return self.file(name)

    def _index(self, name: str, dags: Sequence[FileDag]) -> None:
        for dag in dags:
            leaves = dag.leaves
            for index in range(len(leaves)):
                leaf = leaves[index]
                self._places[leaf.cid.digest] = _Place(name, leaf.offset, leaf.length, leaves.wrapped)
                self._blocks.pop(leaf.cid.digest, None)
                self._used_s.pop(leaf.cid.digest, None)

    def _drop_file(self, name: str) -> None:
        file = self._files.pop(name)
        for digest in [digest for digest, place in self._places.items() if place.sha256 == name]:
            del self._places[digest]
        for other, kept in self._files.items():
            self._index(other, kept.dags)
        if file.path is not None:
            file.path.unlink(missing_ok=True)

    def _find(self, cid: Cid) -> bytes | None:
        with self._lock:
            block = self._blocks.get(cid.digest)
            if block is not None:
                self._used_s[cid.digest] = self._clock.now()
                return block
            place = self._places.get(cid.digest)
            if place is not None:
                file = self._files[place.sha256]
                file.used_s = self._clock.now()
                part = file.data[place.offset : place.offset + place.length]
                return wrap_leaf(part) if place.wrapped else part
            for assembly in self._assemblies.values():
                if (arrived := assembly.find(cid.digest)) is not None:
                    return arrived
            return None

    def _require(self, cid: Cid) -> bytes:
        data = self._find(cid)
        if data is None:
            raise missing_block(cid)
        return data

    def _forget(self, digest: bytes) -> None:
        self._blocks.pop(digest, None)
        self._used_s.pop(digest, None)
        self._places.pop(digest, None)

    def _require_room(self, size_bytes: int) -> None:
        if self._max_bytes is not None and self.total_bytes + size_bytes > self._max_bytes:
            raise DiskFull(
                f"the block store's {self._max_bytes} bytes do not hold {size_bytes} more: collect what is no longer "
                "needed, or raise its budget",
                limit_bytes=self._max_bytes,
            )
