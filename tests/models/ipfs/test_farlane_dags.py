"""What farlane makes is what a real kubo makes and reads, and farlane reads what kubo exports."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import save

from farlane.models.adding import plans
from farlane.models.blocks.car import export_car, import_car
from farlane.models.blocks.describing import describe_file
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.blocks.verifying import verify
from farlane.models.cid import parse_cid
from farlane.models.formats.sniff import inspect_file
from farlane.models.unixfs.describing import Plain
from farlane.models.unixfs.directory import Entry, directory
from farlane.models.unixfs.file_dag import FileDag
from farlane.models.unixfs.layout import subtrees
from farlane.models.unixfs.listing import list_directory, list_files
from farlane.models.unixfs.profiles import V0_2015, V1_2025, Profile
from farlane.models.unixfs.reading import read_bytes, read_file

KUBOS = [("kubo", V1_2025), ("other_kubo", V0_2015)]
MANY = 1300


def content(size: int, seed: bytes = b"file") -> bytes:
    return hashlib.shake_256(seed).digest(size)


def kept(store: MemoryBlockStore, path: Path, profile: Profile) -> FileDag:
    described = describe_file(path, [Plain(profile)])
    store.add_file(path, described)
    return described.dags[0]


def entry(name: str, dag: FileDag) -> Entry:
    """Return a file of one block as its directory has it."""
    (leaf,) = subtrees(dag.leaves)
    return Entry(name, dag.root, leaf.total_bytes)


def exported(kubo, root: str) -> MemoryBlockStore:
    store = MemoryBlockStore()
    imported = import_car(store, io.BytesIO(kubo.run("dag", "export", "--progress=false", root)))
    assert [one.text for one in imported.roots] == [root]
    assert verify(store, imported.roots).findings == ()
    return store


@pytest.mark.parametrize(("fixture", "profile"), KUBOS)
@pytest.mark.parametrize("extra", ["empty", "one byte", "chunk", "chunk and one", "over a node"])
def test_files_have_the_cids_of_ipfs_add(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str, profile: Profile, extra: str
) -> None:
    kubo, chunk = request.getfixturevalue(fixture), profile.chunk_bytes
    over = (profile.width * chunk + 5) if profile is V0_2015 else 5 * chunk + 5
    size = {"empty": 0, "one byte": 1, "chunk": chunk, "chunk and one": chunk + 1, "over a node": over}[extra]
    path = tmp_path / "file"
    path.write_bytes(content(size))
    store = MemoryBlockStore()
    dag = kept(store, path, profile)
    assert dag.root.text == kubo.rpc.add(path.read_bytes())

    back = exported(kubo, dag.root.text)
    read = read_file(back, dag.root)
    assert (read.root, read.nodes, read.leaves.digests) == (dag.root, dag.nodes, dag.leaves.digests)
    assert b"".join(read_bytes(back, dag.root)) == path.read_bytes()


def safetensors_file(path: Path) -> None:
    draw = np.random.default_rng(1)
    shapes = {"embedding": (700, 1000), "head.weight": (5, 7), "head.bias": (3,)}
    path.write_bytes(save({name: draw.normal(size=shape) for name, shape in shapes.items()}))


def onnx_file(path: Path) -> None:
    draw = np.random.default_rng(1)
    weights = [onnx.numpy_helper.from_array(draw.normal(size=(n, 1000)), f"w{n}") for n in (1, 2, 700)]
    graph = onnx.helper.make_graph([], "g", [], [], weights)
    onnx.save(onnx.helper.make_model(graph), path)


def large_file(path: Path) -> None:
    path.write_bytes(content(6_000_000))


@pytest.mark.parametrize(
    ("write", "name"),
    [(safetensors_file, "m.safetensors"), (onnx_file, "m.onnx"), (large_file, "plain.bin")],
)
def test_kubo_reads_a_composite_file(kubo, tmp_path: Path, write: Callable[[Path], None], name: str) -> None:
    path = tmp_path / name
    write(path)
    described = describe_file(path, plans(inspect_file(path, path.name)))
    composite, plain = described.dags[0].root, described.dags[-1].root
    assert composite != plain
    assert plain.text == kubo.rpc.add(path.read_bytes())

    store = MemoryBlockStore()
    store.add_file(path, described)
    kubo.rpc.import_car(export_car(store, [composite]))
    assert kubo.run("cat", composite.text) == path.read_bytes()

    back = exported(kubo, composite.text)
    assembly = back.begin_file([read_file(back, composite)], described.sha256)
    assert assembly.copy_local() == path.stat().st_size
    assert assembly.commit().path.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("fixture", "profile"), KUBOS)
@pytest.mark.parametrize("count", [3, MANY], ids=["plain", "sharded"])
def test_directories_are_those_of_ipfs_add(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str, profile: Profile, count: int
) -> None:
    kubo, folder = request.getfixturevalue(fixture), tmp_path / "folder"
    folder.mkdir()
    store, entries = MemoryBlockStore(), []
    for number in range(count):
        path = folder / f"{'a long name ' * 17}é{number}"
        path.write_bytes(b"content %d" % (number % 10))
        entries.append(entry(path.name, kept(store, path, profile)))
    made = directory(entries, profile)
    store.put_many(made.nodes.items())
    assert (len(made.nodes) > 1) == (count == MANY)

    kubo.rpc.import_car(export_car(store, [made.root]))
    kubo.run("get", "--progress=false", f"--output={tmp_path / 'got'}", made.root.text)
    wanted = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "got").iterdir()} == wanted

    assert kubo.run("add", "-r", "-Q", "--progress=false", str(folder)).decode().strip() == made.root.text
    back = exported(kubo, made.root.text)
    assert list_directory(back, made.root) == sorted(entries, key=lambda one: one.name.encode())
    read = {file.path: b"".join(read_bytes(back, file.cid)) for file in list_files(back, made.root)}
    assert read == wanted


def test_a_tree_of_kubo_is_listed(kubo, tmp_path: Path) -> None:
    (tmp_path / "tree" / "below" / "far").mkdir(parents=True)
    (tmp_path / "tree" / "a").write_bytes(b"1")
    (tmp_path / "tree" / "below" / "far" / "b").write_bytes(content(3_000_000))
    root = kubo.run("add", "-r", "-Q", "--progress=false", str(tmp_path / "tree")).decode().strip()
    files = list_files(exported(kubo, root), parse_cid(root))
    assert [(file.path, file.size_bytes) for file in files] == [("a", 1), ("below/far/b", 3_000_000)]


@pytest.mark.parametrize("options", [{"trickle": True}, {"raw-leaves": False}, {"chunker": "size-1000"}])
def test_other_ways_of_adding_are_read(kubo, options: dict[str, str | bool]) -> None:
    data = content(1_200_000, b"other ways")
    root = kubo.rpc.add(data, {"cid-version": 1, **options})
    assert b"".join(read_bytes(exported(kubo, root), parse_cid(root))) == data
