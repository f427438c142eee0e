"""Wrapped keys: they open for their recipient, in their version, and for nobody else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farlane.errors import Corrupted, InvalidInput, PermissionRefused
from farlane.models.manifest.values import Encryption
from farlane.models.private.recipients import Recipient, new_recipient_key
from farlane.models.private.wrapping import new_version_key, recipients_of, unwrap, wrapped_for

ADA, BOB, EVE = (new_recipient_key() for _ in range(3))


def test_each_recipient_opens_the_key_and_nobody_else() -> None:
    key = new_version_key()
    encryption = wrapped_for(key, [ADA.recipient, BOB.recipient, ADA.recipient])
    assert unwrap(encryption, ADA) == unwrap(encryption, BOB) == key
    assert set(recipients_of(encryption)) == {ADA.recipient, BOB.recipient}
    with pytest.raises(PermissionRefused, match=f"share it with {EVE.recipient.text}"):
        unwrap(encryption, EVE)
    assert key.key not in b"".join(encryption.recipients)
    assert key.key.hex() not in repr(key)


def test_keys_and_wrappings_never_repeat() -> None:
    assert new_version_key() != new_version_key()
    key = new_version_key()
    assert wrapped_for(key, [ADA.recipient]) != wrapped_for(key, [ADA.recipient])


@pytest.mark.parametrize("place", [0, 15, 48, 60, 100, 127])
def test_a_flipped_bit_does_not_open(place: int) -> None:
    encryption = wrapped_for(new_version_key(), [ADA.recipient])
    entry = bytearray(encryption.recipients[0])
    entry[place] ^= 1
    with pytest.raises(Corrupted, match="does not open"):
        unwrap(replace(encryption, recipients=(bytes(entry),)), ADA)


def test_a_key_wrapped_for_another_version_does_not_open_in_this() -> None:
    one, other = (wrapped_for(new_version_key(), [ADA.recipient]).recipients[0] for _ in range(2))
    moved = other[:16] + one[16:]
    with pytest.raises(Corrupted, match="does not open"):
        unwrap(Encryption(algorithm="aes-256-gcm/hpke-x25519", recipients=(moved,)), ADA)


def test_an_entry_renamed_to_another_recipient_does_not_open() -> None:
    entry = wrapped_for(new_version_key(), [ADA.recipient]).recipients[0]
    renamed = entry[:16] + EVE.recipient.public_key + entry[48:]
    with pytest.raises(Corrupted, match="does not open"):
        unwrap(Encryption(algorithm="aes-256-gcm/hpke-x25519", recipients=(renamed,)), EVE)


def test_nobody_impossible_and_unknown_are_refused() -> None:
    with pytest.raises(InvalidInput, match="at least one recipient"):
        wrapped_for(new_version_key(), [])
    with pytest.raises(InvalidInput, match="no X25519 key"):
        wrapped_for(new_version_key(), [Recipient(bytes(32))])
    with pytest.raises(Corrupted, match="encrypted by 'rot13'"):
        unwrap(Encryption(algorithm="rot13", recipients=()), ADA)
    with pytest.raises(Corrupted, match="has 5 bytes, expected 128"):
        unwrap(Encryption(algorithm="aes-256-gcm/hpke-x25519", recipients=(b"short",)), ADA)
