"""The outbox dies at every step, and by kill -9, before a real chain: every intent still ends exactly once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from farlane.kit.clock import ManualClock
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.outbox.chain import ChainReader
from farlane.ledger.outbox.engine import Engine, OutboxSettings
from farlane.ledger.outbox.intents import Call, IntentKey, IntentState
from farlane.ledger.outbox.journal import Journal
from farlane.ledger.outbox.outbox import ChainOutbox
from farlane.ledger.rpc import HttpTransport, RpcClient
from farlane.ledger.sending import Sender
from farlane.testing.faulty_rpc import Crashed, CrashPoint, FaultyTransport

pytestmark = pytest.mark.real

ETHER = 10**18
KEY = IntentKey("pay")
SETTINGS = OutboxSettings(confirmations=1, bump_after_s=40)


@pytest.fixture
async def rpc(anvil_url: str) -> AsyncIterator[RpcClient]:
    async with RpcClient(anvil_url) as client:
        await client.call("evm_setAutomine", False)
        yield client
        await client.call("evm_setAutomine", True)


async def funded(rpc: RpcClient) -> PrivateKey:
    key = PrivateKey.generate()
    await rpc.call("anvil_setBalance", key.address, hex(ETHER))
    return key


async def received(rpc: RpcClient, account: Address) -> int:
    return await rpc.quantity("eth_getBalance", account, "latest")


class Life:
    """One process that works on an outbox, until it crashes or the intent has ended."""

    def __init__(self, path: Path, url: str, chain_id: int, key: PrivateKey, crash_at: int) -> None:
        self.point = CrashPoint(crash_at)
        self.transport = FaultyTransport(HttpTransport(url), self.point)
        self.rpc = RpcClient(self.transport)
        self.journal = Journal(path, chain_id)
        self.clock = ManualClock()
        self.engine = Engine(
            ChainReader(self.rpc, chain_id), chain_id, [key], self.journal, self._disk, self.clock, SETTINGS
        )

    async def _disk(self, method: Callable[..., Any], *arguments: Any) -> Any:
        self.point.step()
        result = method(*arguments)
        self.point.step()
        return result

    async def end(self) -> None:
        self.journal.close()
        await self.transport.close()


async def live(life: Life, call: Call, chain: RpcClient, meddle: Callable[[int], Any]) -> bool:
    """Work until the intent has ended (True) or the process dies (False). Blocks come every third round."""
    try:
        await life._disk(life.journal.add, KEY, call, life.clock.now())
        for round_ in range(30):
            if await life.engine.step() == 0:
                return True
            await meddle(round_)
            life.clock.advance(25)
            if round_ % 3 == 2:
                await chain.call("evm_mine")
    except Crashed:
        return False
    raise AssertionError("it never ends")


async def crash_everywhere(
    path: Path,
    url: str,
    rpc: RpcClient,
    scenario: Callable[[PrivateKey], Callable[[int], Any]],
    transactions: int = 1,
) -> int:
    """Run a scenario with a crash at step 1, 2, 3.. until none is left; returns how many there were."""
    chain_id = await rpc.quantity("eth_chainId")
    for crash_at in range(1, 500):
        key, recipient = await funded(rpc), PrivateKey.generate().address
        file, call = path / f"{crash_at}.db", Call(key.address, recipient, b"", 1)
        meddle = scenario(key)
        life = Life(file, url, chain_id, key, crash_at)
        whole = await live(life, call, rpc, meddle)
        await life.end()
        if not whole:
            await rpc.call("evm_mine")  # what it has sent is mined while it is dead
            life = Life(file, url, chain_id, key, 0)
            assert await live(life, call, rpc, meddle)
            await life.end()
        await rpc.call("evm_mine")
        assert await received(rpc, recipient) == 1, f"crash at step {crash_at}"
        assert await rpc.quantity("eth_getTransactionCount", key.address, "latest") == transactions
        journal = Journal(file, chain_id)
        assert journal.outcome(KEY).state == IntentState.CONFIRMED
        journal.close()
        if whole:
            return crash_at - 1
    raise AssertionError("it never gets through")


async def nothing(_: int) -> None:
    pass


async def test_a_crash_at_any_step_leaves_one_transaction(
    tmp_path: Path, anvil_url: str, rpc: RpcClient
) -> None:
    # Mined in the third round, so it was also replaced once on its way (bump_after_s < 2 rounds).
    assert await crash_everywhere(tmp_path, anvil_url, rpc, lambda _: nothing) > 40


async def test_a_crash_while_another_process_takes_the_nonce(
    tmp_path: Path, anvil_url: str, rpc: RpcClient
) -> None:
    chain_id = await rpc.quantity("eth_chainId")

    def scenario(key: PrivateKey) -> Callable[[int], Any]:
        done = False

        async def take(_: int) -> None:
            nonlocal done
            if done:
                return
            done = True
            # The other process wins with its own nonce: ours leaves the pool first.
            await rpc.call("anvil_dropAllTransactions")
            sending = asyncio.create_task(Sender(rpc, chain_id).send(key, key.address, b"", 7))
            while (await rpc.call("txpool_status"))["pending"] == "0x0":
                await asyncio.sleep(0)
            await rpc.call("evm_mine")
            await sending

        return take

    assert await crash_everywhere(tmp_path, anvil_url, rpc, scenario, transactions=2) > 40


async def test_a_crash_around_a_reorganisation(tmp_path: Path, anvil_url: str, rpc: RpcClient) -> None:
    def scenario(_: PrivateKey) -> Callable[[int], Any]:
        done = False

        async def undo(round_: int) -> None:
            nonlocal done
            if round_ == 3 and not done:
                done = True
                await rpc.call("anvil_reorg", 1, [])
                await rpc.call("anvil_dropAllTransactions")

        return undo

    assert await crash_everywhere(tmp_path, anvil_url, rpc, scenario) > 40


CHILD = """
import asyncio, sys
from pathlib import Path
from farlane.ledger.accounts import Address, PrivateKey
from farlane.ledger.outbox.engine import OutboxSettings
from farlane.ledger.outbox.intents import Call
from farlane.ledger.outbox.outbox import ChainOutbox
from farlane.ledger.rpc import RpcClient

