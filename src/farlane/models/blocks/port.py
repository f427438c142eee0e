"""The port of every place that keeps blocks: blocks by CID, and whole files whose parts are blocks.

A file is kept once, as a file; an index maps the leaves of each of its DAGs to (file, offset, length). Inner nodes and
other blocks are kept one by one. Whether a CID has version 0 or 1, and its codec, do not matter for finding a block:
its SHA-256 does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from farlane.models.cid import Cid, Octets
from farlane.models.unixfs.file_dag import DescribedFile, FileDag, Leaves

MAX_BLOCK_BYTES: Final = 2 << 20
"""Largest block kept. Source: the limit of bitswap messages in other IPFS implementations."""

May = Callable[[Cid], bool]
"""Tells whether somebody may have a block."""


class Location(NamedTuple):
    """Where a block's bytes lie in a local file; unverified."""

    path: Path
    offset: int
    length: int


class StoredFile(NamedTuple):
    """A file in a store: its SHA-256 (64 hex digits), size and where it lies (read-only; made to be mapped)."""

    sha256: str
    size_bytes: int
    path: Path
    roots: tuple[Cid, ...]


class Collected(NamedTuple):
    """What a collection removed."""

    files: int
    blocks: int
    size_bytes: int


class Placement(StrEnum):
    """How a file comes into a store."""

    COPY = "copy"
    """Its content is copied, by reflink where the file system can."""
    MOVE = "move"
    """The file itself is taken where possible, and in any case removed."""
    REFERENCE = "reference"
    """It stays where it is; who changes or removes it takes its blocks away."""


class BlockSource(Protocol):
    """Blocks to read. All methods may be called from any thread."""

    def has(self, cid: Cid) -> bool:
        """Tell whether a block is here."""
        ...

    def size(self, cid: Cid) -> int:
        """Return a block's size in bytes.

        Raises:
            NotFound: it is not here.
        """
        ...

    def get(self, cid: Cid) -> bytes:
        """Return a block, verified.

        Raises:
            NotFound: it is not here.
            Corrupted: its bytes no longer match; it is out of sight from now on and can be put again.
        """
        ...

    def locate(self, cid: Cid) -> Location | None:
        """Return where a block's bytes lie, for `sendfile`; None if only `get` can give it. Unverified.

        Raises:
            NotFound: it is not here.
        """
        ...


class FileAssembly(Protocol):
    """A file that arrives leaf by leaf, in any order, from several threads.

    What was written survives the death of the process: beginning the same file again goes on where it ended. The leaves
    are those of the first DAG; those written already are found by `get`, `has` and `locate` of the store.
    """

    @property
    def leaves(self) -> Leaves:
        """The leaves to write."""
        ...

    def missing(self) -> Sequence[int]:
        """Return the indices of the leaves not written yet, in order."""
        ...

    def write(self, index: int, data: Octets) -> None:
        """Write one leaf: the block's bytes, verified first.

        Raises:
            Corrupted: the bytes are others; nothing is written.
            DiskFull: there is no room.
            Conflict: the assembly is done.
        """
        ...

    def copy_local(self, may: May | None = None) -> int:
        """Fill the leaves that are in the store already, verified, and return how many bytes that saved.

        Args:
            may: tells which of them may be taken; all without it.
        """
        ...

    def commit(self) -> StoredFile:
        """Check the whole file's SHA-256 and make it visible, on disk to stay.

        Raises:
            Conflict: leaves are missing, or the assembly is done.
            Corrupted: the leaves are right and yet the file is not the expected one; what was written is dropped.
            DiskFull: there is no room.
        """
        ...

    def close(self) -> None:
        """Stop and keep what was written for the next time; nothing happens if it is done."""
        ...

    def abort(self) -> None:
        """Stop and drop what was written; nothing happens if it is done."""
        ...


