"""farlane.models.exchange.oci: layouts with ModelPack's media types, out and in, and layouts that lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from farlane.errors import Conflict, Corrupted, InvalidInput
from farlane.kit.hashing import sha256_hex
from farlane.models.adding import Description, add
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.exchange.oci import ARTIFACT, CONFIG, PATH_NOTE, WEIGHT, export_oci, import_oci
from farlane.models.repository import Repository


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "mini"
    (root / "deep").mkdir(parents=True)
    save_file({"w": np.ones((8, 8), np.float32)}, root / "model.safetensors")
    (root / "README.md").write_text("# Mini")
    (root / "deep/config.json").write_text("{}")
    return root


@pytest.fixture
def layout(folder: Path, tmp_path: Path) -> Path:
    repository = Repository(MemoryBlockStore(), Catalog(MemoryRows()))
    added = add(repository, folder, "lab/mini", Description(licence="MIT"))
    target = tmp_path / "layout"
    export_oci(repository, added.manifest, added.version.manifest.text, "v1", target)
    return target


def blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def image_of(layout: Path) -> dict[str, Any]:
    index = json.loads((layout / "index.json").read_text())
    found: dict[str, Any] = json.loads(blob(layout, index["manifests"][0]["digest"]).read_text())
    return found


def replace_image(layout: Path, image: dict[str, Any]) -> None:
    raw = json.dumps(image).encode()
    (layout / "blobs/sha256" / sha256_hex(raw)).write_bytes(raw)
    index = json.loads((layout / "index.json").read_text())
    index["manifests"][0].update(digest=f"sha256:{sha256_hex(raw)}", size=len(raw))
    (layout / "index.json").write_text(json.dumps(index))


def test_every_blob_has_the_hash_it_is_named_by(layout: Path) -> None:
    assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    for path in (layout / "blobs/sha256").iterdir():
        assert sha256_hex(path.read_bytes()) == path.name


def test_the_manifest_is_what_modelpack_asks_for(layout: Path, folder: Path) -> None:
    image = image_of(layout)
    assert (image["schemaVersion"], image["artifactType"], image["config"]["mediaType"]) == (
        2,
        ARTIFACT,
        CONFIG,
    )
    kinds = {one["annotations"][PATH_NOTE]: one["mediaType"].split("model.")[1] for one in image["layers"]}
    assert kinds == {
        "README.md": "doc.v1.raw", "deep/config.json": "weight.config.v1.raw", "model.safetensors": "weight.v1.raw",
    }  # fmt: skip
    config = json.loads(blob(layout, image["config"]["digest"]).read_text())
    assert config.keys() == {"descriptor", "config", "modelfs"}
    assert config["descriptor"]["licenses"] == ["MIT"]
    assert config["modelfs"] == {"type": "layers", "diffIds": [one["digest"] for one in image["layers"]]}
    assert config["config"] == {"format": "safetensors", "precision": "F32"}


def test_a_layout_comes_back_as_the_folder_it_was(layout: Path, folder: Path, tmp_path: Path) -> None:
    import_oci(layout, tmp_path / "back")
    for name in ("README.md", "deep/config.json", "model.safetensors"):
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes()
    with pytest.raises(Conflict):
        import_oci(layout, tmp_path / "back")


@pytest.mark.parametrize("path", ["../../evil", "/etc/evil", "a/../../evil", "C:\\evil", "nul", ""])
def test_a_layer_never_leaves_its_folder(layout: Path, tmp_path: Path, path: str) -> None:
    image = image_of(layout)
    image["layers"][0]["annotations"][PATH_NOTE] = path
    replace_image(layout, image)
    with pytest.raises((InvalidInput, Corrupted)):
        import_oci(layout, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    assert not (tmp_path.parent / "evil").exists()


def test_blobs_that_were_changed_or_are_links_are_refused(layout: Path, tmp_path: Path) -> None:
    image = image_of(layout)
    victim = blob(layout, image["layers"][0]["digest"])
    raw = victim.read_bytes()
    victim.write_bytes(raw[:-1] + b"!")
    with pytest.raises(Corrupted, match="other bytes"):
        import_oci(layout, tmp_path / "back")
    victim.unlink()
    victim.symlink_to("/etc/hostname")
    with pytest.raises(Corrupted, match="plain file"):
        import_oci(layout, tmp_path / "back")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"artifactType": "application/x"}, "no model"),
        ({"layers": "none"}, "no list"),
        ({"layers": [{"mediaType": WEIGHT, "digest": "sha256:../../etc/passwd", "size": 1}]}, "digest"),
        ({"layers": [{"mediaType": WEIGHT, "digest": "sha256:" + "0" * 64, "size": 1}]}, "which file"),
        (
            {"layers": [{"mediaType": "application/x.tar", "digest": "sha256:" + "0" * 64, "size": 1}]},
            "archives",
        ),
    ],
)
def test_a_manifest_that_is_none_is_refused(layout: Path, tmp_path: Path, change: Any, words: str) -> None:
    replace_image(layout, {**image_of(layout), **change})
    with pytest.raises((InvalidInput, Corrupted), match=words):
        import_oci(layout, tmp_path / "back")


def test_a_layout_of_two_or_none_is_refused(layout: Path, tmp_path: Path) -> None:
    (layout / "index.json").write_text('{"manifests": []}')
    with pytest.raises(InvalidInput, match="0 manifests"):
        import_oci(layout, tmp_path / "back")
    (layout / "index.json").write_text("[")
    with pytest.raises(Corrupted, match="JSON"):
        import_oci(layout, tmp_path / "back")
