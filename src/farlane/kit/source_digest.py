"""Which sources compiled code was made from: a function's own file, and all of the package that it may call or read.

numba keeps machine code as long as the function's own file is the same. Constants and functions of other files are part
of that code too: without this an edit, or an upgrade, would leave old numbers in force.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The folder that the package lies in."""
WITHIN = "farlane"
"""Modules outside of it do not change between two versions of ours, or numba looks at them itself."""


def digest(path: Path, root: Path = ROOT, within: str = WITHIN) -> str:
    """Return the SHA-256, in hex, of a source and of all that it imports, and these do, within a package."""
    known, left = {path}, [path]
    while left:
        found = _imported(left.pop(), root, within) - known
        known |= found
        left.extend(found)
    whole = hashlib.sha256()
    for each in sorted(known):
        whole.update(_read(each))
        whole.update(b"\0")
    return whole.hexdigest()


@cache
def _read(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _imported(path: Path, root: Path, within: str) -> frozenset[Path]:
    """Return the files of the modules that a source imports, of those within the package."""
    tree = ast.parse(_read(path))
    names = {name for name in _names(tree) if name == within or name.startswith(f"{within}.")}
    files = {root.joinpath(*name.split(".")).with_suffix(".py") for name in names}
    return frozenset(each for each in files if each.is_file())


def _names(tree: ast.Module) -> Iterator[str]:
    """Yield what may be a module's name in imports: `from a import b` may mean a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
