"""The record as a file: gzip members of JSON lines, written so that an interrupted export goes on where it was."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from farlane.errors import Corrupted, TooLarge
from farlane.ledger.record import (
    MAX_LINE_BYTES,
    Cursor,
    Entry,
    RecordBook,
    RecordEnd,
    RecordHeader,
    RecordLeaves,
    RecordVoucher,
    entry_of,
    line_of,
)

MEMBER_BYTES = 1 << 20
"""Uncompressed bytes after which a gzip member ends: what an interruption loses at most."""
MAX_LEAVES = 50_000_000
"""Leaves of one record; an audit keeps 20 bytes of each."""
MAX_BOOKS = 1_000_000
_READ_BYTES = 1 << 16
_GZIP_WBITS = 31


class RecordWriter:
    """Writes a record to `path`, by way of `path.part`, which a later writer takes up; same lines, same bytes.

    Args:
        path: the file in the end.
        header: the record's; what is there of another one is begun anew.
    """

    def __init__(self, path: Path, header: RecordHeader) -> None:
        self._path, self._part = path, path.with_name(path.name + ".part")
        self._tally = _Tally()
        self.cursor = Cursor()
        self._waiting = bytearray()
        self._file = self._part.open("a+b")
        if not self._take_up(header):
            self._file.truncate(0)
            self._tally, self.cursor = _Tally(), Cursor()
            self._write(line_of(header), header)

    @property
    def leaves(self) -> int:
        """How many leaves there are so far."""
        return self._tally.leaves

    def add(self, line: bytes) -> None:
        """Append a line as it came from a hub.

        Raises:
            InvalidInput: it is no line of a record.
            Corrupted: the record has more than a record may have, or a second header or an end in its middle.
        """
        entry = entry_of(line)
        if isinstance(entry, RecordHeader | RecordEnd):
            raise Corrupted("the hub's record begins or ends in its middle; ask its operator to upgrade it")
        self._write(line, entry)

    def finish(self) -> RecordEnd:
        """Write the end, and put the file in place; a file that was there before is replaced."""
        end = self._tally.end()
        self._write(line_of(end), end)
        self._end_member()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self._path)
        return end

    def close(self) -> None:
        """Stop for now; what was written stays for the next writer, up to the last member that is complete."""
        self._file.close()

    def _write(self, line: bytes, entry: Entry) -> None:
        self._tally.add(line, entry)
        self.cursor = self.cursor.after(entry)
        self._waiting += line
        if len(self._waiting) >= MEMBER_BYTES:
            self._end_member()

    def _end_member(self) -> None:
        if self._waiting:
            packer = zlib.compressobj(6, wbits=_GZIP_WBITS)
            self._file.write(packer.compress(self._waiting) + packer.flush())
            self._waiting.clear()

    def _take_up(self, header: RecordHeader) -> bool:
        """Read what an earlier writer left and cut off its last, incomplete member; False where it is of no use."""
        self._file.seek(0)
        end = 0
        try:
            for lines, end in _members(self._file):  # noqa: B007  # the last end is needed
                for line in lines:
                    entry = entry_of(line)
                    if self._tally.lines == 0 and entry != header:
                        return False
                    self._tally.add(line, entry)
                    self.cursor = self.cursor.after(entry)
        except Exception:  # whatever stands there, it is not ours
            return False
        self._file.truncate(end)
        self._file.seek(end)
        return self._tally.lines > 0


def read_record(path: Path, max_leaves: int = MAX_LEAVES) -> Iterator[Entry]:
    """Yield a record file's entries, without its end, reading as it goes.

    Raises:
        Corrupted: it is no record, is cut off, was changed, or has too much.
        InvalidInput: a line of it has no meaning.
        TooLarge: a line, or the whole, is beyond its cap.
    """
    tally = _Tally(max_leaves)
    end: RecordEnd | None = None
    for line in _lines(path):
        if end is not None:
            raise Corrupted(f"{path} goes on behind its end; export it again")
        entry = entry_of(line)
        if isinstance(entry, RecordEnd):
            end = entry
            continue
        if isinstance(entry, RecordHeader) != (tally.lines == 0):
            raise Corrupted(f"{path} does not begin as a record does, or begins twice; export it again")
        tally.add(line, entry)
        yield entry
    if end is None:
        raise Corrupted(f"{path} is cut off: it has no end; export it again")
    if end != tally.end():
        raise Corrupted(
            f"{path} was changed since it was written: its lines do not fit its end; export it again"
        )


def write_record(path: Path, header: RecordHeader, lines: Iterable[bytes]) -> RecordEnd:
    """Write a whole record."""
    writer = RecordWriter(path, header)
    for line in lines:
        writer.add(line)
    return writer.finish()


class _Tally:
    """Counts lines and hashes them."""

    def __init__(self, max_leaves: int = MAX_LEAVES) -> None:
        self.lines = self.books = self.leaves = self.vouchers = 0
        self._max_leaves = max_leaves
        self._digest = hashlib.sha256()

    def add(self, line: bytes, entry: Entry) -> None:
        self.lines += 1
        if not isinstance(entry, RecordEnd):
            self._digest.update(line)
        self.books += isinstance(entry, RecordBook)
        self.vouchers += isinstance(entry, RecordVoucher)
        if isinstance(entry, RecordLeaves):
            self.leaves += len(entry.leaves)
        if self.leaves > self._max_leaves or self.books > MAX_BOOKS:
            raise TooLarge(
                f"the record has {self.leaves} leaves in {self.books} books; expected at most {self._max_leaves} in "
                f"{MAX_BOOKS}"
            )

    def end(self) -> RecordEnd:
        return RecordEnd(self.books, self.leaves, self.vouchers, self._digest.digest())


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") as stream:
            while line := stream.readline(MAX_LINE_BYTES + 1):
                if not line.endswith(b"\n"):
                    raise Corrupted(f"{path} has a line that is too long or does not end; export it again")
                yield line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Corrupted(f"{path} is cut off or no record of farlane: {error}; export it again") from error


def _members(file: BinaryIO) -> Iterator[tuple[list[bytes], int]]:
    """Yield the lines of each complete gzip member with the place behind it; an incomplete one ends it."""
    data, place = b"", 0
    unpacker, found = zlib.decompressobj(_GZIP_WBITS), bytearray()
    while True:
        if not data and not (data := file.read(_READ_BYTES)):
            return
        found += unpacker.decompress(data, 2 * MEMBER_BYTES)
        if len(found) > MEMBER_BYTES + MAX_LINE_BYTES:
            raise TooLarge(f"a member of the record has more than {MEMBER_BYTES + MAX_LINE_BYTES} bytes")
        taken = len(data) - len(unpacker.unused_data) - len(unpacker.unconsumed_tail)
        place += taken
        data = unpacker.unused_data or unpacker.unconsumed_tail
        if unpacker.eof:
            yield bytes(found).splitlines(keepends=True), place
            unpacker, found = zlib.decompressobj(_GZIP_WBITS), bytearray()
