"""What changed between two versions: files, and the tensors in them, with the bytes that are new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from farlane.errors import NotFound
from farlane.kit.hashing import CHUNK_BYTES
from farlane.models.formats.content import Content, file_content
from farlane.models.formats.values import TensorPlace
from farlane.models.looking import looked_into
from farlane.models.manifest.values import Manifest, ModelFile
from farlane.models.private.listing import Listed
from farlane.models.repository import Repository


class Change(StrEnum):
    """What happened to a file or tensor."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    MOVED = "moved"
    """The same bytes at another place."""


@dataclass(frozen=True, slots=True)
class TensorChange:
    """A tensor that is not what it was; size in bytes, of the newer one where there are two."""

    name: str
    change: Change
    dtype: str
    shape: tuple[int, ...]
    size: int


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that is not what it was.

    new_bytes: of it that the older version has nowhere; tensors: which of them changed, where it has any.
    """

    path: str
    change: Change
    size: int
    new_bytes: int
    tensors: tuple[TensorChange, ...] = ()
    tensors_same: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """What a newer version has that an older one had not; fields: what else its manifest says differently."""

    files: tuple[FileChange, ...]
    fields: tuple[tuple[str, str, str], ...]

    @property
    def new_bytes(self) -> int:
        """Bytes that the older version has nowhere."""
        return sum(one.new_bytes for one in self.files)


_COMPARED = (
    "format",
    "task",
    "runtime",
    "dtype",
    "licence",
    "card",
    "metrics",
    "inputs",
    "outputs",
    "publisher",
)


def difference(repository: Repository, older: Manifest, newer: Manifest) -> Difference:
    """Compare two versions whose files are here.

    Raises:
        NotFound: a file of a changed pair is not here.
    """

    def compared(old: ModelFile, new: ModelFile) -> FileChange:
        return _compared(repository, (older, old), (newer, new))

    changes = _changes(older.files, newer.files, compared)
    return Difference(changes, _fields(older, newer))


def listed_difference(
    older: Manifest, newer: Manifest, was: Sequence[Listed], now: Sequence[Listed]
) -> Difference:
    """Compare two private versions by the lists of what is in them; tensors are not looked into.

    Args:
        older: its manifest.
        newer: its manifest.
        was: what is in the older one.
        now: what is in the newer one.
    """
    changes = _changes(was, now, lambda _, new: FileChange(new.path, Change.CHANGED, new.size, new.size))
    return Difference(changes, _fields(older, newer))


class _File(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> bytes: ...


F = TypeVar("F", bound=_File)


def _changes(
    older: Sequence[F], newer: Sequence[F], compared: Callable[[F, F], FileChange]
) -> tuple[FileChange, ...]:
    had = {one.sha256 for one in older}
    before = {one.path: one for one in older}
    changes: list[FileChange] = []
    for file in newer:
        old = before.pop(file.path, None)
        if old is not None and old.sha256 == file.sha256:
            continue
        if file.sha256 in had:
            changes.append(FileChange(file.path, Change.MOVED, file.size, 0))
        elif old is None:
            changes.append(FileChange(file.path, Change.ADDED, file.size, file.size))
        else:
            changes.append(compared(old, file))
    changes += [FileChange(path, Change.REMOVED, old.size, 0) for path, old in before.items()]
    return tuple(sorted(changes, key=lambda one: one.path))


def _fields(older: Manifest, newer: Manifest) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (name, str(getattr(older, name)), str(getattr(newer, name)))
        for name in _COMPARED
        if getattr(older, name) != getattr(newer, name)
    )


def _compared(
    repository: Repository, older: tuple[Manifest, ModelFile], newer: tuple[Manifest, ModelFile]
) -> FileChange:
    (_, old), (_, new) = older, newer
    try:
        earlier, tensors = (_by_name(looked_into(repository, *one).tensors) for one in (older, newer))
        with (
            file_content(repository.file_path(old)) as was,
            file_content(repository.file_path(new)) as now,
        ):
            return _by_tensor(new, earlier, was, tensors, now)
    except NotFound:
        return FileChange(new.path, Change.CHANGED, new.size, new.size)


def _by_name(tensors: Sequence[TensorPlace]) -> dict[tuple[str, int], TensorPlace]:
    """Return tensors by their name, and how many of the same name came before."""
    seen: Counter[str] = Counter()
    found = {}
    for one in tensors:
        found[one.name, seen[one.name]] = one
        seen[one.name] += 1
    return found


def _by_tensor(
    new: ModelFile,
    earlier: dict[tuple[str, int], TensorPlace],
    was: Content,
    tensors: dict[tuple[str, int], TensorPlace],
    now: Content,
) -> FileChange:
    if not tensors or not earlier:
        return FileChange(new.path, Change.CHANGED, new.size, new.size)
    changes: list[TensorChange] = []
    for key, one in tensors.items():
        found = earlier.pop(key, None)
        if found is None or not _equal(was, found, now, one):
            kind = Change.ADDED if found is None else Change.CHANGED
            changes.append(TensorChange(one.name, kind, one.dtype, one.shape, one.size))
    changed_bytes = sum(one.size for one in changes)
    same = len(tensors) - len(changes)
    changes += [
        TensorChange(one.name, Change.REMOVED, one.dtype, one.shape, one.size) for one in earlier.values()
    ]
    header = new.size - sum(one.size for one in tensors.values())
    return FileChange(new.path, Change.CHANGED, new.size, changed_bytes + header, tuple(changes), same)


def _equal(was: Content, old: TensorPlace, now: Content, new: TensorPlace) -> bool:
    if (old.dtype, old.shape, old.size) != (new.dtype, new.shape, new.size):
        return False
    return all(
        was.read(old.offset + at, min(CHUNK_BYTES, old.size - at))
        == now.read(new.offset + at, min(CHUNK_BYTES, new.size - at))
        for at in range(0, old.size, CHUNK_BYTES)
    )
