"""The recursion limit of the process, kept where a library lifts it as it is imported."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_one_at_a_time = threading.RLock()
"""Else a thread might take the limit that another's import has lifted for the one to go back to."""


@contextmanager
def recursion_limit_kept() -> Iterator[None]:
    """Put the limit back after an import: under a higher one, a deeply nested JSON text overflows the stack."""
    with _one_at_a_time:
        before = sys.getrecursionlimit()
        try:
            yield
        finally:
            if sys.getrecursionlimit() > before:
                sys.setrecursionlimit(before)
