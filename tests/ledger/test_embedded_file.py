"""The chain file: kill -9, one process at a time, damage, foreign and newer files, a full disk, many logs."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from farlane.errors import Conflict, Corrupted, DiskFull, FarlaneError, InvalidInput, RpcRefused
from farlane.kit.clock import ManualClock
from farlane.kit.files import free_bytes
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.embedded import methods
from farlane.ledger.embedded.embedded import EmbeddedChain
from farlane.ledger.rpc import RpcClient, hexed
from farlane.ledger.transactions import Transaction, sign_transaction

HUB = PrivateKey.from_bytes(bytes(31) + b"\x05")
CHAIN_ID = 99_001
GWEI = 10**9
LOGGER = "600160005260206000a03360206000a160aa3360206000a2"
"""Three logs: without a topic, with the caller, with the caller and 0xaa."""


def opened(path: Path, **options: object) -> EmbeddedChain:
    genesis = {HUB.address: 10**24}
    return EmbeddedChain.open(path, chain_id=CHAIN_ID, genesis=genesis, clock=ManualClock(), **options)  # type: ignore[arg-type]


def raw(nonce: int, to: str | None = HUB.address, data: bytes = b"", gas: int = 100_000) -> str:
    transaction = Transaction(CHAIN_ID, nonce, 0, GWEI, gas, to, 1 if to else 0, data)  # type: ignore[arg-type]
    return hexed(sign_transaction(transaction, HUB).raw)


WRITER = """
import asyncio, sys
from pathlib import Path
from farlane.kit.clock import SystemClock
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.embedded.embedded import EmbeddedChain
from farlane.ledger.rpc import RpcClient, hexed
from farlane.ledger.transactions import Transaction, sign_transaction
key = PrivateKey.from_bytes(bytes(31) + b"\\x05")
async def main():
    chain = EmbeddedChain.open(Path(sys.argv[1]), chain_id=99001, genesis={key.address: 10**24}, clock=SystemClock())
    rpc = RpcClient(chain.transport())
    nonce = await rpc.quantity("eth_getTransactionCount", key.address, "latest")
    while True:
        signed = sign_transaction(Transaction(99001, nonce, 0, 10**9, 30000, key.address, 1, b""), key)
        print(await rpc.call("eth_sendRawTransaction", hexed(signed.raw)), flush=True)
        nonce += 1
