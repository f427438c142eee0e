"""`farlane key`: keys are made, listed, moved, rotated and lent to nodes, and no secret is ever shown."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from farlane.cli.main import main
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.delegations import delegation_from_json, verify_delegation
from farlane.ledger.deploy import Deployment, deployment_to_json
from farlane.ledger.keystore import KeyRing
from farlane.ledger.passwords import Password

CONTRACT = PrivateKey.from_bytes(b"\1" * 32).address
NODE = PrivateKey.from_bytes(b"\2" * 32).address
NETWORK = Deployment("ab" * 16, 31337, CONTRACT, CONTRACT, CONTRACT, CONTRACT, CONTRACT, 10**9, 0)
RAW = PrivateKey.from_bytes(b"\x33" * 32)
QUICK = Password(b"ab" * 32, random=True)
Run = Callable[..., Any]


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeyRing:
    """A ring with the key `cold`, and a file with its password named in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FARLANE_KEYS", str(tmp_path / "keys"))
    password = tmp_path / "password"
    password.write_bytes(QUICK.secret + b"\n")
    password.chmod(0o600)
    monkeypatch.setenv("FARLANE_KEY_PASSWORD_FILE", str(password))
    (tmp_path / "network.json").write_bytes(deployment_to_json(NETWORK))
    found = KeyRing(tmp_path / "keys")
    found.create("cold", QUICK)
    return found


@pytest.fixture
def typed(ring: KeyRing, capsys: pytest.CaptureFixture[str]) -> Run:
    """Type `farlane key ...` and return the JSON it prints, or what it says on stderr if it must fail."""

    def run(*arguments: str, fails: bool = False) -> Any:
        code = main(["key", *arguments, "--json"])
        said = capsys.readouterr()
        assert code == (1 if fails else 0), said.err
        return said.err if fails else json.loads(said.out)

    return run


def test_a_key_is_made_listed_and_shown(
    typed: Run, ring: KeyRing, capsys: pytest.CaptureFixture[str]
) -> None:
    made = typed("new", "hot")
    assert ring.open("hot", QUICK).address == made["address"]
    assert [one["name"] for one in typed("ls")] == ["cold", "hot"]
    assert typed("show", made["address"])["name"] == "hot"
    assert main(["key", "show", "hot"]) == 0
    assert capsys.readouterr().out == made["address"] + "\n"


def test_a_name_that_is_taken_is_refused_before_a_password_is_asked_for(
    typed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FARLANE_KEY_PASSWORD_FILE")
    assert "never overwritten" in typed("new", "cold", fails=True)


def test_the_table_names_what_is_wrong_with_a_file(ring: KeyRing, capsys: pytest.CaptureFixture[str]) -> None:
    (ring.directory / "cold.json").chmod(0o644)
    assert main(["key", "ls"]) == 0
    assert "open to other users" in capsys.readouterr().out


def test_an_empty_ring_says_how_to_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FARLANE_KEYS", str(tmp_path / "none"))
    assert main(["key", "ls"]) == 0
    assert "farlane key new NAME" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_key_moves_to_a_file_and_back(typed: Run, ring: KeyRing, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("another password\n")
    other.chmod(0o600)
    out = typed("export", "cold", "moved.json", "--file-password-file", "other")
    assert out["file"] == str(tmp_path / "moved.json")
    back = typed("import", "copy", "moved.json", "--file-password-file", "other")
    assert back["address"] == out["address"] == ring.open("copy", QUICK).address
    assert "never overwritten" in typed(
        "export", "cold", "moved.json", "--file-password-file", "other", fails=True
    )
    wrong = typed("import", "twice", "moved.json", "--file-password-file", "password", fails=True)
    assert "the password is wrong for moved.json" in wrong


def test_a_rotated_key_is_kept(typed: Run, ring: KeyRing) -> None:
    old = ring.find("cold").address
    rotated = typed("rotate", "cold")
    assert rotated["retired"]["address"] == old
    assert rotated["address"] == ring.open("cold", QUICK).address != old
    assert ring.open(rotated["retired"]["name"], QUICK).address == old


def test_a_delegation_counts_until_it_expires(typed: Run, ring: KeyRing) -> None:
    typed("delegate", "cold", NODE, "--network", "network.json", "--expires", "90d", "-o", "lent.json")
    signed = delegation_from_json(Path("lent.json").read_bytes())
    assert signed.delegation.provider == ring.find("cold").address
    verify_delegation(signed, NETWORK.domain, NODE, signed.delegation.expires - 90 * 86400 + 60)
    typed(
        "delegate", "cold", NODE, "--network", "network.json", "--expires", "2100-01-01T00:00:00Z", "-o", "b"
    )
    assert delegation_from_json(Path("b").read_bytes()).delegation.expires == 4102444800


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"--expires": "2001-01-01T00:00:00Z"}, "has passed"),
        ({"--expires": "2100-01-01"}, "has no time zone"),
        ({"--expires": "soon"}, "is not a duration"),
        ({"--expires": "90"}, "has no unit; write it like 90d"),
        ({"-o": "password"}, "never overwritten"),
        ({"-o": "no/file"}, "there is no directory no"),
        ({"--network": "password"}, "not a network file"),
    ],
)
def test_a_delegation_that_cannot_be_is_refused(typed: Run, changes: dict[str, str], said: str) -> None:
    options = {"--network": "network.json", "--expires": "1h", "-o": "lent.json"} | changes
    words = [word for pair in options.items() for word in pair]
    assert said in typed("delegate", "cold", NODE, *words, fails=True)
    assert not Path("lent.json").exists()


