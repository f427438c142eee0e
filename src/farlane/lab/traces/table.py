"""Tables: comma-separated traces with a header, read into columns of numbers and of words."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farlane.errors import InvalidInput
from farlane.lab.traces.text import number, opened
from farlane.scheduler.sim.world import Floats, Ints

MAX_ROWS = 20_000_000
MAX_WORD_CHARS = 200
MOST = 1e15
"""No number of a trace is larger: as whole numbers and as floats they are the same up to here."""


@dataclass(frozen=True, slots=True)
class Field:
    """A column of numbers: between which they are, whether they are whole, and what an empty one stands for."""

    name: str
    least: float = 0.0
    most: float = MOST
    whole: bool = False
    empty: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of r rows in the order of the file. numbers: (r,) by name; words: by name; line: (r,) of the file."""

    path: Path
    numbers: dict[str, Floats]
    words: dict[str, list[str]]
    line: Ints

    def __len__(self) -> int:
        return len(self.line)

    def whole(self, name: str) -> Ints:
        """Return a column of whole numbers: (r,)."""
        return self.numbers[name].astype(np.int64)


def read_table(path: Path, fields: Sequence[Field], words: Sequence[str] = ()) -> Table:
    """Read some columns of a table; others may be there.

    Raises:
        NotFound: there is no such file.
        Corrupted: it is no text, or cannot be unpacked.
        InvalidInput: a column is missing; a row is shorter or longer than the header; a number is none or out of
            range; there is no row, or there are more than any trace has. The message says where.
    """
    numbers = {field.name: array("d") for field in fields}
    texts: dict[str, list[str]] = {name: [] for name in words}
    places = array("q")
    known: dict[str, str] = {}
    for at, row in table_rows(path, [*numbers, *texts]):
        for field in fields:
            numbers[field.name].append(_number(path, at, field, row[field.name]))
        for name in words:
            word = row[name].strip()
            if len(word) > MAX_WORD_CHARS:
                raise InvalidInput(f"{path}, line {at}: {name} has {len(word)} characters; expected a name")
            texts[name].append(known.setdefault(word, word))
        places.append(at)
    columns = {name: np.frombuffer(column, np.float64) for name, column in numbers.items()}
    return Table(path, columns, texts, np.frombuffer(places, np.int64))


def table_rows(path: Path, wanted: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row with its line; raises as `read_table`."""
    count = 0
    with opened(path) as lines:
        reader = csv.DictReader(lines)
        try:
            _check_header(path, reader.fieldnames or (), wanted)
            for row in reader:
                count += 1
                _check_row(path, reader.line_num, count, row)
                yield reader.line_num, row
        except csv.Error as error:
            raise InvalidInput(f"{path}, line {reader.line_num}: {error}; expected a table") from error
    if not count:
        raise InvalidInput(f"{path} has a header and no row")


def numbered(names: Sequence[str]) -> tuple[tuple[str, ...], Ints]:
    """Return the distinct names in order, and the row of each among them, -1 for an empty one."""
    distinct = tuple(sorted(set(names) - {""}))
    rows = {name: row for row, name in enumerate(distinct)}
    return distinct, np.array([rows.get(name, -1) for name in names], np.int64)


def _check_header(path: Path, header: Sequence[str], wanted: Sequence[str]) -> None:
    lacking = [name for name in wanted if name not in header]
    if lacking:
        raise InvalidInput(f"{path} has no column {', '.join(lacking)}; expected {', '.join(wanted)}")
    if len(set(header)) < len(header):
        raise InvalidInput(f"{path} names a column twice: {', '.join(header)}")


def _check_row(path: Path, at: int, count: int, row: dict[str, str]) -> None:
    if None in row.values():
        raise InvalidInput(f"{path}, line {at}: fields are missing")
    if None in row:
        raise InvalidInput(f"{path}, line {at}: there are more fields than the header names")
    if count > MAX_ROWS:
        raise InvalidInput(f"{path} has more than {MAX_ROWS} rows; read a part of it")


def _number(path: Path, at: int, field: Field, text: str) -> float:
    if not text.strip() and field.empty is not None:
        return field.empty
    value = number(path, at, field.name, text)
    if not field.least <= value <= field.most:
        raise InvalidInput(
            f"{path}, line {at}: {field.name} is {value:g}; expected {field.least:g} to {field.most:g}"
        )
    if field.whole and value != int(value):
        raise InvalidInput(f"{path}, line {at}: {field.name} is {value:g}; expected a whole number")
    return value
