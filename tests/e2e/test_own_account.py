"""An organisation that holds its own account: from its wallet over its channels and back, on a chain of others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from farlane.ledger.accounts import PrivateKey
from farlane.ledger.keystore import KeyRing
from farlane.ledger.passwords import Password
from farlane.ledger.rpc import RpcClient

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(180)]
PASSWORD = b"a sentence for tests"
CREDIT = 10**9
WINDOW_S = 3600


@dataclass
class Lab:
    """A member of lab at a terminal: lab pays by a key of its own, and works lends it a node."""

    works: Any
    url: str
    file: Path
    environment: dict[str, str]

    def type(self, *arguments: str, code: int = 0, alone: bool = False) -> Any:
        """Run a command as lab; `alone`: without a hub."""
        env = {
            k: v for k, v in self.environment.items() if not (alone and k in ("FARLANE_URL", "FARLANE_TOKEN"))
        }
        return self.works.cli(*arguments, code=code, **env)

    def ledger(self, *arguments: str, key: str = "lab", code: int = 0, alone: bool = False) -> Any:
        """Run `farlane ledger ...` on the chain; returns its JSON, or what it said where it fails."""
        chain = ["--network", str(self.file), "--rpc", self.url, "--key", key, "--json"]
        ended = self.type("ledger", *arguments, *chain, code=code, alone=alone)
        return ended.json if code == 0 else ended.err

    def rows(self) -> list[dict[str, Any]]:
        """Return lab's channels as the hub has them."""
        return self.type("ledger", "channels", "--json").json  # type: ignore[no-any-return]

    def row(self, book: int) -> dict[str, Any]:
        """Return one of them."""
        return next(row for row in self.rows() if row["book"] == book)

    def work(self, eventually: Callable[..., None], *, signed: bool = True) -> None:
        """Have a task done, and both sides sign for it where money stands behind it."""
        self.type("run", "-y", "--", "true")
        if signed:
            self.signed(eventually)

    def signed(self, eventually: Callable[..., None]) -> None:
        """Wait until both sides have signed for all work."""
        eventually(lambda: all(row["tasks"] == row["promised_tasks"] for row in self.rows()))


