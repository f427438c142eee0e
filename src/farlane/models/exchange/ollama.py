"""Ollama's store of models: a manifest below `manifests/`, and blobs named by their SHA-256.

Source: Ollama's docs and the layout of its models directory (OLLAMA_MODELS).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from farlane.errors import Conflict, InvalidInput
from farlane.kit.files import atomic_write
from farlane.models.exchange.layers import (
    Layer,
    checked_blob,
    copy_blob,
    layers_of,
    read_document,
    write_document,
    write_file,
)
from farlane.models.exporting import new_folder
from farlane.models.formats.sniff import inspect_file
from farlane.models.manifest.values import Manifest, ModelFile
from farlane.models.private.versions import require_public
from farlane.models.repository import Repository

REGISTRY: Final = Path("manifests/registry.ollama.ai")
MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG: Final = "application/vnd.docker.container.image.v1+json"
MODEL: Final = "application/vnd.ollama.image.model"
LICENCE: Final = "application/vnd.ollama.image.license"
TEMPLATE: Final = "application/vnd.ollama.image.template"
SYSTEM: Final = "application/vnd.ollama.image.system"
PARAMETERS: Final = "application/vnd.ollama.image.params"
_NAMES: Final = {
    LICENCE: "LICENSE",
    TEMPLATE: "template.txt",
    SYSTEM: "system.txt",
    PARAMETERS: "params.json",
}
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}")
MAX_LAYERS: Final = 64


def export_ollama(repository: Repository, manifest: Manifest, tag: str, store: Path) -> Path:
    """Put a version that is one GGUF file into Ollama's store, new if there is none, and return its manifest's path.

    Blobs that are there already stay; the manifest is written last, so that Ollama never sees half a model.

    Raises:
        InvalidInput: it is not one GGUF file, or the tag is none.
        Conflict: another model has this name and tag there.
        PermissionRefused: it is private.
    """
    require_public(manifest, "put it into Ollama's store")
    weights = [one for one in manifest.files if one.format == "gguf"]
    if len(weights) != 1:
        raise InvalidInput(
            f"{manifest.name} has {len(weights)} GGUF files, Ollama takes one: export a folder or to OCI"
        )
    place = store / REGISTRY / _place(manifest.name, tag)
    blobs = store / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    layers = [_write_file(repository, blobs, weights[0], MODEL)]
    for media_type, name in _NAMES.items():
        file = manifest.file(manifest.licence.file or name) if media_type == LICENCE else manifest.file(name)
        if file is not None:
            layers.append(_write_file(repository, blobs, file, media_type))
    config = write_document(blobs, _config(repository, weights[0], layers), CONFIG, "-")
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config.document(),
                "layers": [one.document() for one in layers]}  # fmt: skip
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists() and read_document(place) != document:
        raise Conflict(f"{place} is another model already: choose another tag, or remove it with `ollama rm`")
    atomic_write(place, _raw(document), 0o644)
    return place


def import_ollama(store: Path, name: str, tag: str, target: Path) -> None:
    """Write the files of a model in Ollama's store into a new folder, to be added from there.

    Raises:
        InvalidInput: the name or tag is none, or the model is no GGUF file.
        Corrupted: a blob or the manifest is missing or damaged.
        Conflict: the target exists.
    """
    document = read_document(store / REGISTRY / _place(name, tag))
    layers = layers_of(document, MAX_LAYERS)
    models = [one for one in layers if one.media_type == MODEL]
    if len(models) != 1:
        raise InvalidInput(f"{name}:{tag} has {len(models)} model layers; expected one GGUF file")
    with new_folder(target) as folder:
        taken: set[str] = set()
        for one in layers:
            path = "model.gguf" if one.media_type == MODEL else _NAMES.get(one.media_type, "")
            if path and path not in taken:
                taken.add(path)
                blob = checked_blob(store / "blobs" / one.digest.replace(":", "-"), one)
                copy_blob(blob, folder / path, one)


def _place(name: str, tag: str) -> Path:
    parts = name.split("/")
    if len(parts) > 2 or any(_TAG.fullmatch(one) is None for one in (*parts, tag)):
        raise InvalidInput(f"{name}:{tag} is no name and tag for Ollama; expected something like tiny:latest")
    owner, model = parts if len(parts) == 2 else ("library", parts[0])
    return Path(owner) / model / tag


def _write_file(repository: Repository, blobs: Path, file: ModelFile, media_type: str) -> Layer:
    place = blobs / f"sha256-{file.sha256.hex()}"
    return write_file(repository, place, file, media_type)


def _config(repository: Repository, weights: ModelFile, layers: list[Layer]) -> dict[str, Any]:
    look = inspect_file(repository.file_path(weights), weights.path)
    family = look.fact("general.architecture")
    return {
        "model_format": "gguf", "model_family": family, "model_families": [family],
        "model_type": look.fact("general.size_label"), "file_type": look.fact("quantisation") or look.dtype,
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [one.digest for one in layers]},
    }  # fmt: skip


def _raw(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
