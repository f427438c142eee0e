"""`farlane network`: a network is deployed, a hub listed, and the listing shown with what was checked."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from farlane.cli.main import main
from farlane.kit.cid import cid_of
from farlane.kit.keys import server_certificate
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.deploy import deployment_from_json
from farlane.ledger.keystore import KeyRing
from farlane.ledger.network_registry import registry_domain
from farlane.ledger.passwords import Password
from farlane.ledger.typed_data import digest

pytestmark = pytest.mark.real

FAUCET = bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
PASSWORD = b"a sentence for tests"


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    KeyRing(tmp_path / "keys").add("boss", PrivateKey.from_bytes(FAUCET), Password(PASSWORD, random=True))
    password = tmp_path / "password"
    password.write_bytes(PASSWORD)
    password.chmod(0o600)
    monkeypatch.setenv("FARLANE_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("FARLANE_KEY_PASSWORD_FILE", str(password))
    return "boss"


def test_a_hub_stands_on_the_chain(
    tmp_path: Path, key: str, anvil_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "net.json")
    chain = ["--rpc", anvil_url]
    assert main(["network", "deploy", *chain, "--key", key, "-o", file]) == 0
    assert main(["network", "deploy", *chain, "--key", key, "-o", file]) != 0  # never overwritten
    certificate = server_certificate(tmp_path / "net" / "hub" / "tls", ["127.0.0.1"])
    with socket.socket() as nobody:  # bound, not listening: it refuses whoever dials
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"https://127.0.0.1:{nobody.getsockname()[1]}"
        _list_and_retire(tmp_path, key, chain, file, endpoint, certificate.spki_sha256, capsys)


def _list_and_retire(
    tmp_path: Path, key: str, chain: list[str], file: str, endpoint: str, pin: bytes,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    hub = [file, *chain, "--key", key, "--endpoint", endpoint, "--dir", str(tmp_path / "net")]
    assert main(["network", "register-hub", *hub]) == 0
    assert main(["network", "register-hub", *hub]) == 0  # a second time changes nothing
    capsys.readouterr()
    assert main(["network", "show", file, *chain, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["kind"], row["endpoint"]) == ("hub", endpoint)
    assert row["tls_key_hash"] == pin.hex()
    assert "cannot reach" in row["checked"]
    assert main(["network", "retire", file, *chain, "--key", key, row["key"]]) == 0
    capsys.readouterr()
    assert main(["network", "show", file, *chain, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert main(["network", "register-hub", *hub]) != 0
    assert "retired" in capsys.readouterr().err


def test_an_operator_lists_a_node_whose_key_is_elsewhere(
    tmp_path: Path, key: str, anvil_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, node = str(tmp_path / "net.json"), PrivateKey.generate()
    chain = ["--rpc", anvil_url, "--key", key]
    assert main(["network", "deploy", *chain, "-o", file]) == 0
    domain = registry_domain(deployment_from_json(Path(file).read_bytes()))
    boss = PrivateKey.from_bytes(FAUCET).address
    word = node.sign(digest(domain, "KeyOfOperator", (boss, node.address))).hex()
    where = ["--endpoint", "https://node:7718", "--tls-key-hash", "ab" * 32]
    about = cid_of(b"rack 7, tier III")
    far = ["network", "register-node", file, *chain, "--node", node.address]
    capsys.readouterr()
    assert main([*far, *where]) != 0
    assert "--node-signature" in capsys.readouterr().err
    assert main([*far, "--node-signature", word, "--endpoint", "https://node:7718"]) != 0
    assert "go together" in capsys.readouterr().err
    assert main([*far, "--node-signature", "11" * 65, *where]) != 0
    capsys.readouterr()
    for more, says in (["--descriptor", about], about), ([], about), (["--descriptor", "none"], ""):
        assert main([*far, "--node-signature", word, *where, *more, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {
            "key": node.address, "operator": boss, "endpoint": "https://node:7718",
        }  # fmt: skip
        assert main(["network", "show", file, "--rpc", anvil_url, "--no-dial", "--json"]) == 0
        assert [row["descriptor"] for row in json.loads(capsys.readouterr().out)] == [says]
    assert main([*far, "--node-signature", word, *where, "--descriptor", "Qm" + "a" * 44]) == 1


def test_money_and_gas_for_trying_out(
    tmp_path: Path, key: str, anvil_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file, other = str(tmp_path / "net.json"), PrivateKey.generate().address
    assert main(["network", "deploy", "--rpc", anvil_url, "--key", key, "-o", file]) == 0
    common = [file, "--rpc", anvil_url, "--key", key, other]
    assert main(["network", "mint", *common, "12.5"]) == 0
    assert "12.5 credits" in capsys.readouterr().out
    assert main(["network", "gas", *common, "0.5"]) == 0
    assert main(["network", "gas", *common, "nan"]) != 0


def test_a_forged_network_file_is_refused(
    tmp_path: Path, key: str, anvil_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "net.json"
    assert main(["network", "deploy", "--rpc", anvil_url, "--key", key, "-o", str(file)]) == 0
    document = json.loads(file.read_text())
    document["network_registry"] = document["token"]
    file.write_text(json.dumps(document))
    assert main(["network", "show", str(file), "--rpc", anvil_url]) != 0
    assert "forged" in capsys.readouterr().err
