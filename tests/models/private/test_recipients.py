"""Recipients: texts that cannot be mistyped, and keys that nobody else reads."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from farlane.errors import Corrupted, InvalidInput, PermissionRefused
from farlane.models.private.recipients import (
    KEY_FILE,
    new_recipient_key,
    parse_recipient,
    recipient_key,
    recipient_keys,
    renewed_recipient_key,
)


def test_a_text_leads_back_to_its_key() -> None:
    recipient = new_recipient_key().recipient
    assert parse_recipient(recipient.text) == recipient
    assert recipient.text.startswith("rcpt-")
    assert len(recipient.text) == 63


@pytest.mark.parametrize("mistake", ["swapped", "cut", "longer", "empty", "other", "upper"])
def test_a_mistyped_text_is_refused(mistake: str) -> None:
    text = new_recipient_key().recipient.text
    place = next(at for at in range(10, 60) if text[at] != text[at + 1])
    wrong = {
        "swapped": text[:place] + text[place + 1] + text[place] + text[place + 2 :],
        "cut": text[:-1],
        "longer": text + "a",
        "empty": "",
        "other": "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
        "upper": text.upper(),
    }[mistake]
    with pytest.raises(InvalidInput, match="is no recipient"):
        parse_recipient(wrong)


def test_a_key_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    first = recipient_key(tmp_path / "keys")
    assert recipient_key(tmp_path / "keys").recipient == first.recipient
    assert stat.S_IMODE((tmp_path / "keys" / KEY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert "X25519PrivateKey" not in repr(first)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    recipient_key(tmp_path / "keys")
    (tmp_path / "keys" / KEY_FILE).chmod(0o644)
    with pytest.raises(PermissionRefused, match="chmod 600"):
        recipient_key(tmp_path / "keys")


def test_a_damaged_key_is_never_replaced(tmp_path: Path) -> None:
    recipient_key(tmp_path / "keys")
    (tmp_path / "keys" / KEY_FILE).write_bytes(b"short")
    with pytest.raises(Corrupted, match="has 5 bytes, an X25519 key has 32"):
        recipient_key(tmp_path / "keys")
    assert (tmp_path / "keys" / KEY_FILE).read_bytes() == b"short"


def test_a_renewed_key_goes_first_and_the_old_one_still_reads(tmp_path: Path) -> None:
    first, second = renewed_recipient_key(tmp_path), renewed_recipient_key(tmp_path)
    assert first.recipient != second.recipient
    assert [one.recipient for one in recipient_keys(tmp_path)] == [second.recipient, first.recipient]
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
