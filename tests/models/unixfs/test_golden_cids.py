"""The CIDs that kubo gives the same files and directories, under both profiles (`farlane.testing.golden_cids`)."""

from __future__ import annotations

import pytest

from farlane.models.unixfs.dag_pb import decode_node
from farlane.testing import golden_cids
from farlane.testing.golden_cids import GoldenDirectory, GoldenFile


@pytest.mark.parametrize("file", golden_cids.SMALL_FILES)
def test_small_files(file: GoldenFile) -> None:
    assert file.dag().root.text == file.cid


@pytest.mark.parametrize("file", golden_cids.FULL_FILES)
def test_files_as_wide_as_a_node(file: GoldenFile) -> None:
    dag = file.dag()
    assert dag.root.text == file.cid
    assert len(decode_node(dag.nodes[dag.root]).links) == file.profile.width


@pytest.mark.parametrize("file", golden_cids.OVERFULL_FILES)
def test_files_wider_than_a_node(file: GoldenFile) -> None:
    dag = file.dag()
    assert dag.root.text == file.cid
    assert len(decode_node(dag.nodes[dag.root]).links) == 2


@pytest.mark.parametrize("one", golden_cids.PLAIN_DIRECTORIES)
def test_directories_of_one_block(one: GoldenDirectory) -> None:
    made = one.made()
    assert (made.root.text, len(made.nodes)) == (one.cid, 1)


@pytest.mark.parametrize("one", golden_cids.SHARDED_DIRECTORIES)
def test_directories_over_the_sharding_threshold(one: GoldenDirectory) -> None:
    made = one.made()
    assert made.root.text == one.cid
    assert len(made.nodes) > 1