class BlockStore(BlockSource, Protocol):
    """Blocks and files to read and write."""

    @property
    def total_bytes(self) -> int:
        """Bytes of all files and single blocks here; referenced files count nothing."""
        ...

    def put(self, cid: Cid, data: Octets) -> None:
        """Keep a block; what is here already is not written again.

        Raises:
            Corrupted: the bytes are not the block's.
            TooLarge: it exceeds MAX_BLOCK_BYTES.
            DiskFull: there is no room, on the disk or in the budget.
        """
        ...

    def put_many(self, blocks: Iterable[tuple[Cid, Octets]]) -> None:
        """Keep many blocks with one pass of syncs; all are on disk to stay when it returns.

        Raises:
            Corrupted, TooLarge, DiskFull: as `put`; blocks before the one at fault may be kept.
        """
        ...

    def add_file(
        self, path: Path, described: DescribedFile, placement: Placement = Placement.COPY
    ) -> StoredFile:
        """Keep a file and everything its DAGs consist of; on disk to stay when it returns.

        Args:
            path: a regular file; a link is refused. Its directories are trusted.
            described: of the same file, read by `describe_file`.
            placement: whether it is copied, moved or only referred to.

        Raises:
            InvalidInput: it is not a regular file.
            Conflict: it was changed since it was described; it stays.
            DiskFull: there is no room; it stays.
        """
        ...

    def begin_file(self, dags: Sequence[FileDag], sha256: str | None = None, whose: str = "") -> FileAssembly:
        """Start, or go on with, a file that arrives leaf by leaf.

        Args:
            dags: all of one file; the leaves of the first are written.
            sha256: of the whole file, checked at the end; None if only the DAGs are known.
            whose: who brings it; of each the file is another, so that nobody waits for, or goes on with, what a
                stranger began.

        Raises:
            InvalidInput: the DAGs have different sizes.
            Conflict: the same file of the same owner is being assembled already.
            DiskFull: there is no room.
        """
        ...

    def partial_bytes(self, beside: Collection[str] = (), whose: str = "") -> int:
        """Return the bytes set aside for files that are not whole yet: of those that nobody assembles, what has come.

        Args:
            beside: SHA-256 of files that do not count.
            whose: who brings these.
        """
        ...

    def drop_partial(self, keep: Collection[str], *, before_s: float) -> None:
        """Drop what has come of files that nobody assembles at present.

        Args:
            keep: SHA-256 of files, begun without an owner, to leave.
            before_s: Unix seconds; those written to since stay.
        """
        ...

    def holders(self, cid: Cid) -> frozenset[str]:
        """Return the SHA-256 of all files, whole or under way, that have a block as a leaf; none for single blocks."""
        ...

    def file(self, sha256: str) -> StoredFile:
        """Return a file by its SHA-256.

        Raises:
            NotFound: it is not here.
        """
        ...

    def file_path(self, sha256: str) -> Path:
        """Return a local read-only file with this content, unverified; it stays while one of its roots is held.

        Raises:
            NotFound: it is not here.
        """
        ...

    def files(self) -> Iterator[StoredFile]:
        """Yield the files here, in no order."""
        ...

    def iterate(self) -> Iterator[Cid]:
        """Yield a raw CID for each block here, leaves of files among them, in no order and without duplicates."""
        ...

    def delete(self, cid: Cid) -> bool:
        """Remove a single block and tell whether it was here.

        Raises:
            Conflict: it is part of a file, or held.
        """
        ...

    def delete_file(self, sha256: str) -> bool:
        """Remove a file, and its leaves with it, and tell whether it was here; its inner nodes stay.

        Raises:
            Conflict: one of its roots is held.
        """
        ...

    def hold(self, root: Cid) -> AbstractContextManager[None]:
        """Keep everything that `root` leads to from being collected or deleted, by any process; holds may nest."""
        ...

    def held(self) -> frozenset[Cid]:
        """Return the roots held at present, by any process."""
        ...

    def exclusively(self) -> AbstractContextManager[None]:
        """Keep all others, in any process, from adding inside the block."""
        ...

    def sweep(self, keep: Callable[[bytes], bool], *, max_bytes: int, spare_s: float) -> Collected:
        """Remove what is not kept, least recently used first, until at most `max_bytes` are here.

        Used by `farlane.models.blocks.collection`, which knows what to keep.

        Args:
            keep: tells whether a block, by its SHA-256, must stay. A file stays if one of its leaves must.
            max_bytes: what may stay; 0 removes everything that is not kept.
            spare_s: what was put or used within so many seconds stays.
        """
        ...
