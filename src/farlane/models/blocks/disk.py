"""A block store in a directory, for several processes: what it keeps survives kills, power cuts and full disks.

<root>/blocks       single blocks, laid out as flatfs does; what lies there is what there is
<root>/files        whole files, each once; `index.sqlite` tells where in them the leaves of their DAGs lie
<root>/partial      files that arrive leaf by leaf
<root>/holds        who holds what
<root>/adding.lock  shared by those who add, exclusive for who collects
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from farlane.errors import Conflict, Corrupted, DiskFull, InvalidInput
from farlane.kit.clock import Clock, SystemClock
from farlane.kit.files import disk_full_as_error, open_regular, private_directory
from farlane.kit.hashing import sha256_stream
from farlane.models.blocks.assembly import DiskAssembly, drop_abandoned, partial_name
from farlane.models.blocks.checks import check_block, check_same_file
from farlane.models.blocks.describing import stamp_of
from farlane.models.blocks.disk_reading import DiskReading
from farlane.models.blocks.flatfs import FlatBlocks
from farlane.models.blocks.holding import AddersLock, Holds
from farlane.models.blocks.index import Index, IndexedFile, stamp_text
from farlane.models.blocks.port import Collected, FileAssembly, Placement, StoredFile
from farlane.models.blocks.whole_files import WholeFiles, check_unchanged, copy_content
from farlane.models.cid import RAW, Cid, Octets
from farlane.models.unixfs.file_dag import DescribedFile, FileDag

_BATCH_BLOCKS: Final = 128
_BATCH_BYTES: Final = 64 << 20
_SHA256: Final = re.compile("[0-9a-f]{64}")


class DiskBlockStore(DiskReading):
    """Blocks and files in a directory. Several objects, in several processes, may use one directory at once.

    Args:
        root: the store's directory, made with mode 0700 if it is missing.
        max_bytes: budget for all of them, or None for no limit but the disk's.
        clock: tells when something was used.

    Raises:
        PermissionRefused: a directory is open to others.
        Corrupted: the index is damaged or missing.
        Conflict: a newer farlane wrote the index.
        DiskFull: there is no room for the directories and the index.
    """

    def __init__(self, root: Path, *, max_bytes: int | None = None, clock: Clock | None = None) -> None:
        root = root.absolute()
        self.adders = AddersLock(private_directory(root) / "adding.lock")
        files = WholeFiles(root)
        super().__init__(FlatBlocks(root), files, self._open_index(root, files), clock or SystemClock())
        self._max_bytes = max_bytes
        self._partial = private_directory(root / "partial")
        self._holds = Holds(root / "holds")
        self._reserved_bytes = 0
        self._blocks.temporary.sweep()
        with self.adders.try_exclusive() as alone:
            if alone:
                self._files.tidy({file.sha256 for file in self._index.files()})

    def close(self) -> None:
        """Close the index; assemblies stay to be gone on with. The object is of no use afterwards."""
        for assembly in list(self._assemblies):
            assembly.close()
        self._index.close()

    def put(self, cid: Cid, data: Octets) -> None:
        """Keep a block."""
        self.put_many([(cid, data)])

    def put_many(self, blocks: Iterable[tuple[Cid, Octets]]) -> None:
        """Keep many blocks, a pass of syncs for each hundred or so."""
        batch: list[tuple[bytes, Octets]] = []
        size_bytes = 0
        for cid, data in blocks:
            check_block(cid, data)
            batch.append((cid.digest, data))
            size_bytes += memoryview(data).nbytes
            if len(batch) >= _BATCH_BLOCKS or size_bytes >= _BATCH_BYTES:
                self._write(batch)
                batch, size_bytes = [], 0
        self._write(batch)

    def add_file(
        self, path: Path, described: DescribedFile, placement: Placement = Placement.COPY
    ) -> StoredFile:
        """Keep a file and everything its DAGs consist of."""
        descriptor = open_regular(path)
        try:
            self._check_described(path, descriptor, described)
            with self.adders.shared():
                known = self._sound_file(described.sha256)
                if known and (placement is Placement.REFERENCE or not known.referenced):
                    self._enter(
                        known.sha256, described, (known.path, known.stamp) if known.referenced else None
                    )
                elif placement is Placement.REFERENCE:
                    stamp = stamp_text(stamp_of(os.fstat(descriptor)))
                    self._enter(described.sha256, described, (str(path.absolute()), stamp))
                else:
                    self._take(path, descriptor, described, placement)
                stored = self.file(described.sha256)
            if placement is Placement.MOVE and self._is_outside(path, descriptor, stored):
                path.unlink()
            return stored
        finally:
            os.close(descriptor)

    def begin_file(self, dags: Sequence[FileDag], sha256: str | None = None, whose: str = "") -> FileAssembly:
        """Start, or go on with, a file that arrives leaf by leaf."""
        check_same_file(dags)
        if sha256 is not None and not _SHA256.fullmatch(sha256):
            raise InvalidInput(
                f"{sha256[:100]!r} is no SHA-256: expected 64 hexadecimal digits in lower case"
            )
        path = self._partial / partial_name(sha256 or dags[0].root.text, whose)
        with self.adders.shared(), self._room(dags[0].size_bytes, beside=path):
            assembly = DiskAssembly(self, path, dags, sha256)
            with self._lock:
                self._assemblies.append(assembly)
        return assembly

    def partial_bytes(self, beside: Collection[str] = (), whose: str = "") -> int:
        """Return the bytes set aside for files that are not whole yet.

        Args:
            beside: SHA-256 of files that do not count.
            whose: who brings these.
        """
        return self._partial_bytes({partial_name(one, whose) for one in beside})

    def drop_partial(self, keep: Collection[str], *, before_s: float) -> None:
        """Drop what has come of files that nobody assembles at present.

        Args:
            keep: SHA-256 of files to leave.
            before_s: Unix seconds; those written to since stay.
        """
        with self.adders.exclusive():
            drop_abandoned(self._partial, keep, before_s)

    def forget_assembly(self, assembly: DiskAssembly) -> None:
        """Take note that an assembly is done."""
        with self._lock:
            if assembly in self._assemblies:
                self._assemblies.remove(assembly)

    def enter_file(self, source: Path, descriptor: int, sha256: str, dags: Sequence[FileDag]) -> StoredFile:
        """Make a complete and verified file of the store's own directories visible; the caller is adding.

        Raises:
            DiskFull: there is no room.
        """
        described = DescribedFile(sha256, dags[0].size_bytes, dags)
        known = self._sound_file(sha256)
        self._write_nodes(dags)
        if known is None or known.referenced:
            self._files.publish(source, descriptor, sha256, temporary=True)
        self._list(sha256, described, None)
        return self.file(sha256)

    def delete(self, cid: Cid) -> bool:
        """Remove a single block and tell whether it was here."""
        if any(root.digest == cid.digest for root in self.held()):
            raise Conflict(f"block {cid} is held and cannot be deleted: try again when it is released")
        for place in self._places(cid):
            raise Conflict(f"block {cid} is part of file {place.file.sha256}: delete the file")
        return self._blocks.remove(cid.digest)

    def delete_file(self, sha256: str) -> bool:
        """Remove a file, and its leaves with it, and tell whether it was here; waits for those who add."""
        with self.adders.exclusive():
            file = self._index.file(sha256)
            if file is None:
                return False
            if not self.held().isdisjoint(self._index.roots(file.number)):
                raise Conflict(f"file {sha256} is held and cannot be deleted: try again when it is released")
            self._drop(file)
            return True

    @contextlib.contextmanager
    def hold(self, root: Cid) -> Iterator[None]:
        """Keep everything that `root` leads to; waits while another one collects."""
        with self.adders.shared():
            held = self._holds.add(root)
        try:
            yield
        finally:
            self._holds.release(held)

    def held(self) -> frozenset[Cid]:
        """Return the roots held at present, by any process."""
        return self._holds.held()

    @contextlib.contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keep all others, in any process, from adding inside the block."""
        with self.adders.exclusive():
            yield

    def sweep(self, keep: Callable[[bytes], bool], *, max_bytes: int, spare_s: float) -> Collected:
        """Remove what is not kept, least recently used first; roots held now stay in any case."""
        with self.adders.exclusive():
            before_s = self._clock.now() - spare_s
            held = {root.digest for root in self.held()}
            total = self.total_bytes
            files = blocks = freed = 0
            for used_s, item in sorted(self._removable(keep, held), key=lambda pair: pair[0]):
                if total - freed <= max_bytes or used_s > before_s:
                    break
                if isinstance(item, IndexedFile):
                    self._drop(item)
                    files, freed = files + 1, freed + (0 if item.referenced else item.size_bytes)
                else:
                    size_bytes = self._blocks.size(item) or 0
                    self._blocks.remove(item)
                    blocks, freed = blocks + 1, freed + size_bytes
            return Collected(files, blocks, freed)

    def _open_index(self, root: Path, files: WholeFiles) -> Index:
        path = root / "index.sqlite"
        if path.exists():
            return Index(path)
        with self.adders.exclusive():
            if not path.exists() and files.has_any():
                raise Corrupted(
                    f"the block store's index {path} is missing, but there are files it knew: restore it, or move "
                    f"{root} away and add or fetch the models again",
                    path=str(path),
                )
            return Index(path)

    @staticmethod
    def _is_outside(path: Path, descriptor: int, stored: StoredFile) -> bool:
        """Tell whether a file's old name may go: it is still that file's, and not the name it has in the store."""
        unchanged = os.path.samestat(os.fstat(descriptor), path.lstat())
        return unchanged and path.resolve() != stored.path.resolve()

    def _removable(
        self, keep: Callable[[bytes], bool], held: set[bytes]
    ) -> Iterator[tuple[float, IndexedFile | bytes]]:
        kept = {number for digest, number in self._index.leaves() if digest in held or keep(digest)}
        for file in self._index.files():
            if file.number not in kept and held.isdisjoint(
                root.digest for root in self._index.roots(file.number)
            ):
                yield max(file.used_s, self._used_s.get(file.number, 0.0)), file
        for entry in self._blocks.entries():
            if entry.digest not in held and not keep(entry.digest):
                yield entry.used_s, entry.digest

    def _write(self, batch: Sequence[tuple[bytes, Octets]]) -> None:
        if not batch:
            return
        with self.adders.shared():
            new = [(digest, data) for digest, data in batch if not self._places(Cid(1, RAW, digest))]
            sizes = {
                digest: memoryview(data).nbytes for digest, data in new if self._blocks.size(digest) is None
            }
            with self._room(sum(sizes.values())):
                self._blocks.write(new, self._clock.now())

    def _write_nodes(self, dags: Sequence[FileDag]) -> None:
        self.put_many((cid, block) for dag in dags for cid, block in dag.nodes.items())

    def _enter(self, sha256: str, described: DescribedFile, referred: tuple[str, str] | None) -> None:
        """Make a file that lies in its place visible, with its nodes before it."""
        self._write_nodes(described.dags)
        self._list(sha256, described, referred)

    def _list(self, sha256: str, described: DescribedFile, referred: tuple[str, str] | None) -> None:
        """Make a file visible that lies in its place, as its nodes do."""
        self._index.enter(sha256, described.size_bytes, described.dags, self._clock.now(), referred)
        if referred is None:
            for dag in described.dags:
                for at in range(len(dag.leaves)):
                    self._blocks.remove(dag.leaves.digest(at))

    def _take(self, path: Path, descriptor: int, described: DescribedFile, placement: Placement) -> None:
        with self._room(described.size_bytes):
            if placement is Placement.MOVE and self._files.is_ours_to_take(descriptor):
                self._write_nodes(described.dags)
                mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
                if self._files.publish(path, descriptor, described.sha256, temporary=False):
                    try:
                        self._check_described(path, descriptor, described)
                        self._list(described.sha256, described, None)
                    except BaseException:
                        os.fchmod(descriptor, mode)
                        self._files.remove(described.sha256)
                        raise
                    return
            with disk_full_as_error(path):
                copy, temporary = self._blocks.temporary.create()
            try:
                with disk_full_as_error(temporary):
                    copy_content(descriptor, copy)
                self._check_described(path, descriptor, described)
                self.enter_file(temporary, copy, described.sha256, described.dags)
            finally:
                temporary.unlink(missing_ok=True)
                os.close(copy)

    def _check_described(self, path: Path, descriptor: int, described: DescribedFile) -> None:
        if described.stamp is not None:
            check_unchanged(path, descriptor, described.stamp)
            return
        with open(descriptor, "rb", buffering=0, closefd=False) as stream:
            stream.seek(0)
            if sha256_stream(stream).hex() != described.sha256:
                raise Conflict(
                    f"{path} was changed since it was described: describe it again", path=str(path)
                )

    def _partial_bytes(self, beside: Collection[str]) -> int:
        """Return what files under way will take, and what others have come to: else who breaks off keeps the room."""
        with self._lock:
            open_here = {assembly.name for assembly in self._assemblies}
        total = 0
        for path in self._partial.iterdir():
            if path.name not in beside:
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    come = min(status.st_size, status.st_blocks * 512)
                    total += status.st_size if path.name in open_here else come
        return total

    def _drop(self, file: IndexedFile) -> None:
        self._index.remove(file.number)
        self._used_s.pop(file.number, None)
        if not file.referenced:
            self._files.remove(file.sha256)

    @contextlib.contextmanager
    def _room(self, size_bytes: int, beside: Path | None = None) -> Iterator[None]:
        """Reserve room in the budget inside the block; what assemblies will hold is reserved, too."""
        if self._max_bytes is None or not size_bytes:
            yield
            return
        with self._lock:
            partial = self._partial_bytes({beside.name} if beside is not None else ())
            if self.total_bytes + partial + self._reserved_bytes + size_bytes > self._max_bytes:
                raise DiskFull(
                    f"the block store's {self._max_bytes} bytes do not hold {size_bytes} more: collect what is no "
                    "longer needed, or raise its budget",
                    limit_bytes=self._max_bytes,
                )
            self._reserved_bytes += size_bytes
        try:
            yield
        finally:
            with self._lock:
                self._reserved_bytes -= size_bytes
