"""farlane.models.lineage: parents drawn as text and as a picture."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from farlane.models.adding import Added, Description, add
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.cid import DAG_CBOR, Cid
from farlane.models.lineage import as_svg, as_text, lineage
from farlane.models.manifest.values import Parent, Relation
from farlane.models.repository import Repository

STRANGER = Cid(1, DAG_CBOR, b"s" * 32)


@pytest.fixture
def repository() -> Repository:
    return Repository(MemoryBlockStore(), Catalog(MemoryRows()))


def made(repository: Repository, tmp_path: Path, name: str, *parents: Parent) -> Added:
    (tmp_path / "w.txt").write_text(name)
    return add(repository, tmp_path / "w.txt", name, Description(parents=parents))


@pytest.fixture
def merged(repository: Repository, tmp_path: Path) -> Added:
    base = made(repository, tmp_path, "base").version.manifest
    tuned = made(repository, tmp_path, "tuned", Parent(cid=base, relation=Relation.FINETUNE)).version.manifest
    return made(
        repository, tmp_path, "merged", Parent(cid=tuned, relation=Relation.MERGE),
        Parent(cid=base, relation=Relation.MERGE), Parent(cid=STRANGER, relation=Relation.ADAPTER),
    )  # fmt: skip


def test_a_lineage_is_a_tree_of_text(repository: Repository, merged: Added) -> None:
    assert as_text(lineage(repository, merged.manifest, merged.version.manifest)).splitlines() == [
        "merged@v1",
        "├─ merge of tuned@v1",
        "│  └─ finetune of base@v1",
        "├─ merge of base@v1 (above)",
        f"└─ adapter of {STRANGER.text} (not here)",
    ]


def test_a_lineage_is_a_picture(repository: Repository, merged: Added) -> None:
    picture = ElementTree.fromstring(as_svg(lineage(repository, merged.manifest, merged.version.manifest)))
    space = "{http://www.w3.org/2000/svg}"
    assert len(picture.findall(f"{space}rect")) == 5
    assert len(picture.findall(f"{space}path")) == 4
    boxes = [(one.get("x"), one.get("y")) for one in picture.findall(f"{space}rect")]
    assert len(set(boxes)) == 5


def test_a_version_without_parents_is_alone(repository: Repository, tmp_path: Path) -> None:
    added = made(repository, tmp_path, "base")
    assert as_text(lineage(repository, added.manifest, added.version.manifest)) == "base@v1"
