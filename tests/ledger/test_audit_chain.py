"""The audit of a real chain (anvil), as people type it: money in and out, channels, and what they add up to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farlane.cli.main import main
from farlane.domain.bookkeeping import VoucherSigned
from farlane.errors import ChainUnavailable, NotFound
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.audit.chain_audit import check_state
from farlane.ledger.audit.chain_replay import ChainReplay
from farlane.ledger.audit.chain_view import read_chain
from farlane.ledger.audit.deviations import Deviations
from farlane.ledger.deploy import Deployment, deployment_from_json
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.keystore import KeyRing
from farlane.ledger.passwords import Password
from farlane.ledger.port import ChannelClosed, LedgerEvent, SignedClaim
from farlane.ledger.record import RecordHeader, line_of
from farlane.ledger.record_file import write_record
from farlane.ledger.rpc import RpcClient
from farlane.ledger.vouchers import SignedVoucher, Voucher
from farlane.testing.signed_books import START_S, SignedBook, filled_book, record_of

pytestmark = pytest.mark.real

FAUCET = PrivateKey.from_bytes(
    bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
)
PASSWORD = b"a sentence for tests"
Typed = Callable[..., Any]


@pytest.fixture
def network(tmp_path: Path, anvil_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network file of fresh contracts, whose deployer's key is `boss`."""
    KeyRing(tmp_path / "keys").add("boss", FAUCET, Password(PASSWORD, random=True))
    password = tmp_path / "password"
    password.write_bytes(PASSWORD)
    password.chmod(0o600)
    monkeypatch.setenv("FARLANE_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("FARLANE_KEY_PASSWORD_FILE", str(password))
    monkeypatch.setattr("farlane.cli.auditing.time.time", lambda: START_S + 60.0)
    file = tmp_path / "net.json"
    assert main(["network", "deploy", "--rpc", anvil_url, "--key", "boss", "-o", str(file)]) == 0
    return file


@pytest.fixture
def deployment(network: Path) -> Deployment:
    return deployment_from_json(network.read_bytes())


@pytest.fixture
def typed(network: Path, anvil_url: str, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Type a `farlane ledger` command on the chain; returns its JSON and checks its exit code."""

    def run(*arguments: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert main(["ledger", *arguments, "--rpc", anvil_url, "--network", str(network), "--json"]) == code
        said = capsys.readouterr()
        return json.loads(said.out) if said.out else said.err

    return run


def test_money_goes_in_and_out_with_a_key_of_ones_own(typed: Typed, network: Path, anvil_url: str) -> None:
    common = ["--rpc", anvil_url, "--key", "boss"]
    assert main(["network", "mint", str(network), *common, FAUCET.address, "3"]) == 0
    done = typed("deposit", "2.5", "--key", "boss")
    assert done["transaction"].startswith("0x")
    assert done["gas_used"] > 21_000
    typed("withdraw", "1", "--key", "boss")
    found = typed("account", FAUCET.address)
    assert (found["free_units"], found["wallet_units"]) == (1_500_000_000, 1_500_000_000)
    said = typed("withdraw", "2", "--key", "boss", code=1)
    assert "has 1.5 credits; 2 credits were asked for" in said
    assert found["coin_wei"] > 10**18
    other = PrivateKey.generate().address
    typed("deposit", "0.5", "--key", "boss", "--for", other)
    typed("deposit", "0.25", "--key", "boss", "--for", other, "--permit")
    found = typed("account", other)
    assert (found["free_units"], found["wallet_units"], found["coin_wei"]) == (750_000_000, 0, 0)
    assert typed("account", FAUCET.address)["wallet_units"] == 750_000_000
    assert "leave --for out" in typed(
        "deposit", "1", "--key", "boss", "--for", other, "--owner", "boss", code=1
    )
    assert "nothing to move" in typed("deposit", "0", "--key", "boss", code=1)


def test_a_settled_network_is_clean_and_an_early_close_is_named(
    typed: Typed, deployment: Deployment, anvil_url: str, tmp_path: Path
) -> None:
    book = filled_book(7, deployment.domain)
    header = RecordHeader(deployment.domain, deployment.units_per_credit)
    file = tmp_path / "record.gz"
    write_record(file, header, map(line_of, list(record_of(header, book))[1:]))
    asyncio.run(_open_and_settle(deployment, anvil_url, book))
    found = typed("audit", str(file))
    assert found["deviations"] == []
    assert found["totals"]["settled_units"] == 8 * 8334
    before = asyncio.run(_block(anvil_url))
    asyncio.run(_close(deployment, anvil_url, book))
    found = typed("audit", str(file), code=1)
    (one,) = found["deviations"]
    assert (one["code"], one["severity"]) == ("channel-unclaimed", "warning")
    assert f"lost {4 * 8334} units" in one["found"]
    assert typed("audit", str(file), "--block", str(before))["clean"], "as of before it was closed"


def test_a_network_file_of_other_contracts_is_named(
    typed: Typed, network: Path, deployment: Deployment, tmp_path: Path
) -> None:
    header = RecordHeader(deployment.domain, deployment.units_per_credit)
    file = tmp_path / "record.gz"
    write_record(file, header, [])
    forged = json.loads(network.read_bytes()) | {"ledger": deployment.token}
    network.write_text(json.dumps(forged))
    found = typed("audit", str(file), code=1)
    assert [one["code"] for one in found["deviations"]] == ["chain-contract"]


async def test_a_reorganisation_while_the_chain_is_read_gives_no_deviation(
    deployment: Deployment, anvil_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = filled_book(7, deployment.domain)
    await _open_and_settle(deployment, anvil_url, book)
    async with RpcClient(anvil_url) as rpc:
        before = await rpc.call("evm_snapshot")
        await EthereumLedger(rpc, deployment).close_by_provider(book.provider, book.channel)
        events, reorganised = EthereumLedger.events, []

        async def reorganise(
            self: EthereumLedger, first: int = 0, last: int | None = None
        ) -> list[LedgerEvent]:
            found = await events(self, first, last)
            if not reorganised:
                reorganised.append(await rpc.call("evm_revert", before))
                await rpc.call("evm_mine")
            return found

        monkeypatch.setattr(EthereumLedger, "events", reorganise)
        view = await read_chain(rpc, deployment)
        into = Deviations()
        replay = ChainReplay(into)
        replay.apply(view.events)
        check_state(view, replay, into)
        assert (reorganised, into.kept) == ([True], [])
        assert not any(isinstance(one, ChannelClosed) for one in view.events)
        assert (await read_chain(rpc, deployment, confirmations=1)).block == view.block - 1
        with pytest.raises(NotFound, match="has no block"):
            await read_chain(rpc, deployment, 10**9)
        monkeypatch.setattr("farlane.ledger.audit.chain_view.TRIES", 0)
        with pytest.raises(ChainUnavailable, match="reorganised its chain each time"):
            await read_chain(rpc, deployment)


async def _open_and_settle(deployment: Deployment, url: str, book: SignedBook) -> None:
    async with RpcClient(url) as rpc:
        ledger = EthereumLedger(rpc, deployment)
        for key in (book.payer, book.provider):
            await ledger.pay_gas(FAUCET, key.address, 10**18)
        await ledger.mint(FAUCET, book.payer.address, 10**6)
        await ledger.deposit(book.payer, 10**6)
        await ledger.open_channel(book.payer, book.channel, 500_000)
        signed = [record for record in book.records if isinstance(record, VoucherSigned)][1]
        voucher = Voucher(book.channel.id, signed.cumulative, signed.tasks, signed.root)
        claim = SignedClaim(book.channel, SignedVoucher(voucher, signed.signature))
        await ledger.settle(book.provider, [claim])
        view = await read_chain(rpc, deployment)
        assert view.settlements[book.provider.address] == 1
        assert (await read_chain(rpc, replace(deployment, chain_id=1))).problem


async def _close(deployment: Deployment, url: str, book: SignedBook) -> None:
    async with RpcClient(url) as rpc:
        await EthereumLedger(rpc, deployment).close_by_provider(book.provider, book.channel)


async def _block(url: str) -> int:
    async with RpcClient(url) as rpc:
        return await rpc.quantity("eth_blockNumber")
