"""Text files of traces, plain or gzip, line by line, with the place of what is wrong in every error."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farlane.errors import Corrupted, InvalidInput, NotFound

MAX_LINE_CHARS = 1 << 16
_GZIP = b"\x1f\x8b"


@contextmanager
def opened(path: Path) -> Iterator[io.TextIOBase]:
    """Lend a trace as text.

    Raises:
        NotFound: there is no such file.
        Corrupted: it is no text, or a gzip file that is cut off.
    """
    try:
        raw = path.open("rb")
    except OSError as error:
        raise NotFound(
            f"cannot read the trace {path}: {error.strerror}; expected a file, plain or gzip"
        ) from error
    with raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw) if packed else raw
        try:
            yield io.TextIOWrapper(stream, encoding="utf-8")
        except (UnicodeDecodeError, EOFError, OSError) as error:
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
