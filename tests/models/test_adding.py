"""farlane.models.adding, differences and exporting: a folder in, versions compared, and the same folder out."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file

from farlane.errors import Conflict, Corrupted, InvalidInput, InvalidSignature, NotFound, PermissionRefused
from farlane.kit.clock import ManualClock
from farlane.kit.hashing import sha256
from farlane.models.adding import Description, Progress, add
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.differences import Change, difference
from farlane.models.exporting import export_folder, pull
from farlane.models.manifest.signature import Signature
from farlane.models.manifest.values import Encryption, Parent, Relation
from farlane.models.repository import Repository
from farlane.models.updates import new_bytes
from farlane.testing.manifests import KeyedHashSigner

CARD = "---\nlicense: apache-2.0\npipeline_tag: sentence-similarity\nbase_model: other/base\n---\n# Mini\n"


def made() -> Repository:
    return Repository(MemoryBlockStore(), Catalog(MemoryRows()), KeyedHashSigner.recover, ManualClock())


@pytest.fixture
def repository() -> Iterator[Repository]:
    one = made()
    yield one
    one.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small model of two tensors, with a card and a licence."""
    root = tmp_path / "mini"
    (root / "tokenizer").mkdir(parents=True)
    (root / "README.md").write_text(CARD)
    (root / "LICENSE").write_text("terms")
    (root / "tokenizer/vocab.txt").write_text("a\nb\n")
    write_weights(root, 1)
    return root


def write_weights(root: Path, seed: int) -> None:
    rng = np.random.default_rng(7)
    save_file(
        {"embed": rng.random((300, 1000), np.float32), "head": np.full((64, 64), seed, np.float32)},
        root / "model.safetensors",
    )