class Cable:
    """A line to a chain that can be cut and mended."""

    def __init__(self, url: str) -> None:
        self._to = urlsplit(url).hostname, urlsplit(url).port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self.mend(self._listener)

    def mend(self, listener: socket.socket | None = None) -> None:
        self._listener = listener or socket.create_server(("127.0.0.1", self.port))
        Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open = []

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = listener.accept()
                there = socket.create_connection(self._to)
                self._open += [here, there]
                for pair in ((here, there), (there, here)):
                    Thread(target=self._carry, args=pair, daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def rpc_calls(url: str, *calls: tuple[str, tuple[Any, ...]]) -> list[Any]:
    async def asked() -> list[Any]:
        async with RpcClient(url) as rpc:
            return [await rpc.call(method, *parameters) for method, parameters in calls]

    return asyncio.run(asked())


@pytest.fixture
def cable(anvil_url: str) -> Iterator[Cable]:
    found = Cable(anvil_url)
    yield found
    found.cut()


@pytest.fixture
def lab(
    request: pytest.FixtureRequest,
    cable: Cable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    new_network: Callable[..., Any],
    anvil_url: str,
) -> Lab:
    ring, keys = KeyRing(tmp_path / "keys"), {}
    for name in ("lab", "boss", "stranger"):
        keys[name] = PrivateKey.generate()
        ring.add(name, keys[name], Password(PASSWORD, random=True))
    (tmp_path / "password").write_bytes(PASSWORD)
    (tmp_path / "password").chmod(0o600)
    own = {"FARLANE_KEYS": str(tmp_path / "keys"), "FARLANE_KEY_PASSWORD_FILE": str(tmp_path / "password")}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    rpc_calls(anvil_url, *(("anvil_setBalance", (key.address, hex(10**18))) for key in keys.values()))
    file, payer = tmp_path / "net.json", keys["lab"].address
    sets = (
        "node.serves=lab", f"hub.rpc=http://127.0.0.1:9,http://127.0.0.1:{cable.port}", f"hub.payers=lab={payer}",
        f"hub.network_file={deployed(file, anvil_url, payer)}", "hub.settle_s=3600", "hub.confirmations=0",
        *getattr(request, "param", ()),
    )  # fmt: skip
    options = [part for one in sets for part in ("--set", one)]
    works = new_network("--organisation", "works", *options, directory=tmp_path / "works")
    operator = json.loads((tmp_path / "works" / "hub" / "keys" / "hub.json").read_bytes())["address"]
    rpc_calls(anvil_url, ("anvil_setBalance", ("0x" + operator.removeprefix("0x"), hex(10**18))))
    told = works.json("token")
    token = works.cli("token", "--organisation", "lab", "--admin").out.strip()
    there = {"FARLANE_URL": told["url"], "FARLANE_TOKEN": token, "FARLANE_DIR": str(tmp_path / "data")}
    return Lab(works, anvil_url, file, {**own, **there})


def deployed(file: Path, url: str, payer: str) -> Path:
    """Put a network on the chain, with a hundred credits in the payer's wallet."""
    from farlane.cli.main import main

    chain = ["--rpc", url, "--key", "boss"]
    assert main(["network", "deploy", *chain, "--close-window", f"{WINDOW_S}s", "-o", str(file)]) == 0
    assert main(["network", "mint", str(file), *chain, payer, "100"]) == 0
    return file


def filled_by_its_name(lab: Lab) -> None:
    """The account of works is the hub's to hold: anybody pays into it."""
    own = {"FARLANE_KEYS": lab.environment["FARLANE_KEYS"], "FARLANE_DIR": lab.environment["FARLANE_DIR"]}
    password = lab.environment["FARLANE_KEY_PASSWORD_FILE"]
    told = lab.works.json("token")
    there = {**own, "FARLANE_URL": told["url"], "FARLANE_TOKEN": told["token"]}
    chain = ["--network", str(lab.file), "--rpc", lab.url]
    signing = ["--key", "lab", "--password-file", password]
    paid = lab.works.cli("ledger", "deposit", "3", "--for", "works", *chain, *signing, **there)
    assert "deposited 3 credits" in paid.out
    shown = lab.works.cli("ledger", "account", "works", *chain, **there).out
    assert "free     3 credits" in shown
    assert "gas      0 coin" in shown
    assert "the hub holds it: opens and fills channels" in lab.works.cli("ledger", "balance", **there).out


def test_a_payer_opens_fills_and_closes_its_channels_itself(
    lab: Lab, eventually: Callable[..., None], tmp_path: Path
) -> None:
    lab.ledger("deposit", "20", "--permit")
    filled_by_its_name(lab)
    lab.work(eventually, signed=False)
    told_what_to_do(lab)
    refused_before_anything_is_sent(lab)
    (opened,) = lab.ledger("open", "--all", "--amount", "0.5", "-y")
    assert (opened["book"], opened["state"], opened["units"]) == (1, "open", CREDIT // 2)
    assert "is open with 0.5 credits already" in lab.ledger("open", "1", "--amount", "0.5", "-y", code=1)
    lab.signed(eventually)  # the hub answers what waited for the deposit
    (filled,) = lab.ledger("top-up", "1", "0.75", "-y")
    assert filled["state"] == "open"
    assert (lab.row(1)["deposit"], lab.row(1)["notice"]) == (CREDIT * 5 // 4, "")
    assert "farlane ledger" not in lab.type("ps").err  # nothing is due any more
    lab.type("ledger", "settle")
    assert lab.row(1)["claimed"] == lab.row(1)["promised"] > 0
    receipt = tmp_path / "receipt.json"
    lab.type("receipt", "get", "j1.0", "-o", str(receipt))
    assert lab.type(
        "receipt", "verify", str(receipt), "--rpc", f"http://127.0.0.1:9,{lab.url}", "--json"
    ).json["valid"]
    lab.work(eventually)
    closed_and_paid_back(lab)
    claimed_without_the_hub(lab, eventually, tmp_path)
    audit = lab.type("ledger", "audit", "--rpc", lab.url, "--network", str(lab.file), "--json").json
    assert audit["clean"], audit["deviations"]


@pytest.mark.parametrize("lab", [("node.core_hour=36000", "node.credit=4", "node.head_s=0.2")], indirect=True)
def test_while_the_chain_is_away_work_goes_on_to_the_nodes_credit(
    lab: Lab, cable: Cable, eventually: Callable[..., None]
) -> None:
    lab.ledger("deposit", "90")
    lab.work(eventually, signed=False)
    lab.ledger("open", "--all", "--amount", "2", "-y")
    lab.signed(eventually)
    channels = [row["channel"] for row in lab.rows()]
    cable.cut()
    jobs = range(2, 22)
    for _ in jobs:  # each costs more than a credit
        lab.type("run", "-y", "-d", "--cpu", "1", "--max-duration", "1m", "--", "sleep", "0.15")
    eventually(lambda: "without a voucher" in (ended := lab.type("why", "j21")).out + ended.err)
    eventually(lambda: "wait for the chain" in lab.type("ps").err)
    assert 0 < sum(row["done"] for row in lab.type("ps", "--all", "--json").json) < 16
    for channel in channels:
        lab.ledger("top-up", channel, "40", "-y", alone=True)
    cable.mend()
    for job in jobs:
        lab.type("wait", f"j{job}", "--timeout", "60s")
    assert "wait for the chain" not in lab.type("ps").err


def told_what_to_do(lab: Lab) -> None:
    """Every place that a publisher looks at names the command."""
    lab.type("ledger", "settle")
    (row,) = lab.rows()
    assert (row["state"], row["held"], row["promised"]) == ("none", False, 0)
    assert row["wanted"] > CREDIT
    for arguments in (
        ("ps", "--all"),
        ("usage",),
        ("why", "j1"),
        ("ledger", "balance"),
        ("ledger", "channels"),
    ):
        assert "book 1 to node" in (said := lab.type(*arguments).err), arguments
        assert "`farlane ledger open 1 --amount 1.0" in said
    asked = lab.type("run", "--", "true", code=1).err
    assert "your organisation's own channels by a session key" in asked
    assert "farlane ledger" not in lab.works.cli("ps").err  # the others owe nothing


def refused_before_anything_is_sent(lab: Lab) -> None:
    """Each mistake is named, and costs nothing."""
    rpc_calls(lab.url, ("anvil_setNextBlockBaseFeePerGas", (hex(10**9),)), ("evm_mine", ()))
    for arguments, key, words in (
        (("open", "1", "--amount", "0", "-y"), "lab", "nothing to move"),
        (("open", "1", "--amount", "0.0000000001", "-y"), "lab", "more digits than the token"),
        (("open", "1", "--amount", "21", "-y"), "lab", "has 20 credits free in the ledger; 21 are needed"),
        (("open", "1", "--amount", "1", "-y"), "stranger", "name the key that pays it with --key"),
        (("open", "1", "--amount", "1"), "lab", "nobody to ask"),
        (("open", "--amount", "1", "-y"), "lab", "name one CHANNEL, or --all"),
        (("open", "7", "--amount", "1", "-y"), "lab", "no channel '7'"),
        (("top-up", "1", "1", "-y"), "lab", "was never opened"),
        (("close", "1", "-y"), "lab", "was never opened"),
        (("close", "0x" + "ab" * 32, "-y"), "lab", "was ever opened on this contract"),
        (("open", "1", "--amount", "1", "-y", "--max-fee", "0.000001"), "lab", "gas is too dear"),
    ):
        assert words in lab.ledger(*arguments, key=key, code=1), arguments
    other = json.loads(lab.file.read_bytes()) | {"chain_id": 1}
    forged = lab.file.with_name("other.json")
    forged.write_text(json.dumps(other))
    chain = ("--network", str(forged), "--rpc", lab.url, "--key", "lab")
    assert "is on chain 1" in lab.type("ledger", "open", "1", "--amount", "1", *chain, "-y", code=1).err
    deployed(lab.file.with_name("second.json"), lab.url, "0x" + "11" * 20)
    chain = ("--network", str(lab.file.with_name("second.json")), *chain[2:])
    assert (
        "another network's file or hub"
        in lab.type("ledger", "open", "1", "--amount", "1", *chain, "-y", code=1).err
    )
    assert lab.row(1)["state"] == "none"


def closed_and_paid_back(lab: Lab) -> None:
    """The provider is paid within the window, the rest comes back after it; no hub is needed to close."""
    channel = lab.row(1)["channel"]
    assert "name the key that pays it" in lab.ledger(
        "close", channel, "-y", key="stranger", code=1, alone=True
    )
    (closing,) = lab.ledger("close", channel, "-y", alone=True)
    assert closing["state"] == "closing"
    (waiting,) = lab.ledger("close", channel, "-y", alone=True)
    assert (waiting["state"], waiting["close_at"]) == ("closing", closing["close_at"])
    assert "nothing can be added" in lab.ledger("top-up", channel, "1", "-y", code=1, alone=True)
    assert lab.row(1)["claimed"] < lab.row(1)["promised"]
    lab.type("ledger", "settle")
    paid = lab.row(1)["claimed"]
    assert paid == lab.row(1)["promised"]
    rpc_calls(lab.url, ("evm_increaseTime", (WINDOW_S + 1,)), ("evm_mine", ()))
    (done,) = lab.ledger("close", "1", "-y")
    assert done["state"] == "closed"
    assert "is closed already" in lab.ledger("close", "1", "-y", code=1)
    assert lab.type("ledger", "balance", "--json").json["free"] == 20 * CREDIT - paid


def killed_while_it_opens(lab: Lab, eventually: Callable[..., None]) -> None:
    """Kill `ledger open` after it has sent and before the chain has confirmed: typed again it must not pay twice."""
    payer = lab.row(2)["payer"]

    def count(at: str) -> int:
        return int(rpc_calls(lab.url, ("eth_getTransactionCount", (payer, at)))[0], 16)

    before = count("latest")
    chain = ["--network", str(lab.file), "--rpc", lab.url, "--key", "lab"]
    command = [sys.executable, "-m", "farlane.cli.main", "ledger", "open", "2", "--amount", "1", *chain, "-y"]
    rpc_calls(lab.url, ("evm_setAutomine", (False,)))
    try:
        process = subprocess.Popen(command, env=os.environ | lab.environment, stderr=subprocess.DEVNULL)
        eventually(lambda: count("pending") > before)
        process.kill()
        process.wait(10)
    finally:
        rpc_calls(lab.url, ("evm_setAutomine", (True,)), ("evm_mine", ()))
    assert count("latest") == before + 1


def claimed_without_the_hub(lab: Lab, eventually: Callable[..., None], tmp_path: Path) -> None:
    """Work goes on in a new book; what a provider keeps of its receipts is enough to be paid, once."""
    lab.type("ledger", "settle")  # sees that the channel is closed
    lab.work(eventually, signed=False)
    killed_while_it_opens(lab, eventually)
    (opened,) = lab.ledger("open", "2", "--amount", "1", "-y")
    assert (opened["book"], opened["state"], lab.row(2)["deposit"]) == (2, "open", CREDIT)
    lab.signed(eventually)
    receipt = str(tmp_path / "newest.json")
    lab.type("receipt", "get", "j3.0", "-o", receipt)
    (claimed,) = lab.ledger("claim", receipt, "-y", key="stranger", alone=True)
    assert claimed["gas_used"] > 40_000
    assert lab.row(2)["claimed"] == lab.row(2)["promised"] > 0
    assert "cannot be claimed" in lab.ledger("claim", str(lab.file), "-y", key="stranger", code=1, alone=True)
    assert "pay nothing new" in lab.ledger("claim", receipt, "-y", key="stranger", code=1, alone=True)
