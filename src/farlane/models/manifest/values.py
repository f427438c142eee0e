"""What a manifest says: files, licence, parents, metrics, inputs and outputs of one version of a model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from farlane.domain.inference import TensorSpec
from farlane.models.cid import Cid

FORMAT_VERSION: Final = 1
"""The manifest's own version: another one is refused."""
MAX_MANIFEST_BYTES: Final = 1 << 20
"""A block that every IPFS peer takes."""
MAX_FILES: Final = 4096
MAX_PARENTS: Final = 64
MAX_METRICS: Final = 1024
MAX_TENSOR_SPECS: Final = 1024
MAX_DIMENSIONS: Final = 32
MAX_TEXT_BYTES: Final = 1024
MAX_RECIPIENTS: Final = 256
MAX_RECIPIENT_BYTES: Final = 4096
MAX_SIZE_BYTES: Final = 1 << 53
"""Sizes stay exact in every program that reads numbers as float64."""


class Relation(StrEnum):
    """How a version came from its parent."""

    FINETUNE = "finetune"
    ADAPTER = "adapter"
    QUANTISE = "quantise"
    MERGE = "merge"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of a version.

    path: relative, `/` between its parts; cid: of its DAG cut along its tensors, or by its content where it has none,
    equal to `ipfs_cid` for small files without tensors; ipfs_cid: what `ipfs add` with the profile unixfs-v1-2025
    gives; sha256: of all its bytes; format: one of `farlane.models.formats.values.FileFormat`.
    """

    path: str
    cid: Cid
    ipfs_cid: Cid
    sha256: bytes
    size: int
    format: str = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """Under which terms a version may be used.

    expression: SPDX, empty where nothing is said; acceptance: whether somebody must have agreed before it is pulled,
    exported or served; file: path of the text among the version's files, empty for none.
    """

    expression: str = ""
    acceptance: bool = False
    file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A version this one was made from; recipe: CID of a document that says how, None where there is none."""

    cid: Cid
    relation: Relation
    recipe: Cid | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    """How a private version's blocks are encrypted, and its key wrapped for each recipient; opaque here."""

    algorithm: str
    recipients: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One version of a model; its CID names the version everywhere.

    name: of the model; root: IPFS directory of all files by `ipfs_cid`, what `ipfs add -r` of the folder gives;
    format: of its weights; task: such as `sentence-similarity`; runtime: what serves it, empty where its files decide;
    dtype: of most of its weights; card: path of the model card, empty for none; metrics: measured values by name,
    finite; created: Unix seconds; publisher: account that signs, empty for an unsigned version.
    """

    name: str
    root: Cid
    files: tuple[ModelFile, ...]
    format: str
    task: str = ""
    runtime: str = ""
    dtype: str = ""
    licence: Licence = Licence()
    card: str = ""
    parents: tuple[Parent, ...] = ()
    metrics: tuple[tuple[str, float], ...] = ()
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    created: int = 0
    publisher: str = ""
    encryption: Encryption | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(one.size for one in self.files)

    def file(self, path: str) -> ModelFile | None:
        """Return the file at a path, None where there is none."""
        return next((one for one in self.files if one.path == path), None)
