"""The files of a folder that becomes a version, and the folder that a version becomes: links refused, paths checked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from farlane.errors import InvalidInput, NotFound, TooLarge
from farlane.models.manifest.paths import MAX_PARTS, check_path, check_paths
from farlane.models.manifest.values import MAX_FILES

IGNORED: Final = frozenset({".git", ".cache", "__pycache__", ".DS_Store", ".ipynb_checkpoints"})
"""Never part of a model."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to add: its path inside the version, where it lies, its bytes."""

    path: str
    source: Path
    size: int


def find_files(source: Path) -> tuple[FoundFile, ...]:
    """Return the files of a folder, or the one file, in the order of their paths.

    Raises:
        NotFound: there is nothing.
        InvalidInput: a link, pipe or device, or a path that no model may have.
        TooLarge: more than MAX_FILES.
    """
    if source.is_symlink() or not source.exists():
        if source.is_symlink():
            raise _link(source)
        raise NotFound(f"{source} does not exist: name a folder with a model, or one file", path=str(source))
    if source.is_file():
        found = [FoundFile(check_path(source.name), source, source.stat().st_size)]
    else:
        found = sorted(_walk(source, "", 0), key=lambda one: one.path)
    if not found:
        raise InvalidInput(f"{source} holds no file: name the folder with the model in it", path=str(source))
    if len(found) > MAX_FILES:
        raise TooLarge(f"{source} holds {len(found)} files, more than {MAX_FILES}: is it the right folder?")
    check_paths(one.path for one in found)
    return tuple(found)


def _walk(folder: Path, prefix: str, depth: int) -> Iterator[FoundFile]:
    if depth > MAX_PARTS:
        raise InvalidInput(f"{folder} is more than {MAX_PARTS} folders deep: is it the right folder?")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in IGNORED:
                continue
            path = f"{prefix}{entry.name}"
            if entry.is_symlink():
                raise _link(Path(entry.path))
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), f"{path}/", depth + 1)
            elif entry.is_file(follow_symlinks=False):
                yield FoundFile(check_path(path), Path(entry.path), entry.stat(follow_symlinks=False).st_size)
            else:
                raise InvalidInput(f"{entry.path} is a pipe or device, no file: remove it from the folder")


def _link(path: Path) -> InvalidInput:
    return InvalidInput(
        f"{path} is a symbolic link, which may lead anywhere: copy the folder with `cp -rL` and add the copy",
        path=str(path),
    )
