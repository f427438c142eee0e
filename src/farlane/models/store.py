"""The port of every content store: bytes in, CID out, and the same bytes back or an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from farlane.models.writer import Writer


class Collected(NamedTuple):
    """What a collection removed."""

    blobs: int
    size_bytes: int


class ContentStore(Protocol):
    """Blobs under their CIDs, each complete and verified before it can be seen.

    All methods may be called from any thread. A CID that is none raises `InvalidInput` everywhere.
    """

    @property
    def total_bytes(self) -> int:
        """Bytes of all blobs here."""
        ...

    def put(self, data: bytes | bytearray | memoryview) -> str:
        """Keep `data` and return its CID; what is here already is not written again.

        Raises:
            DiskFull: if there is no room, on the disk or in the budget.
            TooLarge: if it exceeds the whole budget.
        """
        ...

    def put_file(self, path: Path, *, move: bool = False) -> str:
        """Keep a file's content and return its CID.

        Args:
            path: a regular file; a link is refused. Its directories are trusted.
            move: take the file itself where possible, and in any case remove it. The caller promises that nobody
                has it open for writing.

        Raises:
            InvalidInput: if it is not a regular file.
            Conflict: if it was changed while it was being moved.
            DiskFull: if there is no room; the file stays.
            TooLarge: if it exceeds the whole budget; the file stays.
        """
        ...

    def begin(self, expected: str | None = None) -> Writer:
        """Start a blob that arrives in pieces; nothing is visible before its `commit`.

        Args:
            expected: the CID it must turn out to have.
        """
        ...

    def has(self, cid: str) -> bool:
        """Tell whether a blob is here; counts as a use of it."""
        ...

    def size(self, cid: str) -> int:
        """Return a blob's size in bytes.

        Raises:
            NotFound: if it is not here.
        """
        ...

    def read(self, cid: str, *, verify: bool = True) -> bytes:
        """Return a blob's bytes.

        Raises:
            NotFound: if it is not here.
            Corrupted: if its bytes no longer match; it is quarantined, so that it can be put again.
        """
        ...

    def open(self, cid: str) -> BinaryIO:
        """Open a blob for reading, unverified: its reader checks the hash, or `verify` was called before.

        Raises:
            NotFound: if it is not here.
        """
        ...

    def path(self, cid: str) -> Path:
        """Return a local read-only file with the blob's bytes, unverified; it stays while the blob is held.

        Raises:
            NotFound: if it is not here.
        """
        ...

    def verify(self, cid: str) -> None:
        """Read a blob and compare its hash.

        Raises:
            NotFound: if it is not here.
            Corrupted: if its bytes no longer match; it is quarantined, so that it can be put again.
        """
        ...

    def hold(self, cid: str) -> AbstractContextManager[None]:
        """Keep a blob from being evicted, collected or deleted inside the block; holds may nest.

        Raises:
            NotFound: if it is not here.
        """
        ...

    def delete(self, cid: str) -> bool:
        """Remove a blob and tell whether it was here.

        Raises:
            Conflict: if it is held.
        """
        ...

    def iterate(self) -> Iterator[str]:
        """Yield the CIDs here, in no order; blobs that come or go meanwhile may or may not be among them."""
        ...

    def collect(self, keep: Callable[[str], bool], older_than_s: float) -> Collected:
        """Remove what nobody needs.

        Args:
            keep: tells whether a CID is still referred to.
            older_than_s: blobs put or used within this many seconds stay: somebody may be about to refer to them.

        Returns:
            How many blobs and bytes were removed; held ones never are.
        """
        ...
