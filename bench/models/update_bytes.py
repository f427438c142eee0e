"""Bytes that an update of a model costs: ours beside hf-xet, and beside blocks as IPFS cuts them by default.

Ours is what a node loads that holds the base: the blocks of the delta. Of hf-xet it is what an upload sends to a store
that holds the base, compressed, with its metadata. Of blocks it is those whose CIDs the base does not have.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from bench.models.synthetic import VERSIONS, Model
from farlane.models.adding import plans
from farlane.models.blocks.describing import describe_file
from farlane.models.cid import Cid
from farlane.models.delta.elements import element_of
from farlane.models.delta.making import make_delta
from farlane.models.delta.spans import Span, SpannedFile
from farlane.models.formats.sniff import inspect_file
from farlane.models.unixfs.describing import Plain
from farlane.models.unixfs.profiles import V0_2015, V1_2025

GOALS = {
    "partial fine-tune": 0.5,
    "merged LoRA": 0.7,
    "full fine-tune, small rate": 0.15,
    "reordered tensors": 0.01,
    "cold": 0.8,
}
"""The most that ours may be of hf-xet's."""


class Row(NamedTuple):
    """One change, what it costs in bytes by each scheme, and the seconds that the first two took to make it."""

    change: str
    ours: int
    xet: int
    tensors: int
    blocks_1m: int
    blocks_256k: int
    ours_s: float
    xet_s: float


class Sink:
    """Counts blocks and forgets them."""

    def put(self, cid: Cid, data: bytes) -> None:
        """Forget a block."""


class File:
    """A version on disk, with its tensors and the blocks of each way to cut it."""

    def __init__(self, path: Path) -> None:
        inspection = inspect_file(path)
        described = describe_file(path, (plans(inspection)[0], Plain(V1_2025), Plain(V0_2015)))
        self.path = path
        self.cid = described.dags[0].root.text
        self.tensors = [
            Span(one.name, one.offset, one.size, element_of(one.dtype)) for one in inspection.tensors
        ]
        self.blocks = [
            {dag.leaves.digest(at): int(dag.leaves.lengths[at]) for at in range(len(dag.leaves))}
            for dag in described.dags
        ]

    def open(self) -> SpannedFile:
        """Open it for a delta."""
        return SpannedFile(self.path, self.tensors, self.cid)

    def new_bytes(self, base: File | None) -> list[int]:
        """Return, for each way to cut, the bytes of blocks that the base lacks."""
        had: list[dict[bytes, int]] = base.blocks if base else [{}] * len(self.blocks)
        return [
            sum(size for digest, size in mine.items() if digest not in known)
            for mine, known in zip(self.blocks, had, strict=True)
        ]


def rows(directory: Path) -> Iterator[Row]:
    """Yield the cold copy of the base and then each update of it."""
    model = Model(directory)
    base = File(model.write("base"))
    pristine = directory / "xet-base"
    yield row("cold", None, base, pristine)
    for version in VERSIONS:
        target = File(model.write(version))
        yield update(version, base, target, pristine)
        target.path.unlink()


def update(change: str, base: File, target: File, pristine: Path) -> Row:
    """Measure an update, and leave hf-xet's store as it was with the base in it."""
    store = pristine.with_name("xet-update")
    shutil.copytree(pristine, store)
    try:
        return row(change, base, target, store)
    finally:
        shutil.rmtree(store)


def row(change: str, base: File | None, target: File, store: Path) -> Row:
    """Measure one file, against a base or cold; hf-xet's store has it afterwards."""
    with ExitStack() as stack:
        bases = [stack.enter_context(base.open())] if base else []
        began = time.perf_counter()
        made = make_delta(bases, [stack.enter_context(target.open())], Sink())
        ours_s = time.perf_counter() - began
    xet, xet_s = _xet(store, target.path)
    return Row(change, made.size_bytes, xet, *target.new_bytes(base), ours_s, xet_s)


def _xet(store: Path, path: Path) -> tuple[int, float]:
    """Upload to a store on disk with hf-xet's own code; returns the bytes it sent and the seconds it took."""
    # Its cache of other runs must not help it, nor ours.
    os.environ["HF_HOME"] = str(store.parent / "xet-home")
    import hf_xet

    began = time.perf_counter()
    session: Any = hf_xet.XetSession()
    commit = session.new_upload_commit(endpoint=f"local://{store}")
    commit.start_upload_file(str(path))
    sent = int(commit.wait_to_finish().dedup_metrics.total_bytes_uploaded)
    return sent, time.perf_counter() - began
