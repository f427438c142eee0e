"""The nearest known names to a mistyped one, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LISTED_AT_MOST = 12


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return up to `count` known names that look like `name`, best first; case, `-` and `_` do not matter."""
    by_folded: dict[str, str] = {}
    for candidate in known:
        by_folded.setdefault(_fold(candidate), candidate)
    matches = difflib.get_close_matches(_fold(name), by_folded, n=count, cutoff=0.6)
    return [by_folded[match] for match in matches]


def hint(name: str, known: Iterable[str]) -> str:
    """Return the half-sentence an error about an unknown `name` ends with.

    Returns:
        `did you mean 'x'?` when something is near, else the known names (at most 12).
    """
    names = sorted(known)
    if matches := nearest(name, names, count=1):
        return f"did you mean {matches[0]!r}?"
    if not names:
        return "none is known here"
    more = f" and {len(names) - _LISTED_AT_MOST} more" if len(names) > _LISTED_AT_MOST else ""
    return f"known: {', '.join(names[:_LISTED_AT_MOST])}{more}"


def _fold(name: str) -> str:
    return name.casefold().replace("-", "_")
