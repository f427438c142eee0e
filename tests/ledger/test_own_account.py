"""`farlane ledger deposit` and `withdraw` on a real chain: by transaction, permit, another key; what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from farlane.cli.chain_options import network_chain
from farlane.cli.main import main
from farlane.errors import InvalidInput
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.deploy import Deployment, deployment_from_json
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.keystore import KeyRing
from farlane.ledger.passwords import Password
from farlane.ledger.rpc import RpcClient
from farlane.ledger.token_signatures import permit_nonce, token_separator, valid_until

pytestmark = pytest.mark.real

PASSWORD = b"a sentence for tests"
CREDIT = 10**9


@dataclass
class Terminal:
    """Somebody with three keys, a network on a chain and a thousand credits in the wallet of boss."""

    root: Path
    url: str
    keys: dict[str, PrivateKey]
    capsys: pytest.CaptureFixture[str]

    @property
    def file(self) -> Path:
        return self.root / "net.json"

    @property
    def deployment(self) -> Deployment:
        return deployment_from_json(self.file.read_bytes())

    def type(self, *arguments: str, key: str = "boss", code: int = 0) -> Any:
        """Run `farlane ledger ...`; returns what it printed as JSON, or what it said where it fails."""
        chain = ["--network", str(self.file), "--rpc", self.url, "--key", key, "--json"]
        found = main(["ledger", *arguments, *chain])
        said = self.capsys.readouterr()
        assert found == code, said
        return json.loads(said.out) if code == 0 else said.err

    def ask(self, question: Callable[[RpcClient, EthereumLedger], Coroutine[Any, Any, Any]]) -> Any:
        """Ask the chain something."""

        async def asked() -> Any:
            async with RpcClient(self.url) as rpc:
                return await question(rpc, EthereumLedger(rpc, self.deployment))

        return asyncio.run(asked())

    def free(self, key: str) -> int:
        """Return what a key has free in the ledger."""
        return int(self.ask(lambda rpc, ledger: ledger.balance(self.keys[key].address)))

    def rpc(self, method: str, *parameters: Any) -> Any:
        """Call a method of the node."""
        return self.ask(lambda rpc, ledger: rpc.call(method, *parameters))


@pytest.fixture
def terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anvil_url: str, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    ring = KeyRing(tmp_path / "keys")
    keys = {name: PrivateKey.generate() for name in ("boss", "gas", "poor")}
    for name, key in keys.items():
        ring.add(name, key, Password(PASSWORD, random=True))
    password = tmp_path / "password"
    password.write_bytes(PASSWORD)
    password.chmod(0o600)
    monkeypatch.setenv("FARLANE_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("FARLANE_KEY_PASSWORD_FILE", str(password))
    monkeypatch.setenv("FARLANE_DIR", str(tmp_path / "data"))
    made = Terminal(tmp_path, anvil_url, keys, capsys)

    async def coins() -> None:
        async with RpcClient(anvil_url) as rpc:
            for name in ("boss", "gas"):
                await rpc.call("anvil_setBalance", keys[name].address, hex(10**18))

    asyncio.run(coins())
    chain = ["--rpc", anvil_url, "--key", "boss"]
    assert main(["network", "deploy", *chain, "-o", str(made.file)]) == 0
    assert main(["network", "mint", str(made.file), *chain, keys["boss"].address, "1000"]) == 0
    capsys.readouterr()
    return made


def test_a_permit_deposits_in_one_transaction_and_leaves_nothing_approved(terminal: Terminal) -> None:
    boss, deployment = terminal.keys["boss"].address, terminal.deployment
    before = int(terminal.rpc("eth_getTransactionCount", boss, "latest"), 16)
    done = terminal.type("deposit", "2.5", "--permit")
    assert done["units"] == terminal.free("boss") == 25 * CREDIT // 10
    assert int(terminal.rpc("eth_getTransactionCount", boss, "latest"), 16) == before + 1
    allowance = terminal.ask(
        lambda rpc, ledger: rpc.read("CreditToken", deployment.token, "allowance", (boss, deployment.ledger))
    )
    assert allowance == 0
    terminal.type("deposit", "1", "--permit")  # its nonce has moved on
    terminal.type("deposit", "1")
    assert terminal.free("boss") == 45 * CREDIT // 10
    terminal.type("withdraw", "4.5")
    assert terminal.free("boss") == 0


def test_a_key_without_coin_deposits_by_its_signature(terminal: Terminal) -> None:
    terminal.ask(
        lambda rpc, ledger: ledger.mint(terminal.keys["boss"], terminal.keys["poor"].address, CREDIT)
    )
    assert "needs coin for gas" in terminal.type("deposit", "1", key="poor", code=1)
    terminal.type("deposit", "1", "--owner", "poor", key="gas")
    assert (terminal.free("poor"), terminal.free("gas")) == (CREDIT, 0)
    assert "has 0 credits; 1 credits" in terminal.type("deposit", "1", "--owner", "poor", key="gas", code=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("deposit", "0"), "nothing to move; expected at least 0.000000001"),
        (("withdraw", "0.0000000001"), "more digits than the token"),
        (("deposit", "1001"), "the wallet of"),
        (("withdraw", "1"), "the free balance in the ledger of"),
        (("deposit", "1", "--permit", "--owner", "gas"), "leave --permit out"),
        (("deposit", "1", "--max-fee", "0.000001"), "gas is too dear"),
        (("deposit", "1", "--max-fee", "0"), "a cap of 0 gwei"),
    ],
)
def test_what_cannot_be_moved_is_told(terminal: Terminal, arguments: tuple[str, ...], message: str) -> None:
    terminal.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))  # it falls with every empty block
    terminal.rpc("evm_mine")
    assert message in terminal.type(*arguments, code=1)


@pytest.mark.parametrize("options", [("--permit",), ("--owner", "boss"), ()])
def test_a_deposit_that_was_interrupted_is_not_made_twice(
    terminal: Terminal, options: tuple[str, ...]
) -> None:
    terminal.rpc("evm_setAutomine", False)
    try:
        asyncio.run(_interrupted(terminal, options))
    finally:
        terminal.rpc("evm_setAutomine", True)
    terminal.rpc("evm_mine")
    done = terminal.type("deposit", "3", *options)
    if not options:  # only the approval had been sent; the deposit itself comes now
        assert terminal.type("deposit", "3")["units"] == 3 * CREDIT
        assert terminal.free("boss") == 6 * CREDIT
        return
    assert terminal.free("boss") == 3 * CREDIT == done["units"]
    terminal.type("deposit", "3", *options)
    assert terminal.free("boss") == 6 * CREDIT


async def _interrupted(terminal: Terminal, options: tuple[str, ...]) -> None:
    boss = terminal.keys["boss"]
    async with network_chain(terminal.file, terminal.url, None, boss) as chain:
        ledger = chain.ledger()
        moves = {
            ("--permit",): lambda: ledger.deposit_with_permit(boss, 3 * CREDIT),
            ("--owner", "boss"): lambda: ledger.deposit_for(boss, boss, 3 * CREDIT),
            (): lambda: ledger.deposit(boss, 3 * CREDIT),
        }
        moving = asyncio.create_task(moves[options]())
        async with asyncio.timeout(20):
            while not await _pending(chain.rpc, boss.address):
                await asyncio.sleep(0.01)
        moving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await moving


async def _pending(rpc: RpcClient, account: Address) -> bool:
    counts = [await rpc.quantity("eth_getTransactionCount", account, at) for at in ("pending", "latest")]
    return counts[0] > counts[1]


@pytest.fixture
async def rpc(anvil_url: str) -> AsyncIterator[RpcClient]:
    async with RpcClient(anvil_url) as client:
        yield client


async def test_a_token_that_takes_no_signatures_is_told(rpc: RpcClient) -> None:
    nobody = PrivateKey.generate().address
    with pytest.raises(InvalidInput, match="takes no signatures of this kind"):
        await token_separator(rpc, nobody, 31337)
    with pytest.raises(InvalidInput, match="takes no signatures of this kind"):
        await permit_nonce(rpc, nobody, nobody)


async def test_a_token_of_another_chain_is_not_signed_for(terminal: Terminal) -> None:
    async with RpcClient(terminal.url) as rpc:
        with pytest.raises(InvalidInput, match="takes no signatures of this kind"):
            await token_separator(rpc, terminal.deployment.token, 1)


def test_a_signature_counts_for_a_day_at_least_and_is_the_same_all_day() -> None:
    assert {valid_until(86_400.0 * 5), valid_until(86_400.0 * 6 - 1)} == {7 * 86_400}
