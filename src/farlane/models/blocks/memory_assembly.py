"""Files that arrive leaf by leaf in a block store in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from farlane.errors import Conflict, Corrupted
from farlane.kit.hashing import sha256_hex
from farlane.models.blocks.copying import copy_leaves
from farlane.models.blocks.port import May, StoredFile
from farlane.models.cid import Octets, verify_block
from farlane.models.unixfs.file_dag import FileDag, Leaves

if TYPE_CHECKING:
    from farlane.models.blocks.memory import MemoryBlockStore


class MemoryAssembly:
    """A file on its way into a store; made by `MemoryBlockStore.begin_file`, and all it says is in `FileAssembly`."""

    def __init__(
        self, store: MemoryBlockStore, key: str, dags: Sequence[FileDag], sha256: str | None
    ) -> None:
        self._store = store
        self._key = key
        self._dags = dags
        self._sha256 = sha256
        self._data = bytearray(dags[0].size_bytes)
        self._missing = set(range(len(dags[0].leaves)))
        self._indices = {self.leaves.digest(index): index for index in range(len(self.leaves))}
        self.open = False
        self.used_s = 0.0

    @property
    def leaves(self) -> Leaves:
        """The leaves to write."""
        return self._dags[0].leaves

    @property
    def key(self) -> str:
        """SHA-256 of the file, or the CID of its root where that is not known."""
        return self._sha256 or self._dags[0].root.text

    @property
    def room_bytes(self) -> int:
        """What is set aside for it: all it will take, or what has come where nobody goes on with it."""
        gone = 0 if self.open else sum(int(self.leaves.lengths[at]) for at in self._missing)
        return self.leaves.size_bytes - gone

    def missing(self) -> Sequence[int]:
        """Return the indices of the leaves not written yet, in order."""
        with self._store._lock:
            return sorted(self._missing)

    def write(self, index: int, data: Octets) -> None:
        """Write one leaf, verified first."""
        leaf = self.leaves[index]
        verify_block(leaf.cid, data)
        with self._store._lock:
            self._require_open()
            self._data[leaf.offset : leaf.offset + leaf.length] = data
            self._missing.discard(index)

    def find(self, digest: bytes) -> bytes | None:
        """Return a leaf that is written."""
        index = self._indices.get(digest)
        if index is None or index in self._missing:
            return None
        leaf = self.leaves[index]
        return bytes(self._data[leaf.offset : leaf.offset + leaf.length])

    def copy_local(self, may: May | None = None) -> int:
        """Fill the leaves that are in the store already and may be taken; return how many bytes that saved."""
        return copy_leaves(self._store, self, may)

    def commit(self) -> StoredFile:
        """Check the whole file and make it visible."""
        with self._store._lock:
            self._require_open()
            if self._missing:
                raise Conflict(f"file {self._key} lacks {len(self._missing)} of {len(self.leaves)} leaves")
            found = sha256_hex(self._data)
            if self._sha256 not in (None, found):
                self.abort()
                raise Corrupted(
                    f"the assembled file has SHA-256 {found}, not {self._sha256}: its DAG is of another file"
                )
            self.abort()
            return self._store._keep(bytes(self._data), self._dags)

    def close(self) -> None:
        """Stop and keep what was written."""
        self.open = False

    def abort(self) -> None:
        """Stop and drop what was written."""
        with self._store._lock:
            if self.open:
                self.open = False
                del self._store._assemblies[self._key]

    def _require_open(self) -> None:
        if not self.open:
            raise Conflict(
                f"the assembly of {self._key} is done (committed, closed or aborted): begin it again"
            )
