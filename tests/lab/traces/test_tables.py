"""Reading tables, whatever is wrong with them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from farlane.errors import Corrupted, InvalidInput
from farlane.lab.traces import table as tables
from farlane.lab.traces import text as texts
from farlane.lab.traces.table import Field, numbered, read_table

FIELDS = (Field("size", least=1, most=64, whole=True), Field("run", empty=7.0))


def written(tmp_path: Path, raw: bytes) -> Path:
    path = tmp_path / "table"
    path.write_bytes(raw)
    return path


def test_columns_of_numbers_and_words_are_read_with_their_lines(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, b"other,size,run,who\n9,1,2.5, ada \n9,64,,bob\n"), FIELDS, ("who",))
    assert table.whole("size").tolist() == [1, 64]
    assert table.numbers["run"].tolist() == [2.5, 7.0]
    assert table.words["who"] == ["ada", "bob"]
    assert table.line.tolist() == [2, 3]


@pytest.mark.parametrize(
    "raw",
    [
        b"size,run\r\n1,2\r\n",
        b"\xef\xbb\xbfsize,run\n1,2\n",
        b"size,run\r1,2\r",
        gzip.compress(b"size,run\n1,2"),
    ],
)
def test_ends_of_lines_and_marks_of_order_do_not_matter(tmp_path: Path, raw: bytes) -> None:
    assert read_table(written(tmp_path, raw), FIELDS).numbers["run"].tolist() == [2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("size\n1\n", "has no column run"),
        ("", "has no column size, run"),
        ("size,run\n", "header and no row"),
        ("size,run,run\n1,2,3\n", "names a column twice"),
        ("size,run\n1,2\n1\n", "line 3: fields are missing"),
        ("size,run\n1,2,3\n", "line 2: there are more fields"),
        ("size,run\n0,2\n", "line 2: size is 0; expected 1 to 64"),
        ("size,run\n1.5,2\n", "size is 1.5; expected a whole number"),
        ("size,run\n,2\n", "size is ''; expected a number"),
        ("size,run\n1,-2\n", "run is -2"),
        ("size,run\n1,nan\n", "run is 'nan'; expected a number"),
        ("size,run\n1,inf\n", "run is 'inf'; expected a number"),
        ("size,run\n1,1e999\n", "expected a number"),
        ("size,run\n1,1_0\n2,0x1\n", "line 3: run is '0x1'"),
        ("size,run\n1,\x00\n", "expected a number"),
        ('size,run\n1,"' + "2\n" * 80_000 + '"\n', "field larger than field limit"),
        ("size,run\n" + "1" * 70_000, "line 2: more than 65536 characters"),
        ("size,run,who\n1,2," + "w" * 300 + "\n", "who has 300 characters"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        read_table(written(tmp_path, text.encode()), FIELDS, ("who",) if "who" in text else ())


@pytest.mark.parametrize(
    "raw",
    [
        gzip.compress(b"size,run\n" + b"1,2\n" * 9)[:-9],
        gzip.compress(b"size,run\n1,2\n")[:12] + b"\xff" * 40,
        b"\x1f\x8b",
        "size,run\n1,2é\n".encode("latin-1"),
        "size,run\n1,2\n".encode("utf-16"),
    ],
)
def test_what_cannot_be_unpacked_or_is_no_text_is_damaged(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(Corrupted, match="damaged"):
        read_table(written(tmp_path, raw), FIELDS)


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, gzip.compress(b"size,run\n" + b"1,2\n" * 100))
    monkeypatch.setattr(tables, "MAX_ROWS", 99)
    with pytest.raises(InvalidInput, match="more than 99 rows"):
        read_table(path, FIELDS)
    monkeypatch.setattr(texts, "MAX_TEXT_BYTES", 100)
    with pytest.raises(InvalidInput, match="GiB of text"):
        read_table(path, FIELDS)


def test_names_are_numbered_in_order_without_the_empty_one() -> None:
    names, rows = numbered(["b", "", "a", "b"])
    assert (names, rows.tolist()) == (("a", "b"), [1, -1, 0, 1])
