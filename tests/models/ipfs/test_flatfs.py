"""One directory of single blocks, read by kubo as its own and by farlane as its own."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import closing
from pathlib import Path

from farlane.models.blocks.describing import describe_file
from farlane.models.blocks.disk import DiskBlockStore
from farlane.models.blocks.verifying import verify_all
from farlane.models.cid import parse_cid
from farlane.models.unixfs.describing import Composite, Plain
from farlane.models.unixfs.directory import directory
from farlane.models.unixfs.reading import read_bytes

DATA = hashlib.shake_256(b"flatfs").digest(3_500_000)


def test_kubo_opens_our_directory(new_repo, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    dags = describe_file(tmp_path / "file", [Composite([1_300_000, 2_200_000]), Plain()]).dags
    with closing(DiskBlockStore(tmp_path / "store")) as store:
        store.put_many(directory([]).nodes.items())  # kubo does not start without the empty directory
        for dag in dags:
            leaves = (dag.leaves[index] for index in range(len(dag.leaves)))
            store.put_many((leaf.cid, DATA[leaf.offset :][: leaf.length]) for leaf in leaves)
            store.put_many(dag.nodes.items())
    shutil.rmtree(new_repo.path / "blocks")
    shutil.move(tmp_path / "store" / "blocks", new_repo.path / "blocks")
    for dag in dags:
        assert new_repo.run("cat", "--offline", dag.root.text) == DATA
        assert new_repo.run("block", "get", "--offline", dag.root.text) == dag.nodes[dag.root]


def test_we_open_the_directory_of_kubo(new_repo, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    root = parse_cid(new_repo.run("add", "-Q", "--progress=false", str(tmp_path / "file")).decode().strip())
    with closing(DiskBlockStore(tmp_path / "store")):
        pass
    shutil.rmtree(tmp_path / "store" / "blocks")
    shutil.copytree(new_repo.path / "blocks", tmp_path / "store" / "blocks")
    (tmp_path / "store" / "blocks").chmod(0o700)
    with closing(DiskBlockStore(tmp_path / "store")) as store:
        assert b"".join(read_bytes(store, root)) == DATA
        found = verify_all(store)
        assert (found.findings, found.blocks >= 5) == ((), True)
