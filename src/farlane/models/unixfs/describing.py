"""A file's DAGs and SHA-256 from one reading of it, in constant memory; what several of them share is hashed once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from farlane.errors import Conflict, Corrupted
from farlane.kit.passes import Pass, run_passes
from farlane.models.unixfs.chunking import ContentCutter
from farlane.models.unixfs.composite import composite, composite_lengths
from farlane.models.unixfs.file_dag import DescribedFile, FileDag, FileStamp, Leaves
from farlane.models.unixfs.layout import balanced
from farlane.models.unixfs.leaf_hasher import LeafHasher
from farlane.models.unixfs.profiles import V1_2025, Profile


@dataclass(frozen=True, slots=True)
class Plain:
    """Cut every so many bytes: what `ipfs add` does under a profile."""

    profile: Profile = V1_2025


@dataclass(frozen=True, slots=True)
class Composite:
    """Cut into parts of these lengths, each with the CID it would have alone (`farlane.models.unixfs.composite`)."""

    parts: Sequence[int] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ContentDefined:
    """Cut where the content says (`farlane.models.unixfs.chunking`), under nodes of `unixfs-v1-2025`."""


@dataclass(frozen=True, slots=True)
class Known:
    """Cut as a DAG is that is known already: what is read must turn out to be that DAG's file."""

    dag: FileDag = field(repr=False)


Plan = Plain | Composite | ContentDefined | Known
"""How a file becomes a DAG."""


def describe(
    stream: BinaryIO, size_bytes: int, plans: Sequence[Plan] = (Plain(),), stamp: FileStamp | None = None
) -> DescribedFile:
    """Return the names of what a stream holds.

    Args:
        stream: it is read once, to its end.
        size_bytes: what it must turn out to hold.
        plans: one DAG is made by each, in this order.
        stamp: of the file behind the stream.

    Raises:
        Conflict: the stream holds more or less: somebody writes to it.
        Corrupted: it is not the file of a DAG that is known.
        InvalidInput: the parts of a composite file do not cover it.
    """
    hashers: list[_Hasher] = []
    for plan in plans:
        known = [one for one in hashers if isinstance(one, LeafHasher)]
        hashers.append(_hasher(plan, size_bytes, known))
    # A file of one raw leaf has that leaf's hash: small files, of which models have many, are hashed once.
    alone = next(
        (hasher for hasher in hashers if isinstance(hasher, LeafHasher) and hasher.is_whole_file), None
    )
    digest = hashlib.sha256()
    passes: list[Pass] = [hasher.update for hasher in hashers]
    if alone is None:
        passes.append(digest.update)
    total = run_passes(stream, size_bytes, passes)
    if total != size_bytes:
        raise Conflict(f"the file has {total} bytes or more instead of {size_bytes}: stop its writer first")
    dags = [_dag(plan, hasher.leaves()) for plan, hasher in zip(plans, hashers, strict=True)]
    sha256 = digest.digest() if alone is None else alone.leaves().digest(0)
    return DescribedFile(sha256.hex(), size_bytes, dags, stamp)


class _Content:
    """Hashes leaves that end where the content says."""

    def __init__(self) -> None:
        self._cutter = ContentCutter()
        self._hash = hashlib.sha256()
        self._length = 0
        self._digests = bytearray()
        self._lengths: list[int] = []

    def update(self, data: memoryview) -> None:
        start = 0
        for end in self._cutter.cuts(data):
            self._take(data[start:end])
            self._end_leaf()
            start = end
        self._take(data[start:])

    def leaves(self) -> Leaves:
        if self._length or not self._lengths:
            self._end_leaf()
        return Leaves(bytes(self._digests), np.array(self._lengths, np.int64))

    def _take(self, piece: memoryview) -> None:
        self._hash.update(piece)
        self._length += len(piece)

    def _end_leaf(self) -> None:
        self._digests += self._hash.digest()
        self._lengths.append(self._length)
        self._hash, self._length = hashlib.sha256(), 0


_Hasher = LeafHasher | _Content


def _hasher(plan: Plan, size_bytes: int, others: Sequence[LeafHasher]) -> _Hasher:
    if isinstance(plan, ContentDefined):
        return _Content()
    if isinstance(plan, Composite):
        if sum(plan.parts) != size_bytes:
            raise Conflict(
                f"the parts of the file have {sum(plan.parts)} bytes and the file {size_bytes}: look at it again"
            )
        return LeafHasher(composite_lengths(plan.parts), False, others)
    if isinstance(plan, Known):
        if plan.dag.size_bytes != size_bytes:
            raise Corrupted(
                f"the file has {size_bytes} bytes, and {plan.dag.root} is of {plan.dag.size_bytes}"
            )
        lengths = plan.dag.leaves.lengths
        if len(lengths) > 1 and int(lengths.min()) < 1:
            raise Corrupted(f"{plan.dag.root} has empty blocks, which no file needs")
        return LeafHasher(lengths, plan.dag.leaves.wrapped, others)
    parts = [size_bytes] if size_bytes else []
    return LeafHasher(composite_lengths(parts, plan.profile.chunk_bytes), not plan.profile.raw_leaves, others)


def _dag(plan: Plan, leaves: Leaves) -> FileDag:
    if isinstance(plan, Composite):
        return composite(leaves, plan.parts)
    if isinstance(plan, Known):
        if leaves.digests != plan.dag.leaves.digests:
            raise Corrupted(f"the file is not that of {plan.dag.root}: it was changed")
        return plan.dag
    return balanced(leaves, plan.profile if isinstance(plan, Plain) else V1_2025)
