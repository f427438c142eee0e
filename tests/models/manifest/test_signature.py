"""farlane.models.manifest.signature: who stands behind a version."""

from __future__ import annotations

import pytest

from farlane.errors import InvalidSignature, PermissionRefused
from farlane.models.manifest.codec import encode, manifest_cid
from farlane.models.manifest.signature import Signature, check_publisher, check_signature, sign
from farlane.testing.manifests import KeyedHashSigner, small_manifest

ADA, EVE = KeyedHashSigner("0xADA"), KeyedHashSigner("0xEVE")
MANIFEST = small_manifest(publisher="0xADA")
CID = manifest_cid(encode(MANIFEST))
RECOVER = KeyedHashSigner.recover


def test_a_signed_version_names_its_publisher() -> None:
    signature = sign(MANIFEST, CID, ADA)
    assert check_signature(MANIFEST, CID, signature, RECOVER) == "0xADA"
    assert len(signature.value) == 65


def test_nobody_signs_for_somebody_else() -> None:
    with pytest.raises(InvalidSignature, match="the key is of 0xEVE"):
        sign(MANIFEST, CID, EVE)


def test_a_signature_by_another_key_or_of_another_version_proves_nothing() -> None:
    good = sign(MANIFEST, CID, ADA)
    forged = Signature("0xADA", EVE.sign_text("whatever"))
    stolen = Signature("0xEVE", good.value)
    flipped = Signature("0xADA", good.value[:-1] + bytes([good.value[-1] ^ 1]))
    other = small_manifest(publisher="0xADA", task="other")
    for signature in (forged, stolen, flipped):
        with pytest.raises(InvalidSignature):
            check_signature(MANIFEST, CID, signature, RECOVER)
    with pytest.raises(InvalidSignature):
        check_signature(other, manifest_cid(encode(other)), good, RECOVER)


def test_a_missing_or_surplus_signature_is_refused() -> None:
    with pytest.raises(InvalidSignature, match="nobody signed"):
        check_signature(MANIFEST, CID, None, RECOVER)
    unsigned = small_manifest()
    cid = manifest_cid(encode(unsigned))
    assert check_signature(unsigned, cid, None, RECOVER) == ""
    with pytest.raises(InvalidSignature, match="names no publisher"):
        check_signature(unsigned, cid, sign(MANIFEST, CID, ADA), RECOVER)


def test_a_name_is_its_first_publishers() -> None:
    check_publisher("mini", "0xADA", None)
    check_publisher("mini", "0xADA", "0xADA")
    for publisher in ("0xEVE", ""):
        with pytest.raises(PermissionRefused, match="belongs to 0xADA"):
            check_publisher("mini", publisher, "0xADA")
