"""Collecting a command's output files without trusting anything it left: no links, only plain files, within caps."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from farlane.errors import InvalidInput, NotFound, TooLarge
from farlane.node.executors.port import OutputFile

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a planted pipe must not wait for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAX_DEPTH = 64
_MAX_SPANS = 3
_MAX_ENTRIES = 1_000_000


def collect_outputs(
    work: str, patterns: Sequence[str], destination: str, *, max_file_bytes: int, max_files: int
) -> tuple[OutputFile, ...]:
    """Move the files that match into a flat directory of our own, where no path leads through the command's hands.

    Args:
        work: the command's working directory; nothing may run in it any longer.
        patterns: relative paths or globs: `*` and `?` stay within one name, `**` spans directories. A directory
            stands for all files below it. Links are never followed: a pattern that names one fails, a glob skips it.
        destination: directory to make, on the same file system.
        max_file_bytes: largest file.
        max_files: how many may match.

    Returns:
        The files, sorted by path, each once.

    Raises:
        InvalidInput: a pattern leads outside, or names a link, pipe, socket or device.
        NotFound: a plain path that names nothing.
        TooLarge: a file, or the number of files, is beyond its cap.
    """
    wanted = [_Pattern(text) for text in patterns]
    os.mkdir(destination, 0o700)
    collected: dict[str, OutputFile] = {}
    root = os.open(work, _DIRECTORY)
    try:
        for pattern in wanted:
            # All matches before anything moves: no directory changes while it is read.
            matching = list(pattern.matches(root))
            for path in matching:
                if path not in collected:
                    if len(collected) >= max_files:
                        raise TooLarge(
                            f"more than {max_files} output files: name fewer, or pack them into one"
                        )
                    target = os.path.join(destination, str(len(collected)))
                    collected[path] = OutputFile(path, target, _take(root, path, target, max_file_bytes))
    finally:
        os.close(root)
    return tuple(collected[path] for path in sorted(collected))


class _Pattern:
    """One pattern of a job's `outputs`."""

    def __init__(self, text: str) -> None:
        parts = [part for part in text.split("/") if part not in ("", ".")]
        if text.startswith("/") or not parts or ".." in parts or "\0" in text:
            raise InvalidInput(
                f"output {text!r} must be a relative path inside the working directory", output=text
            )
        self._text = text
        self._path = "/".join(parts)
        self._plain = not any(sign in self._path for sign in "*?[")
        # Two `**` in a row say no more than one, and only cost time.
        self._parts = [
            part for place, part in enumerate(parts) if part != "**" or parts[place - 1 : place] != ["**"]
        ]
        if self._parts.count("**") > _MAX_SPANS:
            raise InvalidInput(f"output {text!r} has more than {_MAX_SPANS} '**': use fewer", output=text)

    def matches(self, root: int) -> Iterator[str]:
        """Yield the relative paths of plain files; a directory that is named plainly yields all below it."""
        if not self._plain:
            yield from (path for path in _walk(root, "") if _fits(path.split("/"), self._parts))
            return
        mode = _mode(root, self._path)
        if mode is None:
            raise NotFound(f"output {self._text!r} does not exist after the script", output=self._text)
        if stat.S_ISDIR(mode):
            yield from _walk(root, self._path)
        elif stat.S_ISREG(mode):
            yield self._path
        else:
            raise _not_plain(self._text)


def _fits(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Match name by name: the standard glob of whole paths would let `*` cross directories."""
    if not parts or not names:
        return not parts and not names
    if parts[0] == "**":
        return len(parts) == 1 or any(_fits(names[skip:], parts[1:]) for skip in range(len(names)))
    return fnmatchcase(names[0], parts[0]) and _fits(names[1:], parts[1:])


def _walk(root: int, top: str) -> Iterator[str]:
    """Yield the relative paths of the plain files below a directory, never through a link."""
    pending = [top]
    seen = 0
    while pending:
        directory = pending.pop()
        with _opened(root, directory, _DIRECTORY) as descriptor, os.scandir(descriptor) as entries:
            for entry in entries:
                seen += 1
                if seen > _MAX_ENTRIES:
                    raise TooLarge(f"the working directory holds more than {_MAX_ENTRIES} files: remove some")
                path = f"{directory}/{entry.name}" if directory else entry.name
                if entry.is_dir(follow_symlinks=False):
                    if path.count("/") < _MAX_DEPTH:
                        pending.append(path)
                elif entry.is_file(follow_symlinks=False):
                    yield path


def _mode(root: int, path: str) -> int | None:
    directory, _, name = path.rpartition("/")
    try:
        with _opened(root, directory, _DIRECTORY) as parent:
            return os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


def _take(root: int, path: str, target: str, max_bytes: int) -> int:
    """Move one file and return its size."""
    directory, _, name = path.rpartition("/")
    with _opened(root, directory, _DIRECTORY) as parent:
        with _opened(parent, name, _FILE) as descriptor:
            found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _not_plain(path)
        if found.st_size > max_bytes:
            raise TooLarge(
                f"output {path!r} has {found.st_size} bytes, at most {max_bytes} may come back", output=path
            )
        os.rename(name, target, src_dir_fd=parent)
    moved = os.lstat(target)
    if (moved.st_dev, moved.st_ino) != (found.st_dev, found.st_ino):
        raise InvalidInput(f"output {path!r} was exchanged while it was collected", output=path)
    os.chmod(target, 0o600)
    return moved.st_size


@contextlib.contextmanager
def _opened(root: int, path: str, flags: int) -> Iterator[int]:
    """Open a path part by part, so that no part of it may be a link."""
    descriptor = os.dup(root)
    try:
        parts = path.split("/") if path else []
        for number, part in enumerate(parts):
            part_flags = flags if number == len(parts) - 1 else _DIRECTORY
            inner = os.open(part, part_flags, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise _not_plain(path) from error
        raise
    finally:
        os.close(descriptor)


def _not_plain(path: str) -> InvalidInput:
    return InvalidInput(
        f"output {path!r} is not a plain file (or leads through a link): copy the file itself there",
        output=path,
    )
