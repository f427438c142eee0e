"""Bonds as operators type them: put up, asked back, withdrawn and slashed, and what discovery makes of them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from farlane.app.admitting import find_hub
from farlane.cli.chain_options import network_chain
from farlane.cli.main import main
from farlane.errors import PermissionRefused
from farlane.ledger import abi
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.deploy import deployment_from_json
from farlane.ledger.keystore import KeyRing
from farlane.ledger.passwords import Password
from farlane.ledger.rpc import RpcClient

pytestmark = pytest.mark.real

FAUCET = PrivateKey.from_bytes(
    bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
)
PASSWORD = b"a sentence for tests"
CREDIT = 10**9
Typed = Callable[..., Any]


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, PrivateKey]:
    found = {"boss": FAUCET, "judge": PrivateKey.generate()}
    for name, key in found.items():
        KeyRing(tmp_path / "keys").add(name, key, Password(PASSWORD, random=True))
    (tmp_path / "password").write_bytes(PASSWORD)
    (tmp_path / "password").chmod(0o600)
    monkeypatch.setenv("FARLANE_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("FARLANE_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("FARLANE_KEY_PASSWORD_FILE", str(tmp_path / "password"))
    return found


@pytest.fixture
def file(tmp_path: Path, keys: dict[str, PrivateKey], anvil_url: str) -> Path:
    """A network whose bonds a judge may slash, with ten credits in the boss's wallet."""
    file, chain = tmp_path / "net.json", ["--rpc", anvil_url, "--key", "boss"]
    slasher = ["--slasher", keys["judge"].address, "--unbond-delay", "1h"]
    assert main(["network", "deploy", *chain, *slasher, "-o", str(file)]) == 0
    assert main(["network", "mint", str(file), *chain, FAUCET.address, "10"]) == 0
    assert main(["network", "gas", str(file), *chain, keys["judge"].address, "1"]) == 0
    return file


@pytest.fixture
def typed(file: Path, anvil_url: str, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Type a `farlane network` command; returns its JSON, or what it said where it fails."""

    def run(name: str, *arguments: str, key: str = "boss", code: int = 0) -> Any:
        capsys.readouterr()
        signing = [] if name == "show" else ["--key", key]
        assert main(["network", name, str(file), "--rpc", anvil_url, *signing, *arguments, "--json"]) == code
        said = capsys.readouterr()
        return said.err if code else json.loads(said.out)

    return run


def test_a_bond_is_put_up_slashed_and_taken_out(
    typed: Typed, keys: dict[str, PrivateKey], anvil_url: str, tmp_path: Path, file: Path
) -> None:
    assert "10 credits; 11 were asked for" in typed("bond", "11", code=1)
    assert typed("bond", "5") == {
        "operator": FAUCET.address, "bond": 5 * CREDIT, "bond_leaving": 0, "bond_leaves_at": 0,
    }  # fmt: skip
    assert "nothing of the bond is leaving" in typed("withdraw-bond", code=1)
    assert "5 credits of" in typed("unbond", "6", code=1)
    leaving = typed("unbond", "2")
    assert (leaving["bond"], leaving["bond_leaving"]) == (3 * CREDIT, 2 * CREDIT)
    assert "can be withdrawn from" in typed("withdraw-bond", code=1)
    why, victim = tmp_path / "why.txt", PrivateKey.generate().address
    why.write_text("it took the money and ran")
    slashed = ("slash", FAUCET.address, "1", "--victim", victim, "--evidence", str(why))
    assert "NotSlasher" in typed(*slashed, code=1)
    assert typed(*slashed, key="judge")["bond_leaving"] == CREDIT, "what is leaving goes first"
    digest = hashlib.sha256(why.read_bytes()).digest()
    assert digest.hex() in asyncio.run(_slashed(anvil_url, file))
    asyncio.run(_pass_an_hour(anvil_url))
    assert typed("withdraw-bond", "--to", victim)["bond_leaving"] == 0
    assert main(["ledger", "account", victim, "--rpc", anvil_url, "--network", str(file)]) == 0


def test_a_bond_that_was_interrupted_is_not_put_up_twice(typed: Typed, file: Path, anvil_url: str) -> None:
    asyncio.run(_interrupted_bond(file, anvil_url))
    assert typed("bond", "1")["bond"] == CREDIT
    assert typed("bond", "1")["bond"] == 2 * CREDIT


async def _interrupted_bond(file: Path, url: str) -> None:
    """Begin to put up a credit, and die while it is on its way."""
    async with network_chain(file, url, None, FAUCET) as chain:
        approval = abi.encode_call("CreditToken", "approve", (chain.deployment.network_registry, 10 * CREDIT))
        await chain.sender.send(FAUCET, chain.deployment.token, approval)
        await chain.rpc.call("evm_setAutomine", False)
        try:
            moving = asyncio.create_task(chain.registry().bond(FAUCET, FAUCET.address, CREDIT))
            async with asyncio.timeout(20):
                while not await _pending(chain.rpc):
                    await asyncio.sleep(0.01)
            moving.cancel()
            await asyncio.wait([moving])
        finally:
            await chain.rpc.call("evm_setAutomine", True)
        await chain.rpc.call("evm_mine")


async def _pending(rpc: RpcClient) -> bool:
    account = FAUCET.address
    counts = [await rpc.quantity("eth_getTransactionCount", account, at) for at in ("pending", "latest")]
    return counts[0] > counts[1]


def test_who_has_too_little_bonded_is_not_even_dialled(
    typed: Typed, file: Path, anvil_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--endpoint", "https://127.0.0.1:9", "--tls-key-hash", "ab" * 32]
    typed("register-node", *where)
    typed("bond", "2")
    nodes = ["direct", "nodes", "--network", str(file), "--rpc", anvil_url, "--json"]
    for least, why in (("2.5", "2000000000 units bonded; 2500000000 are asked for"), ("2", "cannot reach")):
        capsys.readouterr()
        assert main([*nodes, "--min-bond", least]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["nodes"] == []
        assert why in found["silent"][0]["why"]
    (row,) = typed("show", "--no-dial")
    assert row["bond"] == 2 * CREDIT
    assert main(["network", "show", str(file), "--rpc", anvil_url, "--no-dial"]) == 0
    assert " 2  not dialled" in capsys.readouterr().out
    assert main(["join", "https://hub:1", "--min-bond", "1"]) == 1
    assert "give --network too" in capsys.readouterr().err


def test_a_node_joins_no_hub_with_too_little_bonded(typed: Typed, file: Path, anvil_url: str) -> None:
    where = ["--endpoint", "https://127.0.0.1:9", "--tls-key-hash", "ab" * 32]
    typed("register-hub", *where)
    deployment = deployment_from_json(file.read_bytes())
    with pytest.raises(PermissionRefused, match="0 units bonded; 1 are asked for"):
        asyncio.run(find_hub(anvil_url, deployment, FAUCET, 1))


async def _slashed(url: str, file: Path) -> str:
    async with RpcClient(url) as rpc:
        registry = deployment_from_json(file.read_bytes()).network_registry
        logs = await rpc.call("eth_getLogs", {"address": registry, "fromBlock": "0x0"})
        return "".join(log["data"] for log in logs)


async def _pass_an_hour(url: str) -> None:
    async with RpcClient(url) as rpc:
        await rpc.call("evm_increaseTime", 3600)
        await rpc.call("evm_mine")
