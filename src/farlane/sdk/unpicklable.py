"""Why something cannot be pickled: finds the variable to blame and says what to do about it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from farlane.errors import InvalidJob

_MAX_DEPTH = 4
_ADVICE = "Create it inside the function, or pass in what it is made from (a path, a URL, settings) and open it there"
Pickle = Callable[[object], bytes]


def unpicklable_function(
    function: Callable[..., Any], name: str, cause: Exception, pickle: Pickle
) -> InvalidJob:
    """Return the error for a function that cannot be sent to another machine.

    Args:
        function: the function.
        name: as people know it.
        cause: what pickling it raised.
        pickle: how it is pickled, to try its parts one by one.
    """
    found = _culprit(_parts(function), pickle, _MAX_DEPTH)
    if found is None:
        blame = f"{type(cause).__name__}: {cause}. It, or something it refers to, cannot be pickled"
        return InvalidJob(
            f"function {name!r} cannot be sent to another machine: {blame}. {_ADVICE}", function=name
        )
    where, value = found
    return InvalidJob(
        f"function {name!r} cannot be sent to another machine: {where} is a {_kind(value)}, which cannot be "
        f"pickled ({cause}). {_ADVICE}",
        function=name,
        variable=where,
    )


def unpicklable_argument(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], cause: Exception, pickle: Pickle
) -> InvalidJob:
    """Return the error for arguments of `name` that cannot be sent to another machine."""
    found = _culprit(_arguments(args, kwargs), pickle, _MAX_DEPTH)
    where, value = found or ("an argument", (args, kwargs))
    return InvalidJob(
        f"call of {name!r} cannot be sent to another machine: {where} is a {_kind(value)}, which cannot be pickled "
        f"({cause}). Pass what it is made from instead",
        function=name,
        variable=where,
    )


def _culprit(parts: Iterator[tuple[str, object]], pickle: Pickle, depth: int) -> tuple[str, object] | None:
    for where, value in parts:
        try:
            pickle(value)
        except Exception:
            deeper = _culprit(_within(where, value), pickle, depth - 1) if depth else None
            return deeper or (where, value)
    return None


def _within(where: str, value: object) -> Iterator[tuple[str, object]]:
    if inspect.isfunction(value) or inspect.ismethod(value):
        for inner, part in _parts(value):
            yield f"{inner} of {value.__qualname__!r}", part
    elif isinstance(value, dict):
        for key, part in value.items():
            yield f"{where}[{key!r}]", part
    elif isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            yield f"{where}[{number}]", part
    elif inspect.ismodule(value) or (hasattr(value, "__dict__") and not isinstance(value, type)):
        for name, part in list(vars(value).items()):
            if not name.startswith("__"):
                yield f"{where}.{name}", part


def _parts(function: Callable[..., Any]) -> Iterator[tuple[str, object]]:
    inner = inspect.unwrap(function)
    if inspect.ismethod(inner):
        yield "'self'", inner.__self__
        inner = inner.__func__
    if not inspect.isfunction(inner):
        return
    variables = inspect.getclosurevars(inner)
    for name, value in variables.nonlocals.items():
        yield f"its enclosed variable {name!r}", value
    for name, value in variables.globals.items():
        yield f"its global variable {name!r}", value
    defaults = zip(
        reversed(inspect.signature(inner).parameters), reversed(inner.__defaults__ or ()), strict=False
    )
    for name, value in (*defaults, *(inner.__kwdefaults__ or {}).items()):
        yield f"the default of its parameter {name!r}", value


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for number, value in enumerate(args, 1):
        yield f"argument {number}", value
    for name, value in kwargs.items():
        yield f"argument {name!r}", value


def _kind(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
