"""Manifests as canonical DAG-CBOR: one manifest has exactly one encoding, so that its CID names it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from farlane.domain.inference import Datatype, TensorSpec
from farlane.errors import Corrupted, FarlaneError, InvalidInput, TooLarge, UnsupportedVersion
from farlane.kit.hashing import sha256
from farlane.models.cid import Cid
from farlane.models.manifest import values
from farlane.models.manifest.check import check_manifest
from farlane.models.manifest.fields import Fields
from farlane.models.manifest.values import Encryption, Licence, Manifest, ModelFile, Parent, Relation

DAG_CBOR: Final = 0x71
"""Source: multicodec table."""
_KIND: Final = "farlane-model"
_REMEMBERED_BYTES: Final = 32 << 10
_REMEMBERED: Final = 64
"""Manifests up to a size are remembered, so many: reading one takes the libraries about a millisecond for each file,
and a hub reads the same one for each replica. What they can fill is a few megabytes."""


def encode(manifest: Manifest) -> bytes:
    """Return a manifest's one encoding, links as tag 42.

    Source: IPLD, DAG-CBOR specification.

    Raises:
        InvalidInput: it says something that no manifest may say.
        TooLarge: it has more than MAX_MANIFEST_BYTES.
    """
    import dag_cbor

    check_manifest(manifest)
    raw = bytes(dag_cbor.encode(_document(manifest)))
    if len(raw) > values.MAX_MANIFEST_BYTES:
        raise TooLarge(
            f"the manifest has {len(raw)} bytes, at most {values.MAX_MANIFEST_BYTES}: put fewer files, metrics or "
            "parents into one version"
        )
    return raw


def manifest_cid(raw: bytes) -> Cid:
    """Return the CID of an encoded manifest: the version's name."""
    return Cid(1, DAG_CBOR, sha256(raw))


def decode(raw: bytes, expected: Cid | None = None) -> Manifest:
    """Read a manifest.

    Args:
        raw: from anywhere.
        expected: the CID it must have.

    Raises:
        Corrupted: it is not one, not in its one encoding, or another one than expected.
        UnsupportedVersion: a newer farlane wrote it.
        TooLarge: beyond MAX_MANIFEST_BYTES.
    """
    if len(raw) > values.MAX_MANIFEST_BYTES:
        raise TooLarge(f"a manifest has at most {values.MAX_MANIFEST_BYTES} bytes, this one {len(raw)}")
    if expected is not None and manifest_cid(raw) != expected:
        raise Corrupted(
            f"these bytes are not the manifest {expected.text}: fetch it again from another source"
        )
    return _remembered(bytes(raw)) if len(raw) <= _REMEMBERED_BYTES else _read(raw)


def _read(raw: bytes) -> Manifest:
    manifest = _manifest(_decoded(raw))
    try:
        same = encode(manifest) == raw
    except InvalidInput as error:
        raise Corrupted(f"the manifest says what none may say: {error.message}") from error
    if not same:
        raise Corrupted("the manifest is not in its one canonical encoding: nobody can check it by its CID")
    return manifest


_remembered = lru_cache(_REMEMBERED)(_read)


def _decoded(raw: bytes) -> object:
    import dag_cbor

    try:
        return dag_cbor.decode(raw)
    except FarlaneError:
        raise
    except Exception as error:  # the library raises its own, KeyError and ValueError alike
        raise Corrupted(f"these {len(raw)} bytes are no manifest: not strict DAG-CBOR") from error


def _document(manifest: Manifest) -> dict[str, Any]:
    document = {
        "kind": _KIND, "version": values.FORMAT_VERSION, "name": manifest.name, "root": _link(manifest.root),
        "files": [_file(one) for one in manifest.files], "format": manifest.format, "task": manifest.task,
        "runtime": manifest.runtime, "dtype": manifest.dtype, "card": manifest.card,
        "licence": {
            "expression": manifest.licence.expression, "acceptance": manifest.licence.acceptance,
            "file": manifest.licence.file,
        },
        "parents": [_parent(one) for one in manifest.parents],
        "metrics": {name: float(value) for name, value in manifest.metrics},
        "inputs": [_spec(one) for one in manifest.inputs],
        "outputs": [_spec(one) for one in manifest.outputs],
        "created": manifest.created, "publisher": manifest.publisher,
    }  # fmt: skip
    if manifest.encryption is not None:
        document["encryption"] = {
            "algorithm": manifest.encryption.algorithm,
            "recipients": list(manifest.encryption.recipients),
        }
    return document


