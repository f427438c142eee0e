"""Text files of traces, plain or gzip, line by line, with the place of what is wrong in every error."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from farlane.errors import Corrupted, InvalidInput, NotFound

MAX_LINE_CHARS = 1 << 16
MAX_TEXT_BYTES = 1 << 32
"""No trace unpacks to more: a small gzip file can hold any amount of zeros."""
_GZIP = b"\x1f\x8b"


@contextmanager
def opened(path: Path) -> Iterator[Iterator[str]]:
    """Lend the lines of a trace, UTF-8 with or without a byte order mark, whatever ends them.

    Raises:
        NotFound: there is no such file.
        Corrupted: it is no text, or a gzip file that is damaged or cut off.
        InvalidInput: a line, or the whole of it, is longer than any trace's.
    """
    try:
        with unpacked(path) as stream, io.TextIOWrapper(stream, encoding="utf-8-sig") as text:
            yield _lines(path, text)
    except UnicodeDecodeError as error:
        raise Corrupted(f"{path} is damaged or no UTF-8 text: {error}. Load it again") from error


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """Lend the bytes of a file, unpacked where it is a gzip file; raises as `opened`."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise NotFound(
            f"cannot read the trace {path}: {error.strerror}; expected a file, plain or gzip"
        ) from error
    with raw:
        try:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw) if packed else raw)
        except (EOFError, OSError, zlib.error) as error:
            raise Corrupted(f"{path} is damaged: {error}. Load it again") from error


def number(path: Path, line: int, name: str, text: str) -> float:
    """Read a number.

    Raises:
        InvalidInput: it is none, or not finite; the message says where it stands.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e18:
        raise InvalidInput(f"{path}, line {line}: {name} is {text[:40]!r}; expected a number")
    return value


def _lines(path: Path, text: io.TextIOBase) -> Iterator[str]:
    at = size = 0
    while line := text.readline(MAX_LINE_CHARS + 1):
        at, size = at + 1, size + len(line)
        if len(line) > MAX_LINE_CHARS:
            raise InvalidInput(f"{path}, line {at}: more than {MAX_LINE_CHARS} characters; is this a trace?")
        if size > MAX_TEXT_BYTES:
            raise InvalidInput(f"{path} holds more than {MAX_TEXT_BYTES >> 30} GiB of text; is this a trace?")
        yield line
