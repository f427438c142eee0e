"""A version on its way: its files as they are assembled on the shelf, and which blocks of its plan are here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from farlane.errors import NotFound
from farlane.models.blocks.port import BlockStore, FileAssembly
from farlane.models.cid import Cid, Octets
from farlane.models.transfer.bitmap import Flags
from farlane.models.transfer.plan import Plan
from farlane.node.models.fetching import Wanted
from farlane.node.models.outlines import Outlined


class Arrival:
    """The files of a version that are not here yet. Every method blocks, and may be called from any thread.

    Nobody else may assemble one of the files meanwhile.

    Args:
        store: where they go.
        files: all of the version's.
        plan: of the version.
    """

    def __init__(self, store: BlockStore, files: Sequence[Outlined], plan: Plan) -> None:
        self._store, self._files, self.plan = store, files, plan
        self.assemblies: dict[str, FileAssembly] = {}
        self._cuts: dict[str, Cid] = {}

    def begin(self) -> int:
        """Begin, or go on with, every file; return the bytes that were taken from other files here.

        Raises:
            DiskFull: there is no room.
        """
        for one in self._files:
            sha256 = one.file.sha256.hex()
            if sha256 not in self.assemblies and _roots_here(self._store, sha256) is None:
                self.assemblies[sha256] = self._store.begin_file(one.dags, sha256)
                self._cuts[sha256] = one.file.cid
        return sum(assembly.copy_local() for assembly in self.assemblies.values())

    def have(self) -> Flags:
        """Return which blocks are here: (blocks,) bool."""
        return self.plan.present([self._missing(one) for one in self._files])

    @property
    def wanted(self) -> Wanted:
        """The blocks of the plan, and where they go."""
        return Wanted(self.plan.cids, self.plan.sizes, self.keep)

    def missing_bytes(self) -> int:
        """Return how many bytes of different blocks are not here."""
        return int(self.plan.sizes[~self.have()].sum())

    def fill(self, write: Callable[[int, FileAssembly], None]) -> None:
        """Let somebody write into each file that is not whole, given its number in the manifest."""
        numbers = {one.file.sha256.hex(): at for at, one in reversed(list(enumerate(self._files)))}
        for sha256, assembly in self.assemblies.items():
            write(numbers[sha256], assembly)

    def keep(self, index: int, data: Octets) -> None:
        """Keep a block wherever it belongs; raises as `FileAssembly.write`."""
        for place in self.plan.places[index]:
            assembly = self._assembly(self._files[place.file])
            if assembly is not None:
                assembly.write(place.leaf, data)

    def commit(self) -> None:
        """Check every file as a whole and make it visible.

        Raises:
            Conflict: blocks are missing.
            Corrupted: a file is not the manifest's.
            DiskFull: there is no room.
        """
        for sha256 in list(self.assemblies):
            self.assemblies[sha256].commit()
            del self.assemblies[sha256], self._cuts[sha256]
        for one in self._files:
            roots = _roots_here(self._store, one.file.sha256.hex())
            if roots is not None and not {one.file.cid, one.file.ipfs_cid} <= roots:
                self._cut_again(one)

    def close(self) -> None:
        """Stop, and keep what has come for the next time."""
        for assembly in self.assemblies.values():
            assembly.close()
        self.assemblies.clear()
        self._cuts.clear()

    def _missing(self, one: Outlined) -> Sequence[int]:
        assembly = self._assembly(one)
        return assembly.missing() if assembly is not None else ()

    def _assembly(self, one: Outlined) -> FileAssembly | None:
        """Return where a file is assembled by these very blocks; one that another cut makes needs none of them."""
        sha256 = one.file.sha256.hex()
        return self.assemblies[sha256] if self._cuts.get(sha256) == one.file.cid else None

    def _cut_again(self, one: Outlined) -> None:
        """Let a file that is here be known by the blocks of another cut too, which others may ask for."""
        sha256 = one.file.sha256.hex()
        assembly = self._store.begin_file(one.dags, sha256)
        try:
            with self._store.file_path(sha256).open("rb") as file:
                for index in assembly.missing():
                    leaf = assembly.leaves[index]
                    file.seek(leaf.offset)
                    assembly.write(index, file.read(leaf.length))
            assembly.commit()
        finally:
            assembly.close()


def _roots_here(store: BlockStore, sha256: str) -> frozenset[Cid] | None:
    """Return the roots of a file's DAGs that are here, None where the file is not."""
    try:
        return frozenset(store.file(sha256).roots)
    except NotFound:
        return None