def _file(file: ModelFile) -> dict[str, Any]:
    return {
        "path": file.path, "cid": _link(file.cid), "ipfs_cid": _link(file.ipfs_cid), "sha256": file.sha256,
        "size": file.size, "format": file.format,
    }  # fmt: skip


def _parent(parent: Parent) -> dict[str, Any]:
    document = {"cid": _link(parent.cid), "relation": parent.relation.value}
    if parent.recipe is not None:
        document["recipe"] = _link(parent.recipe)
    return document


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype.value, "shape": list(spec.shape)}


def _link(cid: Cid) -> Any:
    from multiformats import CID

    return CID.decode(cid.bytes)


def _manifest(value: object) -> Manifest:
    fields = Fields(value, "the head")
    if fields.text("kind", 64) != _KIND:
        raise Corrupted(f"this DAG-CBOR node is no manifest of a model; expected the kind {_KIND!r}")
    version = fields.number("version", 1 << 32)
    if version != values.FORMAT_VERSION:
        raise UnsupportedVersion(
            f"the manifest has format version {version}; this farlane reads {values.FORMAT_VERSION}: update it"
        )
    limit = values.MAX_TEXT_BYTES
    found = Manifest(
        name=fields.text("name", limit),
        root=fields.link("root"),
        files=fields.items("files", values.MAX_FILES, _read_file),
        format=fields.text("format", limit),
        task=fields.text("task", limit),
        runtime=fields.text("runtime", limit),
        dtype=fields.text("dtype", limit),
        licence=_read_licence(fields.map("licence")),
        card=fields.text("card", limit),
        parents=fields.items("parents", values.MAX_PARENTS, _read_parent),
        metrics=fields.numbers_by_name("metrics", values.MAX_METRICS, limit),
        inputs=fields.items("inputs", values.MAX_TENSOR_SPECS, _read_spec),
        outputs=fields.items("outputs", values.MAX_TENSOR_SPECS, _read_spec),
        created=fields.number("created", values.MAX_SIZE_BYTES),
        publisher=fields.text("publisher", limit),
        encryption=_read_encryption(fields.map("encryption")),
    )
    fields.end()
    return found


def _read_file(value: object) -> ModelFile:
    fields = Fields(value, "a file")
    found = ModelFile(
        path=fields.text("path", values.MAX_TEXT_BYTES),
        cid=fields.link("cid"),
        ipfs_cid=fields.link("ipfs_cid"),
        sha256=fields.octets("sha256", 32),
        size=fields.number("size", values.MAX_SIZE_BYTES),
        format=fields.text("format", 64),
    )
    fields.end()
    return found


def _read_licence(value: object) -> Licence:
    fields = Fields(value, "the licence")
    limit = values.MAX_TEXT_BYTES
    found = Licence(
        expression=fields.text("expression", limit),
        acceptance=fields.flag("acceptance", False),
        file=fields.text("file", limit),
    )
    fields.end()
    return found


def _read_parent(value: object) -> Parent:
    fields = Fields(value, "a parent")
    cid, relation = fields.link("cid"), fields.text("relation", 64)
    try:
        known = Relation(relation)
    except ValueError as error:
        raise fields.wrong("relation", f"is {relation!r}, none of {', '.join(Relation)}") from error
    found = Parent(cid=cid, relation=known, recipe=fields.optional_link("recipe"))
    fields.end()
    return found


def _read_spec(value: object) -> TensorSpec:
    fields = Fields(value, "an input or output")
    name, datatype = fields.text("name", values.MAX_TEXT_BYTES), fields.text("datatype", 16)

    def dimension(item: object) -> int:
        if type(item) is not int or not -1 <= item <= values.MAX_SIZE_BYTES:
            raise fields.wrong("shape", "has a dimension that is neither a size nor -1")
        return item

    shape = fields.items("shape", values.MAX_DIMENSIONS, dimension)
    try:
        known = Datatype(datatype)
    except ValueError as error:
        raise fields.wrong("datatype", f"is {datatype!r}, none of {', '.join(Datatype)}") from error
    fields.end()
    return TensorSpec(name, known, shape)


def _read_encryption(value: object) -> Encryption | None:
    if value is None:
        return None
    fields = Fields(value, "the encryption")

    def recipient(item: object) -> bytes:
        if not isinstance(item, bytes) or not 0 < len(item) <= values.MAX_RECIPIENT_BYTES:
            raise fields.wrong("recipients", f"has one that is not 1 to {values.MAX_RECIPIENT_BYTES} bytes")
        return item

    found = Encryption(
        algorithm=fields.text("algorithm", 64),
        recipients=fields.items("recipients", values.MAX_RECIPIENTS, recipient),
    )
    fields.end()
    return found