asyncio.run(main())
"""


def killed_in_mid_work(path: Path) -> list[str]:
    """Send transactions from another process, kill it twice, and return what it had been told."""
    acknowledged: list[str] = []
    for enough in (5, 23):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        acknowledged += [process.stdout.readline().strip() for _ in range(enough)]
        process.send_signal(signal.SIGKILL)
        acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]
        process.wait()
        process.stdout.close()
    return acknowledged


async def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    acknowledged = killed_in_mid_work(path)
    with opened(path) as chain:
        rpc = RpcClient(chain.transport())
        receipts = await rpc.batch([("eth_getTransactionReceipt", [each]) for each in acknowledged])
        assert [int(each["blockNumber"], 16) for each in receipts][:5] == [1, 2, 3, 4, 5]
        assert all(each["status"] == "0x1" for each in receipts)
        assert chain.height in (len(acknowledged), len(acknowledged) + 1, len(acknowledged) + 2)
        assert await chain.check_state() == 1


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    with opened(path), pytest.raises(Conflict, match=f"in use by another process .{os.getpid()}."):
        opened(path)
    opened(path).close()


def test_files_that_are_no_chain_stay_as_they_are(tmp_path: Path) -> None:
    foreign, empty, text = tmp_path / "foreign", tmp_path / "empty", tmp_path / "text"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE mine (value)")
    connection.close()
    empty.write_bytes(b"")
    text.write_bytes(b"Dear diary, " * 1000)
    kinds: dict[Path, type[FarlaneError]] = {foreign: InvalidInput, empty: Corrupted, text: Corrupted}
    for path, kind in kinds.items():
        before = path.read_bytes()
        with pytest.raises(kind):
            opened(path)
        assert path.read_bytes() == before
    with opened(tmp_path / "chain.sqlite"):
        pass
    with pytest.raises(Conflict, match="chain 99001, not 5"):
        EmbeddedChain.open(tmp_path / "chain.sqlite", chain_id=5, genesis={}, clock=ManualClock())


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    opened(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(Conflict, match="newer farlane"):
        opened(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE blocks SET header = substr(header, 1, 40)",
        "UPDATE blocks SET hash = zeroblob(32)",
        "DELETE FROM blocks",
        "DELETE FROM properties",
    ],
)
def test_a_damaged_head_is_noticed_at_once(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "chain.sqlite"
    opened(path).close()
    _change(path, statement)
    with pytest.raises(Corrupted, match="restore"):
        opened(path)
    opened_again = path.with_name("chain.sqlite.lock").read_text()
    assert opened_again == ""


def test_damaged_pages_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    opened(path).close()
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xee" * (len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(Corrupted):
        opened(path)


async def test_a_changed_balance_is_found(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    opened(path).close()
    _change(path, "UPDATE accounts SET balance = x'ff'")
    with opened(path) as chain, pytest.raises(Corrupted, match="do not add up"):
        await chain.check_state()


def _change(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


async def _send(rpc: RpcClient, transaction: str) -> str:
    """Return why it was refused, or nothing."""
    try:
        await rpc.call("eth_sendRawTransaction", transaction)
    except RpcRefused as error:
        return str(error.facts["rpc_message"])
    except DiskFull as error:
        return error.message
    return ""


async def _drain(chain: EmbeddedChain) -> None:
    """Use the last bytes of a file up."""
    for _ in range(1000):
        try:
            await chain.faucet(HUB.address, GWEI)
        except DiskFull:
            return
    pytest.fail("the file never got full")


async def test_a_full_file_refuses_whole_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    with opened(path, max_bytes=300_000) as chain:
        rpc, nonce = RpcClient(chain.transport()), 0
        while not (refusal := await _send(rpc, raw(nonce, data=os.urandom(4000), gas=300_000))):
            nonce += 1
        assert nonce > 10
        assert "free some space" in refusal
        await _drain(chain)
        assert await rpc.quantity("eth_getTransactionCount", HUB.address, "latest") == nonce
        assert await chain.check_state() == 1
    with opened(path) as chain:
        rpc = RpcClient(chain.transport())
        await rpc.call("eth_sendRawTransaction", raw(nonce))
        assert await rpc.quantity("eth_getTransactionCount", HUB.address, "latest") == nonce + 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 2 MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(mount)]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted (needs root): {made.stderr.strip()}")
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


async def test_a_full_disk_refuses_whole_and_goes_on(small_disk: Path) -> None:
    path, filler = small_disk / "chain.sqlite", small_disk / "filler"
    with opened(path) as chain:
        filler.write_bytes(bytes(free_bytes(small_disk) - (200 << 10)))
        rpc, nonce = RpcClient(chain.transport()), 0
        while not (refusal := await _send(rpc, raw(nonce, data=os.urandom(4000), gas=300_000))):
            nonce += 1
        assert "full" in refusal
        assert await rpc.quantity("eth_getTransactionCount", HUB.address, "latest") == nonce > 1
        filler.unlink()
        assert await _send(rpc, raw(nonce)) == ""
        filler.write_bytes(bytes(free_bytes(small_disk)))
    with opened(path) as chain:
        assert chain.height == nonce + 1
        assert await chain.check_state() == 1
    filler.unlink()


async def _logger(rpc: RpcClient) -> str:
    code = bytes.fromhex(LOGGER)
    deploying = bytes.fromhex(f"60{len(code):02x}600c60003960{len(code):02x}6000f3") + code
    digest = await rpc.call("eth_sendRawTransaction", raw(0, None, deploying, 300_000))
    address: str = (await rpc.call("eth_getTransactionReceipt", digest))["contractAddress"]
    return address


async def test_logs_are_found_by_every_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "chain.sqlite") as chain:
        rpc = RpcClient(chain.transport())
        contract = await _logger(rpc)
        for nonce in range(1, 4):
            transaction = Transaction(CHAIN_ID, nonce, 0, GWEI, 100_000, contract, 0, b"")  # type: ignore[arg-type]
            await rpc.call("eth_sendRawTransaction", hexed(sign_transaction(transaction, HUB).raw))
        caller, other = "0x" + HUB.address[2:].lower().rjust(64, "0"), f"0x{0xAA:064x}"

        async def places(**wanted: object) -> list[tuple[int, int]]:
            found = await rpc.call("eth_getLogs", {"fromBlock": "0x0", **wanted})
            return [(int(each["blockNumber"], 16), int(each["logIndex"], 16)) for each in found]

        everything = [(block, position) for block in (2, 3, 4) for position in range(3)]
        assert await places() == everything
        assert await places(address=[contract, HUB.address]) == everything
        assert await places(address=HUB.address) == []
        assert await places(topics=[caller]) == [each for each in everything if each[1] > 0]
        assert await places(topics=[[caller, other], other]) == [(2, 2), (3, 2), (4, 2)]
        assert await places(topics=[None, None]) == everything
        assert await places(fromBlock="0x3", toBlock="0x3") == everything[3:6]
        block = await rpc.call("eth_getBlockByNumber", "0x4", False)
        assert await rpc.call("eth_getLogs", {"blockHash": block["hash"]}) != []
        monkeypatch.setattr(methods, "MAX_LOGS", 4)
        with pytest.raises(RpcRefused, match=r"exceeds max results 4, retry with the range 0-2"):
            await places()


async def test_a_hundred_thousand_logs_stay_quick(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    opened(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO logs SELECT value + 1, 0, zeroblob(20), randomblob(32), randomblob(32), NULL, NULL, x'' "
            "FROM (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT 100000) "
            "SELECT value FROM n)"
        )
        connection.execute("UPDATE logs SET topic1 = zeroblob(32) WHERE block = 77777")
    connection.close()
    with opened(path) as chain:
        start = time.process_time()
        found = chain._file.logs(0, 200_000, [bytes(20)], [[], [bytes(32)]], 10)
        assert [each.block for each in found] == [77777]
        assert time.process_time() - start < 0.05


async def test_endless_calls_end(tmp_path: Path) -> None:
    with opened(tmp_path / "chain.sqlite") as chain:
        rpc = RpcClient(chain.transport())
        with pytest.raises(RpcRefused, match="out of gas"):  # a loop: JUMPDEST, PUSH 0, JUMP
            await rpc.call("eth_call", {"data": "0x5b600056", "gas": "0x30d40"})
        calls_itself = bytes.fromhex("60006000600060006000305af1")
        deploying = bytes.fromhex("600d600c600039600d6000f3") + calls_itself
        digest = await rpc.call("eth_sendRawTransaction", raw(0, None, deploying, 300_000))
        contract = (await rpc.call("eth_getTransactionReceipt", digest))["contractAddress"]
        with pytest.raises(RpcRefused, match="max call depth exceeded"):
            await rpc.call("eth_call", {"to": contract})
        transaction = Transaction(CHAIN_ID, 1, 0, GWEI, 10_000_000, contract, 0, b"")
        assert "max call depth" in await _send(rpc, hexed(sign_transaction(transaction, HUB).raw))
        assert chain.height == 1
        assert sys.getrecursionlimit() < 5000
