"""Which files of a version a delta makes, and out of which files of another: by their paths, formats and sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from farlane.errors import FarlaneError
from farlane.models.delta.elements import element_of
from farlane.models.delta.spans import Span, SpannedFile
from farlane.models.formats.values import WEIGHTS
from farlane.models.looking import looked_into
from farlane.models.manifest.values import Manifest, ModelFile
from farlane.models.repository import Repository

LEAST_NEW_BYTES: Final = 64 << 10
"""Files with less that is new are fetched as blocks."""
MAX_OPEN_FILES: Final = 128
"""On either side: the largest changes first."""


@dataclass(frozen=True, slots=True)
class Matched:
    """Open files: what a delta makes, and what it may read; paths: of the targets in their version."""

    bases: Sequence[SpannedFile]
    targets: Sequence[SpannedFile]
    paths: Sequence[str]


@contextmanager
def matched_files(
    repository: Repository, manifest: Manifest, base: Manifest, new_bytes: Mapping[str, int]
) -> Iterator[Matched]:
    """Lend the files of two versions that a delta is about, open and with their tensors.

    Args:
        repository: has both.
        manifest: of the version that the delta makes.
        base: of the other one.
        new_bytes: how much of each file, by its path, is new.

    Raises:
        NotFound: a file is not here.
    """
    changed = [one for one in manifest.files if new_bytes.get(one.path, 0) >= LEAST_NEW_BYTES]
    targets = sorted(changed, key=lambda one: -new_bytes[one.path])[:MAX_OPEN_FILES]
    read = _bases(targets, base, _counterparts(targets, manifest, base))
    with ExitStack() as stack:
        yield Matched(
            [stack.enter_context(_opened(repository, base, one, label)) for one, label in read],
            [stack.enter_context(_opened(repository, manifest, one, one.path)) for one in targets],
            [one.path for one in targets],
        )


def _counterparts(targets: Sequence[ModelFile], manifest: Manifest, base: Manifest) -> dict[str, str]:
    """Return the path of the target that each base file is compared with, by the base file's path."""
    found = {one.path: one.path for one in targets if base.file(one.path) is not None}
    paths = {one.path for one in manifest.files}
    gone = [one for one in base.files if one.path not in paths]
    for target in targets:
        alike = [one for one in gone if one.format == target.format and one.path not in found]
        if target.path not in found and alike:
            nearest = min(alike, key=lambda one: abs(one.size - target.size))
            found[nearest.path] = target.path
    return found


def _bases(
    targets: Sequence[ModelFile], base: Manifest, counterparts: Mapping[str, str]
) -> list[tuple[ModelFile, str]]:
    """Return the files to read, each with its label: counterparts, then others whose tensors may have moved."""
    formats = {one.format for one in targets if one.format in WEIGHTS}
    files = [one for one in base.files if one.path in counterparts]
    files += [one for one in base.files if one.path not in counterparts and one.format in formats]
    return [(one, counterparts.get(one.path, one.path)) for one in files[:MAX_OPEN_FILES]]


def _opened(repository: Repository, manifest: Manifest, file: ModelFile, label: str) -> SpannedFile:
    path = repository.file_path(file)
    try:
        tensors = [
            Span(one.name, one.offset, one.size, element_of(one.dtype))
            for one in looked_into(repository, manifest, file).tensors
        ]
        return SpannedFile(path, tensors, file.cid.text, label)
    except FarlaneError:  # what cannot be looked into, or has tensors that overlap, is just bytes
        return SpannedFile(path, (), file.cid.text, label)