async def main(path, url, chain_id, secret, *recipients):
    key = PrivateKey.from_bytes(bytes.fromhex(secret))
    async with RpcClient(url) as rpc:
        outbox = await ChainOutbox.open(
            Path(path), rpc, int(chain_id), [key], settings=OutboxSettings(poll_s=0.01)
        )
        running = asyncio.create_task(outbox.run())
        for recipient in recipients:
            await outbox.submit(recipient, Call(key.address, Address(recipient), b"", 1))
            print("submitted", flush=True)
        for recipient in recipients:
            await outbox.outcome(recipient)
            print("ended", flush=True)
        running.cancel()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_kill_9_loses_and_repeats_nothing(tmp_path: Path, anvil_url: str, rpc: RpcClient) -> None:
    await rpc.call("evm_setAutomine", True)
    key, chain_id = await funded(rpc), await rpc.quantity("eth_chainId")
    recipients = [PrivateKey.generate().address for _ in range(24)]
    arguments = [str(tmp_path / "outbox.db"), anvil_url, str(chain_id), key.to_bytes().hex(), *recipients]

    async def child(die_after: int) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, *arguments, stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": "src"},
        )  # fmt: skip
        assert process.stdout is not None
        for _ in range(die_after):
            await process.stdout.readline()
        if die_after:
            os.kill(process.pid, signal.SIGKILL)
        await process.communicate()
        return process.returncode or 0

    for die_after in (5, 20, 27, 40):
        assert await child(die_after) == -signal.SIGKILL
    assert await child(0) == 0
    assert [await received(rpc, each) for each in recipients] == [1] * len(recipients)
    assert await rpc.quantity("eth_getTransactionCount", key.address, "latest") == len(recipients)


async def test_an_open_outbox_is_nobody_elses(tmp_path: Path, rpc: RpcClient) -> None:
    from farlane.errors import Conflict

    outbox = await ChainOutbox.open(tmp_path / "outbox.db", rpc, 31337, [])
    with pytest.raises(Conflict, match="locked by process"):
        await ChainOutbox.open(tmp_path / "outbox.db", rpc, 31337, [])
    await outbox.close()
    assert (tmp_path / "outbox.db").stat().st_mode & 0o777 == 0o600
    with pytest.raises(Conflict, match="of chain 31337"):
        await ChainOutbox.open(tmp_path / "outbox.db", rpc, 1, [])