def test_a_mistyped_node_address_is_refused(typed: Run) -> None:
    wrong = NODE.swapcase().replace("0X", "0x")
    words = ("--network", "network.json", "--expires", "1h", "-o", "lent.json")
    assert "wrong digit" in typed("delegate", "cold", wrong, *words, fails=True)


def test_the_key_of_the_environment_is_taken_only_when_asked_for(
    typed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (RAW.address, NODE, "--network", "network.json", "--expires", "1h", "-o", "lent.json")
    flag = "--unsafe-key-from-environment"
    assert "it is not set" in typed("delegate", *words, flag, fails=True)
    monkeypatch.setenv("FARLANE_UNSAFE_KEY", RAW.to_bytes().hex())
    assert "there is no key of" in typed("delegate", *words, fails=True)
    typed("delegate", *words, flag)
    assert delegation_from_json(Path("lent.json").read_bytes()).delegation.provider == RAW.address
    assert "it is not set" in typed("delegate", *words[:-1], "again.json", flag, fails=True)


@pytest.mark.parametrize("text", ["33" * 31, "0x" + "33" * 33, "x" * 64, "00" * 32, "34" * 32])
def test_a_wrong_key_of_the_environment_is_refused_and_not_shown(
    typed: Run, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("FARLANE_UNSAFE_KEY", text)
    words = (RAW.address, NODE, "--network", "network.json", "--expires", "1h", "-o", "lent.json")
    assert text not in typed("delegate", *words, "--unsafe-key-from-environment", fails=True)


def test_no_option_takes_a_password_or_key() -> None:
    from farlane.cli.keys import key

    options = {name for command in key.commands.values() for one in command.params for name in one.opts}
    secret = {name for name in options if "password" in name or "key" in name}
    assert secret == {"--password-file", "--file-password-file", "--unsafe-key-from-environment"}


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["key", "--help"], ["key", "new", "--help"], ["key", "ls"], ["key", "show", "cold"]],
)
def test_help_and_lists_load_no_ethereum_library(ring: KeyRing, arguments: list[str]) -> None:
    code = (
        "import sys\nfrom farlane.cli.main import main\n"
        f"assert main({arguments}) == 0\n"
        "print({name.split('.')[0] for name in sys.modules} & {'eth_keyfile', 'eth_keys', 'eth_abi', 'eth_utils', "
        "'py_ecc', 'eth', 'web3', 'aiohttp'}, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.strip() == "set()"


def test_importing_farlane_loads_no_ethereum_library() -> None:
    code = "import sys, farlane; print([name for name in sys.modules if name[:3] in ('eth', 'py_', 'coi')])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