def files_of(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_a_folder_says_what_it_is(repository: Repository, folder: Path) -> None:
    added = add(repository, folder, "lab/mini")
    manifest = added.manifest
    assert added.version.number == 1
    assert [one.path for one in manifest.files] == [
        "LICENSE",
        "README.md",
        "model.safetensors",
        "tokenizer/vocab.txt",
    ]
    assert (manifest.format, manifest.dtype, manifest.task) == ("safetensors", "F32", "sentence-similarity")
    assert (manifest.licence.expression, manifest.licence.file, manifest.card) == (
        "Apache-2.0",
        "LICENSE",
        "README.md",
    )
    weights = manifest.file("model.safetensors")
    assert weights is not None
    assert weights.cid != weights.ipfs_cid
    assert weights.sha256 == sha256((folder / "model.safetensors").read_bytes())
    assert repository.blocks.has(manifest.root)
    assert all(
        repository.blocks.has(one.cid) and repository.blocks.has(one.ipfs_cid) for one in manifest.files
    )


def test_the_same_folder_is_the_same_version(repository: Repository, folder: Path) -> None:
    first = add(repository, folder, "mini")
    again = add(repository, folder, "mini")
    assert again.version == first.version
    assert again.new_bytes == 0


def test_a_changed_tensor_is_all_that_is_new(repository: Repository, folder: Path) -> None:
    first = add(repository, folder, "mini")
    write_weights(folder, 2)
    (folder / "notes.txt").write_text("new")
    (folder / "tokenizer/vocab.txt").unlink()
    second = add(repository, folder, "mini")
    found = difference(repository, first.manifest, second.manifest)
    by_path = {one.path: one for one in found.files}
    assert {path: one.change for path, one in by_path.items()} == {
        "model.safetensors": Change.CHANGED, "notes.txt": Change.ADDED, "tokenizer/vocab.txt": Change.REMOVED,
    }  # fmt: skip
    weights = by_path["model.safetensors"]
    assert [(one.name, one.change) for one in weights.tensors] == [("head", Change.CHANGED)]
    assert weights.tensors_same == 1
    assert 64 * 64 * 4 < weights.new_bytes < 64 * 64 * 4 + 1000


def onnx_model(root: Path, changed: float, beside: bool) -> None:
    draw = np.random.default_rng(1).standard_normal((300, 300)).astype(np.float32)
    weights = [onnx.numpy_helper.from_array(draw * factor, f"w{factor}") for factor in (1, 2, 3)]
    weights.append(onnx.numpy_helper.from_array(draw + changed, "tuned"))
    model = onnx.helper.make_model(onnx.helper.make_graph([], f"tuned by {changed}", [], [], weights))
    (root / "m.data").unlink(missing_ok=True)
    onnx.save_model(
        model, root / "m.onnx", save_as_external_data=beside, location="m.data" if beside else None
    )


@pytest.mark.parametrize("beside", [False, True], ids=["in one file", "weights beside it"])
def test_the_tensors_of_an_onnx_model_are_compared_and_moved_alone(
    repository: Repository, folder: Path, beside: bool
) -> None:
    (folder / "model.safetensors").unlink()
    onnx_model(folder, 0.0, beside)
    first = add(repository, folder, "mini")
    onnx_model(folder, 0.5, beside)
    second = add(repository, folder, "mini")
    path = "m.data" if beside else "m.onnx"
    by_path = {one.path: one for one in difference(repository, first.manifest, second.manifest).files}
    assert [(one.name, one.change) for one in by_path[path].tensors] == [("tuned", Change.CHANGED)]
    assert by_path[path].tensors_same == 3
    new = new_bytes(repository.blocks, second.manifest, first.manifest)
    assert 360_000 <= sum(new.values()) < 370_000


def test_what_is_put_into_a_large_file_moves_little_of_it(repository: Repository, folder: Path) -> None:
    text = np.random.default_rng(3).bytes(6 << 20)
    (folder / "blob.bin").write_bytes(text)
    first = add(repository, folder, "mini")
    (folder / "blob.bin").write_bytes(bytes(1000) + text)
    second = add(repository, folder, "mini")
    new = new_bytes(repository.blocks, second.manifest, first.manifest)
    assert new["blob.bin"] < 1 << 20
    assert sum(new.values()) == new["blob.bin"]


def test_encrypted_and_small_files_are_cut_as_ipfs_add_cuts_them(
    repository: Repository, folder: Path
) -> None:
    (folder / "blob.bin").write_bytes(np.random.default_rng(3).bytes(6 << 20))
    sealed = add(
        repository, folder, "sealed", Description(encryption=Encryption(algorithm="x", recipients=(b"y",)))
    ).manifest.file("blob.bin")
    small = add(repository, folder, "mini").manifest.file("README.md")
    assert sealed is not None
    assert small is not None
    assert (sealed.cid, small.cid) == (sealed.ipfs_cid, small.ipfs_cid)


def test_progress_counts_every_byte_once(repository: Repository, folder: Path) -> None:
    seen: list[Progress] = []
    added = add(repository, folder, "mini", on_progress=seen.append)
    assert seen[-1].done_bytes == seen[-1].total_bytes == added.size_bytes
    assert [one.done_bytes for one in seen] == sorted(one.done_bytes for one in seen)


def test_a_version_comes_out_as_it_went_in(repository: Repository, folder: Path, tmp_path: Path) -> None:
    added = add(repository, folder, "mini")
    export_folder(repository, added.manifest, tmp_path / "out/mini")
    assert files_of(tmp_path / "out/mini") == files_of(folder)
    with pytest.raises(Conflict, match="nothing is overwritten"):
        export_folder(repository, added.manifest, tmp_path / "out/mini")


def test_a_damaged_file_is_not_exported(repository: Repository, folder: Path, tmp_path: Path) -> None:
    added = add(repository, folder, "mini")
    weights = added.manifest.file("model.safetensors")
    assert weights is not None
    path = repository.file_path(weights)
    path.chmod(0o600)
    with path.open("r+b") as stream:
        stream.seek(5000)
        stream.write(b"\xff\xff")
    with pytest.raises(Corrupted, match=r"model\.safetensors"):
        export_folder(repository, added.manifest, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob(".out*")) == []


def test_a_signed_version_is_pulled_with_its_signature(repository: Repository, folder: Path) -> None:
    add(repository, folder, "mini", signer=KeyedHashSigner("0xADA"))
    other = made()
    version, manifest = pull(other, repository, "mini")
    assert version.signature == repository.catalog.resolve("mini").signature
    assert manifest.publisher == "0xADA"
    assert other.catalog.model("mini").publisher == "0xADA"
    assert other.blocks.has(manifest.root)


def test_a_name_stays_its_publishers(repository: Repository, folder: Path) -> None:
    add(repository, folder, "mini", signer=KeyedHashSigner("0xADA"))
    write_weights(folder, 3)
    for signer in (KeyedHashSigner("0xEVE"), None):
        with pytest.raises(PermissionRefused, match="belongs to 0xADA"):
            add(repository, folder, "mini", signer=signer)


def test_a_version_with_a_wrong_signature_is_not_pulled(repository: Repository, folder: Path) -> None:
    added = add(repository, folder, "mini", signer=KeyedHashSigner("0xADA"))
    forged = made()
    forged.blocks = repository.blocks
    forged.catalog.add(
        "mini", added.version.manifest, Signature("0xADA", KeyedHashSigner("0xEVE").sign_text("x"))
    )
    with pytest.raises(InvalidSignature):
        pull(made(), forged, "mini")


def test_a_licence_is_accepted_before_a_version_is_pulled(repository: Repository, folder: Path) -> None:
    (folder / "README.md").write_text(CARD.replace("apache-2.0", "gemma"))
    version = add(repository, folder, "mini").version
    assert repository.manifest(version).licence.acceptance
    other = made()
    with pytest.raises(PermissionRefused, match="farlane models accept mini@v1 --licence LicenseRef-gemma"):
        pull(other, repository, "mini")
    with pytest.raises(PermissionRefused, match="not MIT"):
        repository.accept(version, "MIT")
    other.catalog.accept("", "LicenseRef-gemma", version.manifest)
    assert pull(other, repository, "mini")[0].number == 1


def test_what_the_publisher_says_goes_before_the_card(repository: Repository, folder: Path) -> None:
    base = add(repository, folder, "mini")
    write_weights(folder, 2)
    said = Description(
        task="embedding", licence="mit", metrics=(("loss", 0.5), ("accuracy", 0.9)),
        parents=(Parent(cid=base.version.manifest, relation=Relation.FINETUNE),),
    )  # fmt: skip
    manifest = add(repository, folder, "mini", said).manifest
    assert (manifest.task, manifest.licence.expression) == ("embedding", "MIT")
    assert manifest.metrics == (("accuracy", 0.9), ("loss", 0.5))
    assert manifest.parents[0].cid == base.version.manifest


@pytest.mark.parametrize("kind", ["pickle", "link", "folder link", "pipe", "cut off", "case", "metric"])
def test_what_cannot_be_added_leaves_nothing(repository: Repository, folder: Path, kind: str) -> None:
    said = Description()
    if kind == "pickle":
        (folder / "extra.bin").write_bytes(pickle.dumps({"w": np.ones(3)}))
    elif kind == "link":
        (folder / "secret").symlink_to("/etc/hostname")
    elif kind == "folder link":
        (folder / "up").symlink_to("/etc")
    elif kind == "pipe":
        os.mkfifo(folder / "pipe")
    elif kind == "cut off":
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-7])
    elif kind == "case":
        (folder / "readme.md").write_text("twice")
    else:
        said = Description(metrics=(("loss", float("nan")),))
    with pytest.raises((InvalidInput, Corrupted)):
        add(repository, folder, "mini", said)
    assert repository.blocks.total_bytes == 0
    assert repository.catalog.models() == ()


