"""What the catalog keeps, as the services for models send it."""

from __future__ import annotations

from farlane.models.catalog.values import AliasMove, DeltaRow, Version
from farlane.models.manifest.signature import Signature
from farlane.models.manifest.values import Manifest
from farlane.wire.v1 import models_pb2


def version_message(version: Version, manifest: Manifest) -> models_pb2.ModelVersion:
    """Return a version with what is shown of its manifest."""
    return models_pb2.ModelVersion(
        name=version.name, number=version.number, cid=version.manifest.text,
        signature=signature_message(version.signature), added=version.added, size_bytes=manifest.size_bytes,
        private=manifest.encryption is not None, format=manifest.format, dtype=manifest.dtype,
        licence=manifest.licence.expression,
    )  # fmt: skip


def signature_message(signature: Signature | None) -> models_pb2.ModelSignature | None:
    """Return a publisher's signature, None for an unsigned version."""
    return (
        None
        if signature is None
        else models_pb2.ModelSignature(signer=signature.signer, signature=signature.value)
    )


def move_message(move: AliasMove) -> models_pb2.AliasMove:
    """Return a move of an alias."""
    return models_pb2.AliasMove(
        sequence=move.sequence, name=move.name, alias=move.alias, target=move.target.text if move.target else "",
        before=move.before.text if move.before else "", organisation=move.author.organisation,
        author=move.author.name, at=move.at, back=move.back,
    )  # fmt: skip


def delta_message(delta: DeltaRow) -> models_pb2.DeltaOffer:
    """Return a delta that is here, as it is offered."""
    return models_pb2.DeltaOffer(base=delta.base.text, cid=delta.root.text, size_bytes=delta.size_bytes)
