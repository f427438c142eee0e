"""Tokens: every one reads back, every slip of the finger is noticed."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from farlane.errors import InvalidToken
from farlane.kit.keys import random_secret
from farlane.wire.tokens import Token, parse_token, secret_digest

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=25)
SECRETS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=16, max_size=200)
TOKENS = st.builds(
    Token,
    st.sampled_from(["client", "node"]),
    NAMES.filter(bool),
    NAMES,
    st.binary(min_size=32, max_size=32),
    SECRETS,
)
TOKEN = Token("client", "lab", "anna", bytes(range(32)), "s3cret-" + "x" * 40)


@settings(deadline=None)
@given(TOKENS)
def test_a_token_reads_back(token: Token) -> None:
    assert parse_token(token.text()) == token


@settings(deadline=None)
@given(TOKENS, st.data())
def test_a_wrong_character_is_noticed(token: Token, data: st.DataObject) -> None:
    text = token.text()
    at = data.draw(st.integers(0, len(text) - 1))
    typed = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz234567.0189-"))
    assume(typed != text[at])
    # The last character may hold padding bits that say nothing; all others count.
    assume(at < len(text) - 1)
    with pytest.raises(InvalidToken):
        parse_token(text[:at] + typed + text[at + 1 :])


def test_every_token_that_was_cut_off_is_noticed() -> None:
    text = TOKEN.text()
    for kept in range(len(text)):
        with pytest.raises(InvalidToken):
            parse_token(text[:kept])


def test_a_token_survives_copying() -> None:
    text = TOKEN.text()
    wrapped = f"  {text[:80].upper()}\n   {text[80:]}\n"
    assert parse_token(wrapped) == TOKEN


def test_a_token_is_one_word_for_a_shell() -> None:
    assert set(TOKEN.text()) <= set("abcdefghijklmnopqrstuvwxyz234567fl1.")
    assert Token("node", "lab", "", bytes(32), random_secret()).text().startswith("fl1.")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a token: a token is one line that begins with 'fl1.'"),
        ("hello", "not a token"),
        ("https://127.0.0.1:7420", "not a token"),
        ("fl2.abcdefgh", "not a token"),
        ("fl1." + "a" * 5000, "not a token"),
        ("fl1.", "checksum does not match"),
        ("fl1.aaaaaaaaaaaaaaaa", "checksum does not match: it was mistyped or cut off"),
        ("fl1.abc!", "wrong character or was cut off"),
        ("fl1.äöü", "wrong character"),
        ("fl1.\udcff", "wrong character"),
    ],
)
def test_what_is_no_token_is_told_what_one_looks_like(text: str, said: str) -> None:
    with pytest.raises(InvalidToken, match=said) as caught:
        parse_token(text)
    assert "begins with 'fl1.'" in caught.value.message


def test_a_newer_kind_of_token_is_not_called_a_typing_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import base64

    body = bytes([9]) + bytes(32) + b"\x01a\x00\x10" + b"s" * 16
    packed = body + hashlib.sha256(b"fl1." + body).digest()[:4]
    text = "fl1." + base64.b32encode(packed).decode().rstrip("=")
    with pytest.raises(InvalidToken, match="may come from a newer version"):
        parse_token(text)


@pytest.mark.parametrize(
    "parts",
    [
        ("admin", "lab", "anna", bytes(32), "s" * 40),
        ("client", "", "anna", bytes(32), "s" * 40),
        ("client", "o" * 101, "anna", bytes(32), "s" * 40),
        ("client", "lab", "ä" * 51, bytes(32), "s" * 40),
        ("client", "\ud800", "anna", bytes(32), "s" * 40),
        ("client", "lab", "anna", bytes(31), "s" * 40),
        ("client", "lab", "anna", bytes(32), "short"),
        ("client", "lab", "anna", bytes(32), "s" * 201),
        ("client", "lab", "anna", bytes(32), "with space" + "s" * 20),
        ("client", "lab", "anna", bytes(32), "new\nline" + "s" * 20),
        ("client", "lab", "anna", bytes(32), "ümlaut" + "s" * 20),
    ],
)
def test_a_token_cannot_be_made_of_bad_parts(parts: tuple[str, str, str, bytes, str]) -> None:
    with pytest.raises(InvalidToken):
        Token(*parts)  # type: ignore[arg-type]


def test_the_secret_shows_in_metadata_and_nowhere_else() -> None:
    assert TOKEN.metadata() == (("authorization", f"Bearer {TOKEN.secret}"),)
    assert TOKEN.secret not in repr(TOKEN)
    assert secret_digest("abc") == hashlib.sha256(b"abc").digest()
    assert secret_digest("\udcff") != secret_digest("\udcfe")
