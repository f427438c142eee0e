"""Small files of tensors for tests, and assemblies of them that a delta is applied to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from farlane.errors import NotFound
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.blocks.port import FileAssembly
from farlane.models.cid import DAG_PB, RAW, Cid, block_cid
from farlane.models.delta.elements import element_of
from farlane.models.delta.spans import Span, SpannedFile
from farlane.models.unixfs.file_dag import FileDag, Leaves

LEAF_BYTES = 64 << 10
Array = np.ndarray[Any, np.dtype[Any]]
Tensors = Mapping[str, Array]
_DTYPES = {
    "bfloat16": "BF16",
    "float16": "F16",
    "float32": "F32",
    "int32": "I32",
    "uint8": "U8",
    "int64": "I64",
}


class Blocks(dict[Cid, bytes]):
    """Blocks of a delta in a dictionary."""

    def put(self, cid: Cid, data: bytes) -> None:
        """Keep a block."""
        self[cid] = data

    def get(self, cid: Cid) -> bytes:  # type: ignore[override]
        """Return a block."""
        if cid not in self:
            raise NotFound(f"no block {cid.text}")
        return self[cid]

    @property
    def size_bytes(self) -> int:
        """Bytes of all blocks."""
        return sum(map(len, self.values()))


def weights(rows: int, columns: int = 256, *, seed: int = 0, dtype: Any = None) -> Array:
    """Return (rows, columns) Gaussian weights, bfloat16 where no type is given."""
    import ml_dtypes

    drawn = np.random.default_rng(seed).standard_normal((rows, columns)) * 0.02
    values: Array = drawn.astype(dtype or ml_dtypes.bfloat16)
    return values


def moved(values: Array, share: float = 0.02, seed: int = 1) -> Array:
    """Return weights as a fine-tuning leaves them: with noise of that share of their spread."""
    noise = np.random.default_rng(seed).standard_normal(values.shape) * 0.02 * share
    tuned: Array = (values.astype(np.float64) + noise).astype(values.dtype)
    return tuned


def tensor_file(path: Path, tensors: Tensors, header: bytes = b"header of the file") -> SpannedFile:
    """Write a header and tensors one after another."""
    spans, content = [], bytearray(header)
    for name, values in tensors.items():
        data = values.tobytes()
        spans.append(Span(name, len(content), len(data), element_of(_DTYPES[str(values.dtype)])))
        content += data
    path.write_bytes(content)
    return SpannedFile(path, spans, block_cid(DAG_PB, content).text)


def plain_file(path: Path, content: bytes) -> SpannedFile:
    """Write a file without tensors."""
    path.write_bytes(content)
    return SpannedFile(path, (), block_cid(DAG_PB, content).text)


def file_dag(content: bytes) -> FileDag:
    """Return a file's leaves of LEAF_BYTES under a made-up root, without inner nodes."""
    parts = [content[at : at + LEAF_BYTES] for at in range(0, len(content), LEAF_BYTES)]
    leaves = Leaves(
        b"".join(block_cid(RAW, part).digest for part in parts), np.array([len(part) for part in parts])
    )
    return FileDag(block_cid(DAG_PB, content), len(content), leaves, {})


def assembly_of(content: bytes, store: MemoryBlockStore | None = None) -> FileAssembly:
    """Begin a file of this content, in a store of its own where none is given."""
    return (store or MemoryBlockStore()).begin_file([file_dag(content)])
