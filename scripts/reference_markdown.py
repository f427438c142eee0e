"""Pieces of the reference as Markdown: pages, tables, and descriptions that must be there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

NOTICE = "<!-- Made by scripts/generate_reference.py from the code: change the code, then run `make reference`. -->"


class Undescribed(Exception):
    """Something that people can use has no description."""


def described(what: str, text: str | None) -> str:
    """Return a description on one line, or complain that there is none."""
    line = " ".join((text or "").split())
    if not line:
        raise Undescribed(f"{what} has no description")
    return line


def cell(text: str) -> str:
    """Return a text as a cell of a table."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in rows]
    return "\n".join(lines)


def page(title: str, *parts: str) -> str:
    """Return a whole page."""
    return "\n\n".join((f"# {title}", NOTICE, *parts)) + "\n"
