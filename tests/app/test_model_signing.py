"""farlane.app.model_signing: what wallets make and check, and versions signed with an account."""

from __future__ import annotations

import pytest

from farlane.app.model_signing import AccountSigner, recover_text
from farlane.errors import InvalidSignature
from farlane.kit.recursion import recursion_limit_kept
from farlane.ledger.accounts import PrivateKey
from farlane.models.manifest.codec import encode, manifest_cid
from farlane.models.manifest.signature import check_signature, sign, statement
from farlane.testing.manifests import small_manifest

with recursion_limit_kept():
    from eth_account import Account
    from eth_account.messages import encode_defunct

KEY = PrivateKey.from_bytes(b"\x07" * 32)


def test_a_wallet_makes_the_same_signature_and_knows_ours() -> None:
    text = "farlane: größer"
    ours = AccountSigner(KEY).sign_text(text)
    theirs = Account.sign_message(encode_defunct(text=text), KEY.to_bytes())
    assert ours == bytes(theirs.signature)
    assert Account.recover_message(encode_defunct(text=text), signature=ours) == KEY.address
    assert recover_text(text, bytes(theirs.signature)) == KEY.address


def test_a_version_is_signed_by_its_account_and_by_no_other() -> None:
    manifest = small_manifest(publisher=KEY.address)
    cid = manifest_cid(encode(manifest))
    signature = sign(manifest, cid, AccountSigner(KEY))
    assert check_signature(manifest, cid, signature, recover_text) == KEY.address
    eve = AccountSigner(PrivateKey.from_bytes(b"\x08" * 32))
    forged = type(signature)(KEY.address, eve.sign_text(statement(manifest.name, cid)))
    with pytest.raises(InvalidSignature, match="signed it"):
        check_signature(manifest, cid, forged, recover_text)
    with pytest.raises(InvalidSignature):
        check_signature(manifest, cid, type(signature)(KEY.address, b"\0" * 65), recover_text)
