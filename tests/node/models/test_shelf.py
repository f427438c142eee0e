"""The shelf: whole versions within a budget, the least used go first, what is held stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from farlane.errors import DiskFull
from farlane.kit.clock import ManualClock
from farlane.models.adding import add
from farlane.models.blocks.disk import DiskBlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.cid import Cid
from farlane.models.manifest.values import Manifest
from farlane.models.repository import Repository
from farlane.models.version_blocks import dag_of
from farlane.node.models.shelf import ABANDONED_S, ModelShelf

MIB = 1 << 20
BUDGET = 7 * MIB
"""Room for two versions of 3 MiB."""


class Stock:
    """A shelf, and versions that come to it as from a hub."""

    def __init__(self, directory: Path) -> None:
        self._directory, self.clock = directory, ManualClock()
        self.hub = Repository(DiskBlockStore(directory / "hub"), Catalog(MemoryRows()))
        self.shelf = ModelShelf(directory / "shelf", BUDGET, self.clock)

    def publish(self, name: str, *, shared: bytes = b"") -> tuple[Cid, Manifest]:
        """Return a new version of 3 MiB."""
        folder = self._directory / f"folder-{name}"
        folder.mkdir()
        (folder / "weights.bin").write_bytes(Random(name).randbytes(3 * MIB))
        if shared:
            (folder / "shared.txt").write_bytes(shared)
        found = add(self.hub, folder, f"lab/{name}")
        return found.version.manifest, found.manifest

    def bring(self, version: Cid, manifest: Manifest) -> None:
        """Put a version on the shelf, whole."""
        self.clock.advance(10)
        self.shelf.make_room(manifest)
        self.begin(version, manifest)
        for file in manifest.files:
            dags = [
                dag_of(self.hub.blocks, root, file.size) for root in dict.fromkeys((file.cid, file.ipfs_cid))
            ]
            assembly = self.shelf.blocks.begin_file(dags, file.sha256.hex())
            for index in assembly.missing():
                assembly.write(index, self.hub.blocks.get(assembly.leaves.cid(index)))
            assembly.commit()
        self.shelf.list_whole(version)

    def begin(self, version: Cid, manifest: Manifest) -> None:
        """Put what comes first there: manifest and directory."""
        self.shelf.blocks.put(version, self.hub.blocks.get(version))
        self.shelf.blocks.put(manifest.root, self.hub.blocks.get(manifest.root))

    def use(self, version: Cid) -> None:
        """Use a version, later than all before."""
        self.clock.advance(10)
        self.shelf.note_use(version)

    def newest_partial_s(self) -> float:
        """Return when a file that is not whole was last written to."""
        partial = self._directory / "shelf" / "blocks" / "partial"
        return max(path.stat().st_mtime for path in partial.iterdir())


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[Stock]:
    made = Stock(tmp_path)
    yield made
    made.shelf.close()
    made.hub.close()


def test_versions_are_told_in_the_order_of_their_use(stock: Stock) -> None:
    one, two = stock.publish("one"), stock.publish("two")
    stock.bring(*one)
    stock.bring(*two)
    assert stock.shelf.whole() == (two[0], one[0])
    stock.use(one[0])
    assert stock.shelf.whole() == (one[0], two[0])


def test_the_version_used_least_recently_goes_for_another(stock: Stock) -> None:
    one, two, three = (stock.publish(name) for name in ("one", "two", "three"))
    stock.bring(*one)
    stock.bring(*two)
    stock.use(one[0])
    assert stock.shelf.make_room(three[1]) == (two[0],)
    stock.bring(*three)
    assert stock.shelf.whole() == (three[0], one[0])
    assert stock.shelf.manifest_of_whole(one[0]) == one[1]
    assert stock.shelf.blocks.total_bytes <= BUDGET


def test_a_version_that_is_held_stays(stock: Stock) -> None:
    one, two, three = (stock.publish(name) for name in ("one", "two", "three"))
    stock.bring(*one)
    stock.bring(*two)
    with stock.shelf.hold(one[0]), stock.shelf.hold(two[0]):
        assert stock.shelf.make_room(three[1]) == ()
        with pytest.raises(DiskFull, match="raise its budget"):
            stock.bring(*three)
    stock.bring(*three)
    assert stock.shelf.whole() == (three[0], two[0])


def test_a_file_of_two_versions_stays_with_either(stock: Stock) -> None:
    one, two, three = (stock.publish(name, shared=b"words") for name in ("one", "two", "three"))
    stock.bring(*one)
    stock.bring(*two)
    stock.bring(*three)
    assert stock.shelf.manifest_of_whole(two[0]) == two[1]


def test_a_version_whose_file_is_gone_is_not_whole(stock: Stock) -> None:
    one = stock.publish("one")
    stock.bring(*one)
    stock.shelf.blocks.delete_file(one[1].files[0].sha256.hex())
    assert stock.shelf.manifest_of_whole(one[0]) is None
    assert stock.shelf.whole() == ()


def test_a_file_that_somebody_assembles_stays(stock: Stock) -> None:
    one, two, three = (stock.publish(name) for name in ("one", "two", "three"))
    stock.bring(*one)
    stock.begin(*two)
    file = two[1].files[0]
    dags = [dag_of(stock.hub.blocks, file.cid, file.size)]
    assembly = stock.shelf.blocks.begin_file(dags, file.sha256.hex())
    assembly.write(0, stock.hub.blocks.get(assembly.leaves.cid(0)))
    stock.clock.step_wall(stock.newest_partial_s() + ABANDONED_S + 1 - stock.clock.now())
    assert stock.shelf.make_room(three[1]) == (one[0],)
    assert stock.shelf.blocks.has(assembly.leaves.cid(0))
    assembly.close()


@pytest.mark.parametrize("old", [False, True])
def test_a_file_that_nobody_goes_on_with_makes_room(stock: Stock, old: bool) -> None:
    one, two, three = (stock.publish(name) for name in ("one", "two", "three"))
    stock.bring(*one)
    stock.begin(*two)
    file = two[1].files[0]
    dags = [dag_of(stock.hub.blocks, file.cid, file.size)]
    assembly = stock.shelf.blocks.begin_file(dags, file.sha256.hex())
    for at in range(len(assembly.leaves) - 1):
        assembly.write(at, stock.hub.blocks.get(assembly.leaves.cid(at)))
    assembly.close()
    later_s = ABANDONED_S + 1 if old else 1
    stock.clock.step_wall(stock.newest_partial_s() + later_s - stock.clock.now())
    gone = stock.shelf.make_room(three[1])
    assert gone == (() if old else (one[0],))
    stock.bring(*three)
