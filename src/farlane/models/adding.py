"""Adding a version: a folder or a file is looked into, hashed once, kept once, described, signed and named."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from farlane.errors import Conflict
from farlane.kit.files import open_regular
from farlane.models.blocks.describing import stamp_of
from farlane.models.blocks.port import Placement
from farlane.models.cards import MAX_CARD_BYTES, Card, read_card
from farlane.models.catalog.values import Author, Version
from farlane.models.exchange.shards import check_shards
from farlane.models.folders import FoundFile, find_files
from farlane.models.formats.folders import joined
from farlane.models.formats.sniff import inspect_file
from farlane.models.formats.values import WEIGHTS, FileFormat, Inspection
from farlane.models.manifest.check import check_manifest
from farlane.models.manifest.codec import encode, manifest_cid
from farlane.models.manifest.licences import check_expression
from farlane.models.manifest.signature import Signer, sign
from farlane.models.manifest.values import Encryption, Licence, Manifest, ModelFile, Parent
from farlane.models.repository import Repository
from farlane.models.trees import tree
from farlane.models.unixfs.describing import Composite, ContentDefined, Plain, Plan, describe
from farlane.models.unixfs.file_dag import DescribedFile, FileDag

LICENCE_FILES: Final = (
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "LICENCE",
    "LICENCE.txt",
    "COPYING",
    "USE_POLICY.md",
)
CARD_FILE: Final = "README.md"
CUT_BY_CONTENT_BYTES: Final = 4 << 20
"""Larger files without tensors are cut by their content, so that what is put in moves few of their blocks."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long work is: the file it is at, and bytes done of how many."""

    path: str
    done_bytes: int
    total_bytes: int


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What the publisher says of a version; None takes what its files say."""

    task: str | None = None
    runtime: str | None = None
    licence: str | None = None
    acceptance: bool | None = None
    parents: tuple[Parent, ...] = ()
    metrics: tuple[tuple[str, float], ...] = ()
    encryption: Encryption | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """A version that was added: how many bytes its files have, and how many of them were not here before."""

    version: Version
    manifest: Manifest
    size_bytes: int
    new_bytes: int


@dataclass(frozen=True, slots=True)
class _Known:
    found: FoundFile
    inspection: Inspection
    described: DescribedFile = field(repr=False)

    @property
    def plain(self) -> FileDag:
        return self.described.dags[-1]

    def file(self) -> ModelFile:
        return ModelFile(
            path=self.found.path, cid=self.described.dags[0].root, ipfs_cid=self.plain.root,
            sha256=bytes.fromhex(self.described.sha256), size=self.described.size_bytes,
            format=self.inspection.format.value,
        )  # fmt: skip


def add(
    repository: Repository,
    source: Path,
    name: str,
    description: Description | None = None,
    *,
    signer: Signer | None = None,
    author: Author | None = None,
    placement: Placement = Placement.COPY,
    on_progress: OnProgress | None = None,
) -> Added:
    """Add a folder or a file as the next version of a name.

    Everything is looked into and the manifest checked before the first byte is kept; what was kept and is then not
    named, because of an error, goes with the next collection.

    Args:
        repository: where to.
        source: a folder as other hubs lay them out, or one file.
        name: of the model.
        description: what its files do not say.
        signer: the publisher's account, None for an unsigned version.
        author: who adds it.
        placement: whether files are copied, moved or referred to.
        on_progress: called as bytes are read.

    Raises:
        InvalidInput: a pickle, a link, a path or licence that no model may have.
        Corrupted: a file is cut off or damaged.
        Conflict: a file changes while it is read, or the name's other versions are private and this one is not.
        DiskFull: no room.
        PermissionRefused: the name is another's.
    """
    repository.require_kind(name, private=description is not None and description.encryption is not None)
    files = find_files(source)
    looks = joined({one.path: inspect_file(one.source, one.path) for one in files})
    inspections = [looks[one.path] for one in files]
    check_shards({one.path: (one.source, look) for one, look in zip(files, inspections, strict=True)})
    meter = _Meter(sum(one.size for one in files), on_progress)
    said = description or Description()
    encrypted = said.encryption is not None
    known = [
        _Known(one, look, _describe(one, look, encrypted, meter))
        for one, look in zip(files, inspections, strict=True)
    ]
    root = tree([(one.found.path, one.plain.root, _dag_bytes(one.plain)) for one in known])
    manifest = _manifest(repository, name, known, said, signer)
    manifest = replace(manifest, root=root.root)
    check_manifest(manifest)
    before = repository.blocks.total_bytes
    for one in known:
        repository.blocks.add_file(one.found.source, one.described, placement)
    repository.blocks.put_many(root.nodes.items())
    signature = sign(manifest, manifest_cid(encode(manifest)), signer) if signer else None
    version = repository.publish(manifest, signature, author)
    return Added(version, manifest, manifest.size_bytes, max(0, repository.blocks.total_bytes - before))


def _manifest(
    repository: Repository, name: str, known: Sequence[_Known], said: Description, signer: Signer | None
) -> Manifest:
    files = tuple(one.file() for one in known)
    paths = {one.found.path: one for one in known}
    card = _card(paths)
    weights = max(
        (one for one in known if one.inspection.format in WEIGHTS),
        key=lambda one: one.inspection.size,
        default=None,
    )
    return Manifest(
        name=name,
        root=files[0].ipfs_cid,
        files=files,
        format=weights.inspection.format.value if weights else FileFormat.PLAIN.value,
        task=card.task if said.task is None else said.task,
        runtime=said.runtime or "",
        dtype=_dtype(weights),
        licence=_licence(said, card, paths),
        card=CARD_FILE if CARD_FILE in paths else "",
        parents=said.parents,
        metrics=tuple(sorted(said.metrics)),
        inputs=weights.inspection.inputs if weights else (),
        outputs=weights.inspection.outputs if weights else (),
        created=int(repository.clock.now()),
        publisher=signer.address if signer else "",
        encryption=said.encryption,
    )


def _dtype(weights: _Known | None) -> str:
    if weights is None:
        return ""
    return weights.inspection.fact("quantisation") or weights.inspection.dtype


def _card(paths: dict[str, _Known]) -> Card:
    found = paths.get(CARD_FILE)
    if found is None or found.inspection.size > MAX_CARD_BYTES:
        return Card()
    return read_card(found.found.source.read_bytes())


def _licence(said: Description, card: Card, paths: dict[str, _Known]) -> Licence:
    text = next((name for name in LICENCE_FILES if name in paths), "")
    if said.licence is None:
        acceptance = card.acceptance if said.acceptance is None else said.acceptance
        return Licence(expression=card.licence, acceptance=acceptance, file=text)
    expression = check_expression(said.licence) if said.licence else ""
    return Licence(expression=expression, acceptance=bool(said.acceptance), file=text)


class _Meter:
    def __init__(self, total_bytes: int, on_progress: OnProgress | None) -> None:
        self._total, self._done, self._tell = total_bytes, 0, on_progress

    def add(self, path: str, count: int) -> None:
        self._done += count
        if self._tell is not None:
            self._tell(Progress(path, self._done, self._total))


class _Counted(io.RawIOBase):
    """A stream that tells how much was read of it."""

    def __init__(self, descriptor: int, path: str, meter: _Meter) -> None:
        self._descriptor, self._path, self._meter = descriptor, path, meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        count = os.readv(self._descriptor, [buffer])
        self._meter.add(self._path, count)
        return count


def plans(inspection: Inspection, *, encrypted: bool = False) -> tuple[Plan, ...]:
    """Return how a file is cut: along its tensors, or by its content where it is large, and as `ipfs add` does, last.

    Args:
        inspection: of the file.
        encrypted: whether its bytes say nothing, and share nothing with those of other versions.
    """
    if len(inspection.ranges) > 1:
        return (Composite([length for _, length in inspection.ranges]), Plain())
    if inspection.size > CUT_BY_CONTENT_BYTES and not encrypted:
        return (ContentDefined(), Plain())
    return (Plain(),)


def _describe(file: FoundFile, inspection: Inspection, encrypted: bool, meter: _Meter) -> DescribedFile:
    descriptor = open_regular(file.source)
    try:
        stamp = stamp_of(os.fstat(descriptor))
        if stamp.size_bytes != inspection.size:
            raise _changed(file)
        stream, ways = _Counted(descriptor, file.path, meter), plans(inspection, encrypted=encrypted)
        described = describe(stream, inspection.size, ways, stamp)  # type: ignore[arg-type]
        if stamp_of(os.fstat(descriptor)) != stamp:
            raise _changed(file)
    finally:
        os.close(descriptor)
    return described


def _changed(file: FoundFile) -> Conflict:
    return Conflict(
        f"{file.source} was changed while it was read: stop its writer first", path=str(file.source)
    )


def _dag_bytes(dag: FileDag) -> int:
    return dag.size_bytes + sum(len(block) for block in dag.nodes.values())
