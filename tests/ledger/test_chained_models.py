"""`farlane models --chain` on a real chain (anvil): names claimed, versions and aliases written and read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from farlane.app.chained_models import alias_entry
from farlane.cli.main import main
from farlane.errors import InvalidInput
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.keystore import KeyRing
from farlane.ledger.passwords import Password

pytestmark = pytest.mark.real

FAUCET = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
BOSS = PrivateKey.from_bytes(FAUCET).address
PASSWORD = b"a sentence for tests"
Type = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    """Type a command of `farlane`; returns its output, or what it complained of."""
    monkeypatch.setenv("FARLANE_DIR", str(tmp_path / "farlane"))

    def typed(*arguments: object, code: int = 0) -> str:
        assert main([*map(str, arguments)]) == code, capsys.readouterr().err
        said = capsys.readouterr()
        return said.out if code == 0 else said.err

    return typed


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anvil_url: str, run: Type) -> tuple[str, ...]:
    """Options that name a new network's chain; boss has its coin, guest a key and nothing else."""
    ring = KeyRing(tmp_path / "keys")
    ring.add("boss", PrivateKey.from_bytes(FAUCET), Password(PASSWORD, random=True))
    ring.add("guest", PrivateKey.generate(), Password(PASSWORD, random=True))
    (tmp_path / "password").write_bytes(PASSWORD)
    (tmp_path / "password").chmod(0o600)
    monkeypatch.setenv("FARLANE_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("FARLANE_KEY_PASSWORD_FILE", str(tmp_path / "password"))
    file = tmp_path / "net.json"
    run("network", "deploy", "--rpc", anvil_url, "--key", "boss", "-o", file)
    return ("--chain", "--network", str(file), "--rpc", anvil_url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "words.txt").write_text("one")
    return tmp_path / "model"


def added(run: Type, folder: Path, words: str, *options: str) -> dict[str, Any]:
    (folder / "words.txt").write_text(words)
    found: dict[str, Any] = json.loads(run("models", "add", folder, "lab/tiny", *options, "--json"))
    return found


def shown(run: Type, reference: str, chain: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("models", "show", reference, *chain, "--json"))
    return found


def test_versions_and_aliases_are_registered_and_pulled_elsewhere(
    run: Type, chain: tuple[str, ...], folder: Path, tmp_path: Path
) -> None:
    one = added(run, folder, "one", "--key", "boss", "--tag", "champion", *chain)
    assert (one["chain_version"], one["new_on_chain"], one["alias_moved_on_chain"]) == (1, True, True)
    two = added(run, folder, "two", "--key", "boss")
    assert shown(run, "lab/tiny", chain)["cid"] == one["cid"]  # the second is not there yet
    run("models", "tag", "lab/tiny@v2", "champion", "--key", "boss", *chain)
    again = json.loads(run("models", "tag", "lab/tiny@v2", "champion", "--key", "boss", *chain, "--json"))
    assert (again["new_on_chain"], again["alias_moved_on_chain"]) == (False, False)
    found = shown(run, "lab/tiny@champion", chain)
    assert (found["cid"], found["version"], found["owner"]) == (two["cid"], 2, BOSS)
    assert shown(run, f"lab/tiny@{one['cid']}", chain)["version"] == 1
    source = tmp_path / "farlane" / "models"
    elsewhere = ("--from", source, "--repository", tmp_path / "elsewhere")
    pulled = json.loads(run("models", "pull", "lab/tiny@champion", *elsewhere, *chain, "--json"))
    assert (pulled["cid"], pulled["publisher"]) == (two["cid"], BOSS)
    assert "no version 3" in run("models", "show", "lab/tiny@v3", *chain, code=1)
    assert "no alias canary" in run("models", "show", "lab/tiny@canary", *chain, code=1)


def test_what_others_signed_goes_on_no_chain_and_comes_from_none(
    run: Type, chain: tuple[str, ...], folder: Path, tmp_path: Path, anvil_url: str
) -> None:
    one = added(run, folder, "one", "--key", "boss", *chain)
    assert one["chain_version"] == 1
    run("models", "trust", "lab/tiny", "none")
    added(run, folder, "two")
    said = run("models", "tag", "lab/tiny@v2", "champion", "--key", "boss", *chain, code=1)
    assert "was signed by nobody" in said
    assert "champion" not in run("models", "ls", "lab/tiny")  # refused before it was moved here
    guest = json.loads(run("key", "show", "guest", "--json"))["address"]
    run("network", "gas", tmp_path / "net.json", "--rpc", anvil_url, "--key", "boss", guest, "1")
    run("models", "trust", "lab/tiny", guest)
    assert "belongs to" in run("models", "add", folder, "lab/tiny", "--key", "guest", *chain, code=1)


def test_a_name_whose_alias_somebody_else_claimed_points_nowhere(
    run: Type, chain: tuple[str, ...], folder: Path, tmp_path: Path, anvil_url: str
) -> None:
    import asyncio

    from farlane.cli.chain_options import network_chain

    one = added(run, folder, "one", "--key", "boss", *chain)
    guest = KeyRing(tmp_path / "keys").open("guest", Password(PASSWORD, random=True))
    run("network", "gas", tmp_path / "net.json", "--rpc", anvil_url, "--key", "boss", guest.address, "1")

    async def squat() -> None:
        async with network_chain(tmp_path / "net.json", anvil_url) as found:
            entry = alias_entry("lab/tiny", "champion")
            await found.models().claim(guest, entry)
            await found.models().publish(guest, entry, 1, bytes(range(32)))

    asyncio.run(squat())
    assert "does not count" in run("models", "show", "lab/tiny@champion", *chain, code=1)
    said = run("models", "tag", f"lab/tiny@{one['cid']}", "champion", "--key", "boss", *chain, code=1)
    assert f"belongs to {guest.address}" in said


def test_a_version_that_its_owner_did_not_sign_is_not_pulled(
    run: Type, chain: tuple[str, ...], folder: Path, tmp_path: Path, anvil_url: str
) -> None:
    import asyncio

    from farlane.cli.chain_options import network_chain
    from farlane.models.cid import parse_cid

    unsigned = added(run, folder, "one")
    boss = PrivateKey.from_bytes(FAUCET)

    async def publish() -> None:
        async with network_chain(tmp_path / "net.json", anvil_url) as found:
            await found.models().claim(boss, "lab/tiny")
            await found.models().publish(boss, "lab/tiny", 1, parse_cid(unsigned["cid"]).digest)
            await found.models().yank(boss, "lab/tiny", 1, "a mistake")

    asyncio.run(publish())
    elsewhere = ("--from", tmp_path / "farlane" / "models", "--repository", tmp_path / "elsewhere")
    said = run("models", "pull", "lab/tiny", *elsewhere, *chain, code=1)
    assert "was signed by nobody" in said
    assert "(yanked)" in said
    assert run("models", "ls", "--repository", tmp_path / "elsewhere", "--json").strip() == "[]"


def test_an_owner_warns_of_a_version_and_whoever_reads_it_is_told(
    run: Type, chain: tuple[str, ...], folder: Path
) -> None:
    added(run, folder, "one", "--key", "boss", "--tag", "champion", *chain)
    yank = (
        "models",
        "yank",
        "lab/tiny@champion",
        *chain[1:],
        "--reason",
        "it repeats what it read",
        "--json",
    )
    assert "belongs to" in run(*yank, "--key", "guest", code=1)
    assert json.loads(run(*yank, "--key", "boss"))["new"] is True
    assert json.loads(run(*yank, "--key", "boss"))["new"] is False
    assert shown(run, "lab/tiny", chain)["yanked"] is True
    assert "1 to 256 bytes" in run(*yank[:-2], "x" * 257, "--key", "boss", code=1)


def test_a_private_version_is_written_on_no_chain(run: Type, chain: tuple[str, ...], folder: Path) -> None:
    added(run, folder, "secret", "--private", "--key", "boss")
    for said in (
        run("models", "tag", "lab/tiny", "champion", "--key", "boss", *chain, code=1),
        run("models", "add", folder, "lab/tiny", "--private", "--key", "boss", *chain, code=1),
    ):
        assert "private" in said
    assert "nobody has claimed" in run("models", "show", "lab/tiny", *chain, code=1)


def test_options_of_a_chain_go_together(run: Type, chain: tuple[str, ...], folder: Path) -> None:
    added(run, folder, "one")
    assert "add --chain" in run("models", "show", "lab/tiny", *chain[1:], code=1)
    assert "--chain needs --network" in run("models", "show", "lab/tiny", "--chain", code=1)
    assert "--chain needs --key" in run("models", "tag", "lab/tiny", "champion", *chain, code=1)


def test_a_name_and_alias_too_long_for_the_registry_are_refused() -> None:
    with pytest.raises(InvalidInput, match="62 letters together"):
        alias_entry("n" * 40, "a" * 23)
    assert len(alias_entry("n" * 40, "a" * 22)) == 64