def test_one_file_is_a_model_too(repository: Repository, folder: Path) -> None:
    manifest = add(repository, folder / "model.safetensors", "mini").manifest
    assert [one.path for one in manifest.files] == ["model.safetensors"]
    with pytest.raises(NotFound, match="does not exist"):
        add(repository, folder / "nowhere", "mini")


def test_shards_that_an_index_names_must_be_there(repository: Repository, folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"embed": "model.safetensors", "head": "model.safetensors"}}))
    assert add(repository, folder, "mini").version.number == 1
    for shards, words in (
        ({"embed": "gone.safetensors"}, "not there"), ({"tail": "model.safetensors"}, "does not"),
        ({"embed": "../model.safetensors"}, "not there"),
    ):  # fmt: skip
        index.write_text(json.dumps({"weight_map": shards}))
        with pytest.raises(Corrupted, match=words):
            add(repository, folder, "mini")


def test_a_manifest_of_missing_files_is_not_published(repository: Repository, folder: Path) -> None:
    manifest = add(repository, folder, "mini").manifest
    gone = replace(manifest.files[0], sha256=b"\0" * 32)
    with pytest.raises(NotFound, match="not in this repository"):
        repository.publish(replace(manifest, files=(gone, *manifest.files[1:])))


def test_a_real_folder_goes_in_and_out(repository: Repository, silero: Path, tmp_path: Path) -> None:
    source = tmp_path / "vad"
    source.mkdir()
    for name in ("silero_vad.onnx", "silero_vad_16k.safetensors"):
        shutil.copy(silero / name, source / name)
    added = add(repository, source, "silero/vad", Description(licence="MIT"))
    assert added.manifest.format == "onnx"
    assert [one.name for one in added.manifest.inputs] == ["input", "state", "sr"]
    export_folder(repository, added.manifest, tmp_path / "out")
    assert files_of(tmp_path / "out") == files_of(source)
