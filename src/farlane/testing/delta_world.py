"""A repository with versions of a small model, and deltas between them, for tests."""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import save_file

from farlane.models.adding import Added, add
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.blocks.port import FileAssembly
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.catalog.values import DeltaRow
from farlane.models.cid import Cid
from farlane.models.deltas import block_list, make_for
from farlane.models.exporting import pull
from farlane.models.repository import Repository
from farlane.models.transfer.outline import Lacking, outline
from farlane.models.unixfs.file_dag import FileDag
from farlane.testing.tensor_files import Blocks, Tensors, moved, weights

BASE: Tensors = {
    "embed": weights(1500, seed=1),
    "layer.q": weights(600, seed=2),
    "layer.k": weights(600, seed=3),
    "head": weights(1000, seed=5),
}
TUNED: Tensors = {**BASE, "layer.q": moved(BASE["layer.q"]), "head": moved(BASE["head"])}
TOKENIZER = b'{"vocab": [%s]}' % b", ".join(b'"%d"' % number for number in range(200_000))


def delta_repository(max_bytes: int | None = None) -> Repository:
    """Return an empty repository in memory."""
    return Repository(MemoryBlockStore(max_bytes=max_bytes), Catalog(MemoryRows()))


class DeltaWorld:
    """A repository with a first version of a model, to which others are added.

    Args:
        folder: an empty one; the model's files are made there.
    """

    def __init__(self, folder: Path) -> None:
        (folder / "tokenizer.json").write_bytes(TOKENIZER)
        (folder / "README.md").write_text("# Mini\n")
        self.folder, self.here = folder, delta_repository()
        self.first = self.publish(BASE)

    def publish(self, tensors: Tensors, name: str = "mini") -> Added:
        """Add a version with these tensors."""
        save_file(dict(tensors), self.folder / "model.safetensors")
        return add(self.here, self.folder, name)

    def delta(self, newer: Added, older: Added | None = None) -> DeltaRow | None:
        """Make a delta, from the first version where none is named."""
        base = older or self.first
        return make_for(self.here, newer.version, newer.manifest, base.version, base.manifest, threads=2)

    def blocks(self, delta: DeltaRow) -> Blocks:
        """Return a copy of a delta's blocks."""
        return Blocks({cid: self.here.blocks.get(cid) for cid in block_list(self.here.blocks, delta.root)})

    def receiver(self) -> Repository:
        """Return a repository that has the first version alone."""
        there = delta_repository()
        pull(there, self.here, "mini@v1")
        return there

    def dag(self, cid: Cid, size_bytes: int) -> FileDag:
        """Return a file's DAG."""
        found = outline(cid, size_bytes, self.here.blocks.get)
        assert not isinstance(found, Lacking)
        return found

    def begin(self, there: Repository, newer: Added) -> dict[int, FileAssembly]:
        """Begin all files of a version, filled with what is there."""
        begun = {}
        for number, file in enumerate(newer.manifest.files):
            assembly = there.blocks.begin_file([self.dag(file.cid, file.size)], file.sha256.hex())
            assembly.copy_local()
            begun[number] = assembly
        return begun

    def finish(self, there: Repository, newer: Added, begun: dict[int, FileAssembly]) -> int:
        """Fetch what is missing as blocks, check every file, and return how many bytes that took."""
        fetched = 0
        for number, assembly in begun.items():
            for leaf in assembly.missing():
                data = self.here.blocks.get(assembly.leaves.cid(leaf))
                assembly.write(leaf, data)
                fetched += len(data)
            file = newer.manifest.files[number]
            assembly.commit()
            assert there.file_path(file).read_bytes() == self.here.file_path(file).read_bytes()
        return fetched
