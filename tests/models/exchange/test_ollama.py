"""farlane.models.exchange.ollama: a GGUF file into Ollama's store and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter

from farlane.errors import Conflict, Corrupted, InvalidInput
from farlane.kit.hashing import sha256_hex
from farlane.models.adding import Added, add
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.exchange.ollama import export_ollama, import_ollama
from farlane.models.repository import Repository


def write_gguf(path: Path, value: float) -> None:
    writer = GGUFWriter(path, "llama")
    writer.add_file_type(0)
    writer.add_tensor("w", np.full((4, 8), value, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def repository() -> Repository:
    return Repository(MemoryBlockStore(), Catalog(MemoryRows()))


@pytest.fixture
def added(repository: Repository, tmp_path: Path) -> Added:
    folder = tmp_path / "tiny"
    folder.mkdir()
    write_gguf(folder / "tiny.gguf", 1.0)
    (folder / "LICENSE").write_text("terms")
    (folder / "template.txt").write_text("{{ .Prompt }}")
    return add(repository, folder, "tiny")


def test_the_store_is_laid_out_as_ollama_reads_it(
    repository: Repository, added: Added, tmp_path: Path
) -> None:
    store = tmp_path / "models"
    place = export_ollama(repository, added.manifest, "v1", store)
    assert place == store / "manifests/registry.ollama.ai/library/tiny/v1"
    document = json.loads(place.read_text())
    assert [one["mediaType"].rpartition(".")[2] for one in document["layers"]] == [
        "model",
        "license",
        "template",
    ]
    for one in (document["config"], *document["layers"]):
        raw = (store / "blobs" / one["digest"].replace(":", "-")).read_bytes()
        assert (f"sha256:{sha256_hex(raw)}", len(raw)) == (one["digest"], one["size"])
    config = json.loads((store / "blobs" / document["config"]["digest"].replace(":", "-")).read_text())
    assert (config["model_format"], config["model_family"], config["file_type"]) == ("gguf", "llama", "F32")


def test_what_went_in_comes_out(repository: Repository, added: Added, tmp_path: Path) -> None:
    store = tmp_path / "models"
    export_ollama(repository, added.manifest, "v1", store)
    export_ollama(repository, added.manifest, "v1", store)
    import_ollama(store, "tiny", "v1", tmp_path / "back")
    assert (tmp_path / "back/model.gguf").read_bytes() == (tmp_path / "tiny/tiny.gguf").read_bytes()
    assert (tmp_path / "back/LICENSE").read_text() == "terms"
    assert (tmp_path / "back/template.txt").read_text() == "{{ .Prompt }}"


def test_another_model_is_not_overwritten(repository: Repository, added: Added, tmp_path: Path) -> None:
    store = tmp_path / "models"
    export_ollama(repository, added.manifest, "v1", store)
    write_gguf(tmp_path / "tiny/tiny.gguf", 2.0)
    other = add(repository, tmp_path / "tiny", "tiny")
    with pytest.raises(Conflict, match="another model"):
        export_ollama(repository, other.manifest, "v1", store)


@pytest.mark.parametrize(
    ("name", "tag"), [("../x", "v1"), ("tiny", "../v1"), ("a/b/c", "v1"), ("tiny", ""), ("", "v1")]
)
def test_names_and_tags_never_leave_the_store(tmp_path: Path, name: str, tag: str) -> None:
    with pytest.raises(InvalidInput, match="no name and tag"):
        import_ollama(tmp_path, name, tag, tmp_path / "back")


def test_missing_or_damaged_blobs_are_refused(repository: Repository, added: Added, tmp_path: Path) -> None:
    store = tmp_path / "models"
    export_ollama(repository, added.manifest, "v1", store)
    weights = added.manifest.file("tiny.gguf")
    assert weights is not None
    path = store / "blobs" / f"sha256-{weights.sha256.hex()}"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Corrupted, match="other bytes"):
        import_ollama(store, "tiny", "v1", tmp_path / "back")
    with pytest.raises(Corrupted):
        import_ollama(store, "tiny", "v9", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_what_is_no_gguf_is_not_for_ollama(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    added = add(repository, tmp_path / "a.txt", "text")
    with pytest.raises(InvalidInput, match="0 GGUF files"):
        export_ollama(repository, added.manifest, "v1", tmp_path / "models")
