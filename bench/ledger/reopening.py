"""`python -m bench.ledger.reopening`: how long an embedded chain takes from a fresh interpreter to its first answer."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from farlane.kit.clock import SystemClock
from farlane.ledger.abi import encode_call
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.deploy import DeploymentPlan, deploy
from farlane.ledger.embedded.embedded import EmbeddedChain
from farlane.ledger.rpc import RpcClient, hexed

ROUNDS = 7
CHAIN_ID = 99_001
OPENER = """
import asyncio, sys, time
from pathlib import Path
from farlane.kit.clock import SystemClock
from farlane.ledger.embedded.embedded import EmbeddedChain
from farlane.ledger.rpc import RpcClient
before = time.process_time(), time.monotonic()
async def main():
    with EmbeddedChain.open(Path(sys.argv[1]), chain_id=99001, genesis={}, clock=SystemClock()) as chain:
        call = {"to": sys.argv[2], "data": sys.argv[3]}
        await RpcClient(chain.transport()).call("eth_call", call, "latest")
        print(time.process_time() - before[0], time.monotonic() - before[1], flush=True)
        sys.stdin.read()
asyncio.run(main())
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "chain.sqlite"
        ledger = asyncio.run(made(path))
        print("\n| reopened, to the first eth_call | CPU s | wall s |\n|---|---|---|")
        for kill in (False, True):
            rounds = [reopened(path, ledger, kill=kill) for _ in range(ROUNDS)]
            cpu_s, wall_s = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(f"| after {'kill -9' if kill else 'a close'} | {cpu_s:.2f} | {wall_s:.2f} |")


async def made(path: Path) -> str:
    """Make a chain with the contracts on it; returns where the ledger is."""
    key = PrivateKey.generate()
    with EmbeddedChain.open(
        path, chain_id=CHAIN_ID, genesis={key.address: 10**24}, clock=SystemClock()
    ) as chain:
        found = await deploy(RpcClient(chain.transport()), key, DeploymentPlan("ab" * 16, key.address))
    return found.ledger


def reopened(path: Path, ledger: str, *, kill: bool) -> tuple[float, float]:
    """Open the chain in a fresh process, call one contract; returns CPU and wall seconds."""
    process = subprocess.Popen(
        [sys.executable, "-c", OPENER, str(path), ledger, hexed(encode_call("ComputeLedger", "network", ()))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    cpu_s, wall_s = map(float, process.stdout.readline().split())
    if kill:
        process.kill()
    process.communicate()
    return cpu_s, wall_s


if __name__ == "__main__":
    main()
