"""Paths of files inside a model: relative, the same file on every operating system, and never outside of the folder."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from farlane.errors import InvalidInput

MAX_PATH_BYTES: Final = 1024
MAX_PART_BYTES: Final = 255
MAX_PARTS: Final = 32
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
# Source: Microsoft, Naming Files, Paths, and Namespaces.
_FORBIDDEN: Final = frozenset('<>:"|?*\\')


def check_path(path: str) -> str:
    """Return a path that a file of a model may have.

    Raises:
        InvalidInput: it is absolute, leaves its folder, or cannot be written on some operating system.
    """
    if reason := _fault(path):
        raise InvalidInput(
            f"{path[:100]!r} is no path for a file of a model: {reason}; expected a relative path such as "
            "`weights/model.safetensors`: rename the file",
            path=path[:100],
        )
    return path


def check_paths(paths: Iterable[str]) -> None:
    """Check paths, and that no two of them are one file where case or Unicode's forms do not count.

    Raises:
        InvalidInput: one is no path, or two collide, or one is the folder of another.
    """
    seen: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        key = folded(check_path(path))
        if key in seen:
            raise _collision(path, seen[key])
        seen[key] = path
        parts = path.split("/")
        for count in range(1, len(parts)):
            folder = "/".join(parts[:count])
            known = folders.setdefault(folded(folder), folder)
            if known != folder:
                raise _collision(folder, known)
    for key in seen.keys() & folders.keys():
        raise _collision(seen[key], folders[key] + "/")


def folded(path: str) -> str:
    """Return what two paths have in common that name one file on a system that ignores case."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


def _collision(one: str, other: str) -> InvalidInput:
    return InvalidInput(
        f"the paths {one!r} and {other!r} are one file on systems that ignore case or compose letters: rename one",
        path=one,
    )


def _fault(path: str) -> str:
    """Return what is wrong with a path, empty if nothing is."""
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if not path or size > MAX_PATH_BYTES:
        return f"it has {size} bytes, not 1 to {MAX_PATH_BYTES}"
    if unicodedata.normalize("NFC", path) != path:
        return "its letters are not in Unicode's composed form (NFC)"
    parts = path.split("/")
    if len(parts) > MAX_PARTS:
        return f"it is {len(parts)} folders deep, more than {MAX_PARTS}"
    return next((fault for part in parts if (fault := _part_fault(part))), "")


def _part_fault(part: str) -> str:
    if part in {"", ".", ".."}:
        return f"it has a part {part!r}"
    if len(part.encode()) > MAX_PART_BYTES:
        return f"a part is longer than {MAX_PART_BYTES} bytes"
    if any(unicodedata.category(letter) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for letter in part):
        return "it has control or invisible characters"
    if _FORBIDDEN & set(part):
        return f"it has one of {' '.join(sorted(_FORBIDDEN))}"
    if part[-1] in ". ":
        return f"a part ends with {part[-1]!r}"
    return f"{part!r} is a device on Windows" if _RESERVED.fullmatch(part) else ""
