"""Tokens of further organisations: made on the hub's machine, known to the hub at once, shown once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from farlane.app.layout import Layout
from farlane.app.memberships import known_tokens, new_token, withdraw_token
from farlane.app.network_file import NetworkFile, load, save
from farlane.cli.main import main
from farlane.errors import Conflict, InvalidSetting, NotFound
from farlane.hub.credentials import Credentials
from farlane.kit.files import private_directory
from farlane.sdk.context import Endpoint, read_client_file, write_client_file
from farlane.wire.tokens import Role, Token, parse_token, secret_digest

ROLES: Final[tuple[Role, ...]] = ("node", "client")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout(private_directory(tmp_path / "net"))
    private_directory(found.hub)
    join, client = (
        Token(role, "works", "works/owner" * (role == "client"), bytes(32), role * 8) for role in ROLES
    )
    save(found, NetworkFile("works", "127.0.0.1", 7717, join.text()))
    write_client_file(found.root, Endpoint("https://127.0.0.1:7717", client.text()))
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


@pytest.mark.parametrize("name", ["", " lab", "lab,works", "lab/ada", "la\nb"])
@pytest.mark.parametrize("role", ROLES)
def test_a_name_that_lists_cannot_carry_is_refused(layout: Layout, role: Role, name: str) -> None:
    with pytest.raises(InvalidSetting, match="cannot name an organisation"):
        new_token(layout, role, name)
    assert not known_tokens(layout)


@pytest.mark.parametrize("options", [[], ["--join"], ["--admin"]])
def test_an_empty_name_does_not_show_the_network_s_own_token(
    layout: Layout, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token", "--dir", str(layout.root), "--organisation", "", *options]) == 1
    shown = capsys.readouterr()
    assert (shown.out, "cannot name an organisation" in shown.err) == ("", True)


def test_a_withdrawn_token_is_unknown_to_a_running_hub(layout: Layout) -> None:
    hub = Credentials(layout.credentials)
    kept, gone = new_token(layout, "client", "lab", "lab/ada"), new_token(layout, "client", "lab", admin=True)
    digest = secret_digest(gone.secret)
    who = hub.lookup(digest)
    assert who is not None
    assert who.admin
    assert withdraw_token(layout, digest.hex()[:8].upper()).publisher == "lab/member"
    assert hub.lookup(digest) is None
    assert hub.lookup(secret_digest(kept.secret)) is not None
    (left,) = [one for one in known_tokens(layout) if one.organisation == "lab"]
    assert (left.publisher, left.admin) == ("lab/ada", False)
    with pytest.raises(NotFound, match="farlane token ls"):
        withdraw_token(layout, digest.hex()[:8])


def test_a_name_that_fits_several_tokens_withdraws_none(layout: Layout) -> None:
    for number in range(17):  # two digests begin alike at the latest now
        new_token(layout, "client", "lab", f"lab/{number}")
    names = [one.name for one in known_tokens(layout)]
    twice = next(name[0] for name in names if sum(other[0] == name[0] for other in names) > 1)
    with pytest.raises(NotFound, match="tokens by the name"):
        withdraw_token(layout, twice)
    with pytest.raises(NotFound):
        withdraw_token(layout, "")
    assert len(known_tokens(layout)) == len(names)


def test_the_networks_own_tokens_stay(layout: Layout) -> None:
    credentials, known = Credentials(layout.credentials), load(layout)
    join, client = parse_token(known.join_token), parse_token(read_client_file(layout.root).token)
    for own in (join, client):
        credentials.add(own.secret, own.role, own.organisation, own.publisher)
        with pytest.raises(Conflict, match="network's own"):
            withdraw_token(layout, secret_digest(own.secret).hex()[:12])


def test_clients_from_before_there_were_administrators_stay_what_they_were(layout: Layout) -> None:
    rows = [
        {"digest": f"{number:064x}", "role": role, "organisation": "works", "publisher": publisher}
        for number, (role, publisher) in enumerate([("client", "works/owner"), ("node", "")])
    ]
    layout.credentials.write_text(json.dumps({"version": 1, "secrets": rows}))
    assert [one.admin for one in known_tokens(layout)] == [True, False]


def test_nodes_administer_nothing(layout: Layout) -> None:
    with pytest.raises(InvalidSetting, match="--admin"):
        new_token(layout, "node", "lab", admin=True)


def test_nobody_takes_anothers_name(layout: Layout) -> None:
    with pytest.raises(InvalidSetting, match="lab/NAME"):
        new_token(layout, "client", "lab", "works/owner")
    with pytest.raises(InvalidSetting, match="publisher"):
        new_token(layout, "node", "lab", "lab/ada")
