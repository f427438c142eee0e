"""The block under which a signed version is published: a link to its manifest, and the publisher's signature.

A manifest does not hold its own signature. An unsigned version is published under its manifest's CID, a signed one
under the CID of this block, so that whoever fetches one DAG has both.
"""

from __future__ import annotations

from typing import Any, Final

from farlane.errors import Corrupted, InvalidInput, UnsupportedVersion
from farlane.models.blocks.port import BlockSource
from farlane.models.catalog.values import Version
from farlane.models.cid import DAG_CBOR, Cid, block_cid
from farlane.models.manifest.codec import decode
from farlane.models.manifest.fields import Fields
from farlane.models.manifest.signature import SIGNATURE_BYTES, Signature
from farlane.models.manifest.values import Manifest

MAX_SIGNED_BYTES: Final = 4096
_KIND: Final = "farlane-signed-version"
_FORMAT_VERSION: Final = 1
_MAX_SIGNER_BYTES: Final = 64


def signed_block(manifest: Cid, signature: Signature) -> bytes:
    """Return the block's one encoding, canonical DAG-CBOR."""
    import dag_cbor
    from multiformats import CID

    document: dict[str, Any] = {
        "kind": _KIND, "version": _FORMAT_VERSION, "manifest": CID.decode(manifest.bytes),
        "signer": signature.signer, "signature": signature.value,
    }  # fmt: skip
    return bytes(dag_cbor.encode(document))


def published_as(version: Version) -> tuple[Cid, bytes | None]:
    """Return the CID under which a version is published, and the block behind it; None if that is the manifest."""
    if version.signature is None:
        return version.manifest, None
    block = signed_block(version.manifest, version.signature)
    return block_cid(DAG_CBOR, block), block


def read_published(source: BlockSource, cid: Cid) -> tuple[Cid, Manifest, Signature | None]:
    """Return the manifest that something published leads to, its CID, and the signature that lies beside it, unchecked.

    Args:
        source: where the blocks are.
        cid: of a signed version's block, or of a manifest.

    Raises:
        InvalidInput: it is neither.
        NotFound, Unavailable: as the source.
        Corrupted: it is damaged.
        UnsupportedVersion: a newer farlane wrote it.
    """
    if cid.codec != DAG_CBOR:
        raise InvalidInput(
            f"{cid.text} is no version of a model, whose CID begins with bafyrei: a folder or file of IPFS is fetched "
            "with `ipfs get` and becomes a version by `farlane models add`"
        )
    block = source.get(cid)
    if not _is_signed(block, cid):
        return cid, decode(block, cid), None
    manifest_cid, signature = _read(block)
    return manifest_cid, decode(source.get(manifest_cid), manifest_cid), signature


def _is_signed(block: bytes, cid: Cid) -> bool:
    import dag_cbor

    try:
        document = dag_cbor.decode(block)
    except Exception as error:  # the library raises its own, KeyError and RecursionError alike
        raise InvalidInput(f"{cid.text} is no version of a model: it is not strict DAG-CBOR") from error
    kind = document.get("kind") if isinstance(document, dict) else None
    if kind not in (_KIND, "farlane-model"):
        raise InvalidInput(f"{cid.text} is a document of something else, not a version of a model")
    return kind == _KIND


def _read(block: bytes) -> tuple[Cid, Signature]:
    import dag_cbor

    if len(block) > MAX_SIGNED_BYTES:
        raise Corrupted(
            f"a signed version's block has at most {MAX_SIGNED_BYTES} bytes, this one {len(block)}"
        )
    fields = Fields(dag_cbor.decode(block), "the signature")
    fields.text("kind", 64)
    version = fields.number("version", 1 << 32)
    if version != _FORMAT_VERSION:
        raise UnsupportedVersion(
            f"the signed version has format version {version}; this farlane reads {_FORMAT_VERSION}: update it"
        )
    manifest = fields.link("manifest")
    signature = Signature(
        fields.text("signer", _MAX_SIGNER_BYTES), fields.octets("signature", SIGNATURE_BYTES)
    )
    fields.end()
    if manifest.codec != DAG_CBOR or signed_block(manifest, signature) != block:
        raise Corrupted("the signed version's block is not in its one encoding: fetch it from its publisher")
    return manifest, signature
