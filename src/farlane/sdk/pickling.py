"""Pickles of functions and arguments that open on a machine which has none of the user's own modules."""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import io
import pickle
import site
import sys
import sysconfig
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle

PROTOCOL = 5
"""Pickle protocol: the newest that every supported Python opens."""

_ATOMS = frozenset({int, float, str, bytes, bool, type(None)})
# cloudpickle keeps its list of by-value modules in the process: two pickles at a time would undo each other's.
_REGISTRY = threading.RLock()
_LOCAL_NAMES = ("__builtins__", "__cached__", "__loader__", "__spec__")


def pickle_function(function: object) -> bytes:
    """Return a callable as bytes that need only installed packages to open.

    What `__main__` and the user's own modules define goes by value, all else by reference.

    Raises:
        Exception: whatever the objects it refers to raise when they are pickled.
    """
    return _dumps(function)


def pickle_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """Return the arguments of one call as bytes.

    Raises:
        Exception: whatever the arguments raise when they are pickled.
    """
    if not kwargs:
        for value in args:
            if type(value) not in _ATOMS:
                return _dumps((args, kwargs))
        return pickle.dumps((args, kwargs), PROTOCOL)
    return _dumps((args, kwargs))


def _dumps(value: object) -> bytes:
    buffer = io.BytesIO()
    with _REGISTRY, _Pickler(buffer) as pickler:
        pickler.dump(value)
    return buffer.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle ships no types
    """A cloudpickle pickler that sends the user's own modules by value, and forgets them afterwards."""

    def __init__(self, buffer: io.BytesIO) -> None:
        super().__init__(buffer, protocol=PROTOCOL)
        self._registered: list[types.ModuleType] = []

    def __enter__(self) -> _Pickler:
        return self

    def __exit__(self, *_: object) -> None:
        for module in self._registered:
            with contextlib.suppress(ValueError):
                cloudpickle.unregister_pickle_by_value(module)

    def reducer_override(self, obj: Any) -> Any:
        """Reduce own modules, and register the own module of a class or function before cloudpickle looks."""
        if isinstance(obj, types.ModuleType):
            return _module_by_value(obj) if is_own_module(obj.__name__) else NotImplemented
        if isinstance(obj, (type, types.FunctionType)):
            self._register(getattr(obj, "__module__", None))
        return super().reducer_override(obj)

    def _register(self, name: str | None) -> None:
        if name is None or name == "__main__" or not is_own_module(name):
            return
        if name not in cloudpickle.list_registry_pickle_by_value():
            module = sys.modules[name]
            cloudpickle.register_pickle_by_value(module)
            self._registered.append(module)


def _module_by_value(module: types.ModuleType) -> tuple[Any, ...]:
    # State apart from the constructor: modules that import each other would recurse for ever otherwise.
    content = {name: value for name, value in vars(module).items() if name not in _LOCAL_NAMES}
    return types.ModuleType, (module.__name__,), content


def is_own_module(name: str) -> bool:
    """Tell whether a loaded module is the user's own source, which no other machine has."""
    module = sys.modules.get(name)
    if module is None or name.partition(".")[0] == "farlane":
        return False
    origin = getattr(module, "__file__", None)
    if name == "__main__" or not isinstance(origin, str):
        return False
    return _is_own_file(origin)


@functools.lru_cache(maxsize=4096)
def _is_own_file(origin: str) -> bool:
    if not origin.endswith(
        tuple(importlib.machinery.SOURCE_SUFFIXES + importlib.machinery.BYTECODE_SUFFIXES)
    ):
        return False
    path = Path(origin).resolve()
    if "site-packages" in path.parts or "dist-packages" in path.parts:
        return False
    return not any(path.is_relative_to(root) for root in _installed_roots())


@functools.cache
def _installed_roots() -> tuple[Path, ...]:
    return tuple(Path(root).resolve() for root in _roots() if root)


def _roots() -> Iterator[str | None]:
    for name in ("stdlib", "platstdlib", "purelib", "platlib"):
        yield sysconfig.get_path(name)
    yield from site.getsitepackages()
    yield site.getusersitepackages()
