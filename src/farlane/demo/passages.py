"""The demo's text: Jane Austen's "Pride and Prejudice" (1813, public domain), cut into passages.

`passages.txt` holds one passage a line (chapter, tab, text); scripts/build_passages.py made it from
Debian's package `r-cran-janeaustenr`. The text is in the public domain everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from farlane.errors import Corrupted

TITLE = "Pride and Prejudice"
AUTHOR = "Jane Austen"


@dataclass(frozen=True, slots=True)
class Passage:
    """A few sentences of the novel, about 40 to 120 words, in reading order."""

    number: int
    """Place in the novel, from 0."""
    chapter: int
    """Chapter, 1 to 61."""
    text: str
    """The passage on one line, without markup."""


def load_passages(limit: int | None = None) -> tuple[Passage, ...]:
    """Read the shipped passages in reading order.

    Args:
        limit: how many to return, from the start of the novel; None for all (about 1,500).

    Raises:
        Corrupted: a line of the shipped file is not `chapter<TAB>text`.
    """
    lines = files("farlane.demo").joinpath("passages.txt").read_text(encoding="utf-8").splitlines()
    return tuple(_parse(number, line) for number, line in enumerate(lines[:limit]))


def _parse(number: int, line: str) -> Passage:
    chapter, tab, text = line.partition("\t")
    if not (chapter.isdecimal() and tab and text):
        raise Corrupted(
            f"line {number + 1} of the demo's passages.txt is not 'chapter<TAB>text'; "
            "reinstall farlane to get the shipped file back",
            line=number + 1,
        )
    return Passage(number, int(chapter), text)
