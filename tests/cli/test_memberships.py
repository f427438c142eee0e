"""Tokens of further organisations: made on the hub's machine, known to the hub at once, shown once."""

from __future__ import annotations

from pathlib import Path

import pytest

from farlane.app.layout import Layout
from farlane.app.memberships import new_token
from farlane.app.network_file import NetworkFile, save
from farlane.errors import InvalidSetting
from farlane.hub.credentials import Credentials
from farlane.kit.files import private_directory
from farlane.wire.tokens import parse_token, secret_digest


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout(private_directory(tmp_path / "net"))
    private_directory(found.hub)
    save(found, NetworkFile("works", "127.0.0.1", 7717, ""))
    return found


def test_a_running_hub_knows_a_new_token_at_once(layout: Layout) -> None:
    hub = Credentials(layout.credentials)
    hub.add("first" * 8, "client", "works", "works/owner")
    made = new_token(layout, "client", "lab")
    who = hub.lookup(secret_digest(made.secret))
    assert who is not None
    assert (who.role, who.organisation, who.publisher) == ("client", "lab", "lab/member")
    assert hub.lookup(secret_digest("first" * 8)) is not None
    assert made.secret not in layout.credentials.read_text()
    assert parse_token(made.text()).organisation == "lab"


def test_tokens_of_one_network_pin_one_key(layout: Layout) -> None:
    assert new_token(layout, "client", "lab").spki_sha256 == new_token(layout, "node", "lab").spki_sha256


def test_nobody_takes_anothers_name(layout: Layout) -> None:
    with pytest.raises(InvalidSetting, match="lab/NAME"):
        new_token(layout, "client", "lab", "works/owner")
    with pytest.raises(InvalidSetting, match="publisher"):
        new_token(layout, "node", "lab", "lab/ada")
