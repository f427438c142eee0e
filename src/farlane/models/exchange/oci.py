"""OCI image layouts with CNCF ModelPack media types: what container registries keep and runtimes mount.

Source: OCI image-spec 1.1 (image layout, manifest); ModelPack model-spec (media types, config schema, annotations).
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path, PurePosixPath
from typing import Any, Final

from farlane.errors import Corrupted, InvalidInput
from farlane.models.exchange.layers import (
    Layer,
    checked_blob,
    copy_blob,
    layer_of,
    layers_of,
    read_document,
    write_document,
    write_file,
)
from farlane.models.exporting import new_folder
from farlane.models.formats.values import WEIGHTS
from farlane.models.manifest.paths import check_path, check_paths
from farlane.models.manifest.values import MAX_FILES, Manifest, ModelFile
from farlane.models.private.versions import require_public
from farlane.models.repository import Repository

IMAGE_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT: Final = "application/vnd.cncf.model.manifest.v1+json"
CONFIG: Final = "application/vnd.cncf.model.config.v1+json"
WEIGHT: Final = "application/vnd.cncf.model.weight.v1.raw"
WEIGHT_CONFIG: Final = "application/vnd.cncf.model.weight.config.v1.raw"
DOCUMENT: Final = "application/vnd.cncf.model.doc.v1.raw"
CODE: Final = "application/vnd.cncf.model.code.v1.raw"
PATH_NOTE: Final = "org.cncf.model.filepath"
MANIFEST_NOTE: Final = "org.farlane.manifest"
_BLOBS: Final = Path("blobs/sha256")
_RAW: Final = frozenset({WEIGHT, WEIGHT_CONFIG, DOCUMENT, CODE, "application/vnd.cncf.model.dataset.v1.raw"})


def export_oci(repository: Repository, manifest: Manifest, cid: str, tag: str, target: Path) -> None:
    """Write a version as an OCI image layout, one uncompressed layer for each file.

    Raises:
        Conflict: the target exists.
        NotFound, Corrupted, DiskFull: as `export_folder`.
        PermissionRefused: it is private.
    """
    require_public(manifest, "write it as an OCI image")
    with new_folder(target) as folder:
        blobs = folder / _BLOBS
        blobs.mkdir(parents=True)
        layers = [_write_layer(repository, blobs, one) for one in manifest.files]
        config = write_document(folder / "blobs", _config(manifest, layers), CONFIG, "/")
        document = {
            "schemaVersion": 2, "mediaType": IMAGE_MANIFEST, "artifactType": ARTIFACT, "config": config.document(),
            "layers": [one.document() for one in layers], "annotations": {MANIFEST_NOTE: cid},
        }  # fmt: skip
        image = write_document(folder / "blobs", document, IMAGE_MANIFEST, "/")
        index = {
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{**image.document(), "artifactType": ARTIFACT,
                           "annotations": {"org.opencontainers.image.ref.name": tag}}],
        }  # fmt: skip
        (folder / "index.json").write_text(json.dumps(index, indent=2) + "\n")
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def import_oci(source: Path, target: Path) -> None:
    """Write the files of the one model in an OCI image layout into a new folder, to be added from there.

    Raises:
        InvalidInput: it has no model or several, a layer that is an archive, or a path that no file may have.
        Corrupted: a blob is missing or has other bytes.
        Conflict: the target exists.
    """
    entries = read_document(source / "index.json").get("manifests")
    if not isinstance(entries, list) or len(entries) != 1:
        raise InvalidInput(
            f"{source} holds {len(entries) if isinstance(entries, list) else 0} manifests; expected one model"
        )
    image = read_document(checked_blob(_blob(source, layer_of(entries[0])), layer_of(entries[0])))
    if image.get("artifactType") != ARTIFACT:
        raise InvalidInput(
            f"{source} holds no model as ModelPack describes it; expected the artifact type {ARTIFACT}"
        )
    layers = layers_of(image, MAX_FILES)
    check_paths(_path(one) for one in layers)
    with new_folder(target) as folder:
        for one in layers:
            place = folder / _path(one)
            place.parent.mkdir(parents=True, exist_ok=True)
            blob = checked_blob(_blob(source, one), one)
            copy_blob(blob, place, one)


def _write_layer(repository: Repository, blobs: Path, file: ModelFile) -> Layer:
    place = blobs / file.sha256.hex()
    return write_file(repository, place, file, _media_type(file), {PATH_NOTE: file.path})


def _media_type(file: ModelFile) -> str:
    if file.format in WEIGHTS:
        return WEIGHT
    name = PurePosixPath(file.path)
    if name.suffix.lower() in {".md", ".pdf", ".rst"} or name.name.upper().startswith(
        ("LICEN", "NOTICE", "README")
    ):
        return DOCUMENT
    return CODE if name.suffix == ".py" else WEIGHT_CONFIG


def _config(manifest: Manifest, layers: list[Layer]) -> dict[str, Any]:
    created = datetime.datetime.fromtimestamp(manifest.created, datetime.UTC)
    descriptor: dict[str, Any] = {
        "name": manifest.name,
        "createdAt": created.isoformat().replace("+00:00", "Z"),
    }
    if manifest.licence.expression:
        descriptor["licenses"] = [manifest.licence.expression]
    config = {"format": manifest.format, "precision": manifest.dtype}
    return {
        "descriptor": descriptor, "config": {name: value for name, value in config.items() if value},
        "modelfs": {"type": "layers", "diffIds": [one.digest for one in layers]},
    }  # fmt: skip


def _path(layer: Layer) -> str:
    if layer.media_type not in _RAW:
        raise InvalidInput(
            f"a layer has the media type {layer.media_type[:100]!r}; expected raw files of a model: unpack "
            "archives with the tool that made them"
        )
    path = layer.annotations.get(PATH_NOTE, "")
    if not path:
        raise Corrupted(f"the layer {layer.digest} does not say which file it is ({PATH_NOTE})")
    return check_path(path)


def _blob(source: Path, layer: Layer) -> Path:
    return source / _BLOBS / layer.digest.removeprefix("sha256:")
