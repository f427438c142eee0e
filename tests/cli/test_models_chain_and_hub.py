"""`farlane models push --chain` and `pull --chain` with a real hub and a real chain (anvil)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from farlane.ledger.accounts import PrivateKey
from farlane.ledger.keystore import KeyRing
from farlane.ledger.passwords import Password

pytestmark = pytest.mark.real

FAUCET = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
PASSWORD = b"a sentence for tests"


@pytest.fixture
def ada(network: Any, shell_in: Any, tmp_path: Path) -> Any:
    """Somebody on another machine, with the network's token and a key that has the chain's coin."""
    KeyRing(tmp_path / "keys").add("boss", PrivateKey.from_bytes(FAUCET), Password(PASSWORD, random=True))
    (tmp_path / "password").write_bytes(PASSWORD)
    (tmp_path / "password").chmod(0o600)
    client = json.loads((network.directory / "client.json").read_text())
    return shell_in(
        tmp_path,
        {
            "FARLANE_KEYS": str(tmp_path / "keys"), "FARLANE_KEY_PASSWORD_FILE": str(tmp_path / "password"),
            "FARLANE_URL": client["url"], "FARLANE_TOKEN": client["token"],
        },
    )  # fmt: skip


def test_the_chain_says_which_version_and_the_hub_gives_its_bytes(
    ada: Any, anvil_url: str, tmp_path: Path
) -> None:
    ada("network", "deploy", "--rpc", anvil_url, "--key", "boss", "-o", "net.json")
    chain = ("--chain", "--network", "net.json", "--rpc", anvil_url)
    (tmp_path / "words.txt").write_text("one two three")
    ada("models", "add", "words.txt", "lab/words", "--key", "boss")
    pushed = json.loads(
        ada("models", "push", "lab/words", "--tag", "champion", "--key", "boss", *chain, "--json").stdout
    )
    assert (pushed["chain_version"], pushed["alias_moved_on_chain"]) == (1, True)
    elsewhere = ("--repository", "elsewhere", "--json")
    pulled = json.loads(ada("models", "pull", "lab/words@champion", *chain, *elsewhere).stdout)
    assert pulled["cid"] == pushed["cid"]
    (tmp_path / "words.txt").write_text("four")
    ada("models", "trust", "lab/words", "none")
    ada("models", "add", "words.txt", "lab/words")
    said = ada("models", "push", "lab/words", "--key", "boss", *chain, code=1).stderr
    assert "was signed by nobody" in said
