"""The plan of a version: every different block of its files once, in one order that all who transfer it share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from farlane.models.cid import Cid
from farlane.models.transfer.bitmap import Flags
from farlane.models.unixfs.file_dag import FileDag


class Place(NamedTuple):
    """Where a block belongs: which file, and which of its leaves."""

    file: int
    leaf: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Blocks of a version.

    cids: each different leaf once, in the order of files and offsets; sizes: (blocks,) bytes; places: of each block.
    """

    cids: Sequence[Cid]
    sizes: NDArray[np.int64]
    places: Sequence[Sequence[Place]]

    @property
    def total_bytes(self) -> int:
        """Bytes of all different blocks."""
        return int(self.sizes.sum())

    def present(self, missing: Sequence[Sequence[int]]) -> Flags:
        """Return which blocks are here.

        Args:
            missing: of each file, the leaves that are not here.
        """
        gone = [set(leaves) for leaves in missing]
        return np.fromiter(
            (all(place.leaf not in gone[place.file] for place in places) for places in self.places),
            np.bool_,
            len(self.places),
        )


def plan_of(dags: Sequence[FileDag]) -> Plan:
    """Return the plan of files by their first DAGs, in the order of the manifest."""
    numbers: dict[bytes, int] = {}
    cids: list[Cid] = []
    sizes: list[int] = []
    places: list[list[Place]] = []
    for file, dag in enumerate(dags):
        for leaf in range(len(dag.leaves)):
            digest = dag.leaves.digest(leaf)
            number = numbers.setdefault(digest, len(cids))
            if number == len(cids):
                cids.append(dag.leaves.cid(leaf))
                sizes.append(int(dag.leaves.lengths[leaf]))
                places.append([])
            places[number].append(Place(file, leaf))
    return Plan(cids, np.asarray(sizes, np.int64), places)
