"""Local files that a command job takes along: a working directory and single inputs, with caps."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from farlane.domain.units import bytes_text
from farlane.errors import InvalidJob, TooLarge

MAX_FILES = 10_000
MAX_TOTAL_BYTES = 4 << 30
IGNORED = (
    ".git",
    ".hg",
    ".svn",
    "__pycache__",
    "*.pyc",
    ".venv",
    "node_modules",
    ".mypy_cache",
    ".pytest_cache",
)
"""Names that never travel with a working directory."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """One file to send: where the command finds it (relative, `/` between parts) and where it is now."""

    path: str
    source: Path
    size_bytes: int


def working_directory(directory: Path) -> list[LocalFile]:
    """Return the files of a working directory, sorted; version control, caches and links that lead out are left out.

    Raises:
        InvalidJob: it is not a directory.
        TooLarge: too many files or bytes.
    """
    if not directory.is_dir():
        raise InvalidJob(f"workdir {str(directory)!r} is not a directory", field="workdir")
    return _capped(_files_below(directory, PurePosixPath()), "workdir")


def input_files(target: str, source: Path) -> list[LocalFile]:
    """Return the files for one input: the file itself, or every file of a directory below `target`.

    Raises:
        InvalidJob: there is nothing to read, or the target leaves the working directory.
        TooLarge: too many files or bytes.
    """
    relative = relative_target(target)
    if source.is_dir():
        return _capped(_files_below(source, relative), "inputs")
    try:
        status = source.stat()
    except OSError as error:
        raise InvalidJob(f"input {str(source)!r} cannot be read: {error.strerror}", field="inputs") from error
    if not stat.S_ISREG(status.st_mode):
        raise InvalidJob(f"input {str(source)!r} is neither a file nor a directory", field="inputs")
    return _capped(iter((LocalFile(str(relative), source, status.st_size),)), "inputs")


def relative_target(target: str) -> PurePosixPath:
    """Return a path inside the command's working directory.

    Raises:
        InvalidJob: it is absolute, empty, or leads out.
    """
    path = PurePosixPath(target)
    if not target or path.is_absolute() or ".." in path.parts or not path.parts or "\0" in target:
        raise InvalidJob(
            f"{target!r} is not a path inside the working directory; expected something like 'data/part.csv'",
            path=target,
        )
    return path


def _files_below(root: Path, target: PurePosixPath) -> Iterator[LocalFile]:
    for directory, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not _ignored(name))
        below = target / PurePosixPath(Path(directory).relative_to(root).as_posix())
        for name in sorted(files):
            source = Path(directory) / name
            # A link out of the directory would send what nobody meant to send.
            if _ignored(name) or not source.resolve().is_relative_to(root.resolve()) or not source.is_file():
                continue
            yield LocalFile(str(below / name), source, source.stat().st_size)


def _capped(files: Iterator[LocalFile], what: str) -> list[LocalFile]:
    taken: list[LocalFile] = []
    total = 0
    for file in files:
        taken.append(file)
        total += file.size_bytes
        if len(taken) > MAX_FILES or total > MAX_TOTAL_BYTES:
            raise TooLarge(
                f"{what}: more than {MAX_FILES} files or {bytes_text(MAX_TOTAL_BYTES)}; send less, or let the "
                "command fetch its data",
                field=what,
            )
    return taken


def _ignored(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in IGNORED)
