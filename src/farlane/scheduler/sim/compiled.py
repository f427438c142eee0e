"""Compiling the simulator's loops: by numba where it is installed, else they run as Python, several times slower."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

COMPILED = find_spec("numba") is not None
"""Whether loops are compiled here."""


def compiled(function: F) -> F:
    """Compile a function at its first call, and keep the result beside its source for the next process."""
    if not COMPILED:
        return function
    from numba import njit

    return cast(F, njit(cache=True)(function))
