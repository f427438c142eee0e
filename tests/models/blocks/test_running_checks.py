"""Checks of a file that arrives leaf by leaf: in any order, from any thread, and never by bytes that are gone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from farlane.errors import Corrupted
from farlane.models.blocks.describing import describe_file
from farlane.models.blocks.disk import DiskBlockStore
from farlane.models.blocks.running_checks import RunningChecks
from farlane.models.unixfs.describing import Composite, Plain
from farlane.models.unixfs.file_dag import DescribedFile
from farlane.models.unixfs.profiles import V0_2015

CONTENT = Random(5).randbytes((9 << 20) + 321)
PARTS = [4096, 2 << 20, 77, (3 << 20) + 5]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def described(file: Path) -> DescribedFile:
    parts = [*PARTS, len(CONTENT) - sum(PARTS)]
    return describe_file(file, [Composite(parts), Plain(), Plain(V0_2015)])


@pytest.fixture
def checks(file: Path, described: DescribedFile) -> Iterator[RunningChecks]:
    made = RunningChecks(described.dags)
    descriptor = os.open(file, os.O_RDONLY)
    made.start(descriptor)
    yield made
    made.stop()
    os.close(descriptor)


def test_nothing_is_hashed_beyond_the_first_hole(
    checks: RunningChecks, described: DescribedFile, file: Path
) -> None:
    hole = described.dags[0].leaves[2]
    content = bytearray(CONTENT)
    content[hole.offset] ^= 1
    file.write_bytes(content)
    checks.advance(lambda leaf: leaf != 2)
    file.write_bytes(CONTENT)
    assert checks.finish(described.sha256) == described.sha256


def test_what_was_hashed_is_not_read_again(
    checks: RunningChecks, described: DescribedFile, file: Path
) -> None:
    for _ in range(9):
        checks.advance(lambda leaf: True)
    file.write_bytes(bytes(len(CONTENT)))
    assert checks.finish(described.sha256) == described.sha256


def test_after_a_restart_everything_is_read_again(
    checks: RunningChecks, described: DescribedFile, file: Path
) -> None:
    file.write_bytes(bytes(len(CONTENT)))
    checks.advance(lambda leaf: True)
    file.write_bytes(CONTENT)
    checks.restart()
    assert checks.finish(described.sha256) == described.sha256


def test_a_file_that_was_cut_off_is_told(checks: RunningChecks, described: DescribedFile, file: Path) -> None:
    file.write_bytes(CONTENT[:-1])
    with pytest.raises(Corrupted, match="cut off"):
        checks.finish(described.sha256)


def test_another_sha256_is_told(checks: RunningChecks) -> None:
    with pytest.raises(Corrupted, match="of another file"):
        checks.finish("0" * 64)


def test_leaves_from_many_threads_make_the_file(tmp_path: Path, described: DescribedFile) -> None:
    store = DiskBlockStore(tmp_path / "store")
    assembly = store.begin_file(described.dags, described.sha256)
    order = list(range(len(assembly.leaves)))
    Random(1).shuffle(order)
    leaves = [assembly.leaves[index] for index in order]
    with ThreadPoolExecutor(4) as threads:
        pieces = [CONTENT[leaf.offset :][: leaf.length] for leaf in leaves]
        list(threads.map(assembly.write, order, pieces))
    assert assembly.commit().path.read_bytes() == CONTENT


def test_a_leaf_that_was_hashed_when_it_was_damaged_is_hashed_again(
    tmp_path: Path, described: DescribedFile
) -> None:
    store = DiskBlockStore(tmp_path / "store")
    assembly = store.begin_file(described.dags, described.sha256)

    def write(index: int) -> None:
        leaf = assembly.leaves[index]
        assembly.write(index, CONTENT[leaf.offset :][: leaf.length])

    write(1)
    place = store.locate(assembly.leaves.cid(1))
    assert place is not None
    with place.path.open("r+b") as stream:
        stream.seek(place.offset)
        stream.write(b"damaged")
    for index in assembly.missing():
        write(index)
    with pytest.raises(Corrupted):
        store.get(assembly.leaves.cid(1))
    assert list(assembly.missing()) == [1]
    write(1)
    assert assembly.commit().path.read_bytes() == CONTENT
