"""The streaming writer all content stores share: it hashes while it writes and shows nothing unverified."""

from __future__ import annotations

import hashlib
from types import TracebackType
from typing import Protocol, Self

from farlane.errors import Conflict, Corrupted
from farlane.kit.cid import cid_of_digest, parse


class Sink(Protocol):
    """Where a store puts the pieces of a blob that is not complete yet."""

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take the next piece."""
        ...

    def publish(self, cid: str) -> None:
        """Make the pieces visible as this blob, durably."""
        ...

    def discard(self) -> None:
        """Forget the pieces; must be harmless after an error of the other two."""
        ...


class Writer:
    """One blob on its way into a store. Leaving it as a context manager without `commit` aborts.

    Args:
        sink: the store's side.
        expected: the CID the content must turn out to have, or None for any.
    """

    def __init__(self, sink: Sink, expected: str | None) -> None:
        if expected is not None:
            parse(expected)
        self._sink = sink
        self._expected = expected
        self._digest = hashlib.sha256()
        self._open = True
        self.written_bytes = 0

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Add the next piece; after an error the writer is aborted.

        Raises:
            DiskFull: if there is no room.
            TooLarge: if the blob exceeds the whole budget of the store.
            Conflict: if the writer is done.
        """
        self._require_open()
        try:
            self._sink.write(chunk)
        except BaseException:
            self.abort()
            raise
        self._digest.update(chunk)
        self.written_bytes += memoryview(chunk).nbytes

    def commit(self) -> str:
        """Make the blob visible, on disk to stay, and return its CID; after an error the writer is aborted.

        Raises:
            Corrupted: if the content is not the expected one.
            DiskFull: if there is no room.
            Conflict: if the writer is done.
        """
        self._require_open()
        cid = cid_of_digest(self._digest.digest())
        try:
            if self._expected is not None and cid != self._expected:
                raise Corrupted(
                    f"{self.written_bytes} bytes arrived for {self._expected} but hash to {cid}: nothing was kept; "
                    "send them again, or fetch them from another source",
                    cid=self._expected,
                )
            self._sink.publish(cid)
        except BaseException:
            self.abort()
            raise
        self._open = False
        return cid

    def abort(self) -> None:
        """Forget what was written; nothing happens if the writer is done."""
        if self._open:
            self._open = False
            self._sink.discard()

    def _require_open(self) -> None:
        if not self._open:
            raise Conflict("this writer is done (committed, aborted or failed): begin a new one")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abort()
