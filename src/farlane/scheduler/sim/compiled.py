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
    return _with(function, counted=True)


def lean(function: F) -> F:
    """Compile a function that makes no array, only changes those it is given: without counting references to them.

    A world and a state are some sixty arrays, and every access to a part of them would count all of its arrays, which
    takes longer than the work itself.
    """
    return _with(function, counted=False)


def _with(function: F, counted: bool) -> F:
    """Compile with or without counting; said of both, since a function is else compiled as its first caller is."""
    if not COMPILED:
        return function
    import numba

    from farlane.kit.kept_code import stamped

    options: dict[str, Any] = {"cache": True, "_nrt": counted}
    with stamped():
        return cast(F, numba.njit(**options)(function))
