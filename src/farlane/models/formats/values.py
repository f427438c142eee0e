"""What looking into a file finds: its format, its tensors and where they lie, what it takes and gives."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from farlane.domain.inference import TensorSpec


class FileFormat(StrEnum):
    """The formats that are told apart; everything else is plain."""

    SAFETENSORS = "safetensors"
    GGUF = "gguf"
    ONNX = "onnx"
    KERAS = "keras"
    HDF5 = "hdf5"
    TOKENIZER = "tokenizer"
    SENTENCEPIECE = "sentencepiece"
    NUMPY = "numpy"
    PLAIN = "plain"


WEIGHTS = frozenset(
    {
        FileFormat.SAFETENSORS,
        FileFormat.GGUF,
        FileFormat.ONNX,
        FileFormat.KERAS,
        FileFormat.HDF5,
        FileFormat.NUMPY,
    }
)
"""Formats that hold a model's weights."""


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """A tensor in a file: its element type as the format names it, its shape, and its bytes from `offset` on."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class OutsideTensor:
    """A tensor that lies in another file of the folder, at a path from the folder of the file that names it."""

    location: str
    place: TensorPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a file is.

    tensors: in the order of the file; ranges: (offset, length) that cover the file without gap or overlap, along which
    its DAG is cut, empty where it has no tensors; outside: its tensors in other files; facts: what the header says of
    the model, by name; inputs and outputs: arrays a served model takes and gives, where the format says so.
    """

    format: FileFormat
    size: int
    tensors: tuple[TensorPlace, ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()
    outside: tuple[OutsideTensor, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def fact(self, name: str) -> str:
        """Return a fact, empty where it is not known."""
        return dict(self.facts).get(name, "")

    @property
    def dtype(self) -> str:
        """The element type that most of the tensors' bytes have, empty for none."""
        sizes: Counter[str] = Counter()
        for one in self.tensors:
            sizes[one.dtype] += one.size
        return max(sizes, key=lambda name: (sizes[name], name)) if sizes else ""
