"""A chain that is there is open soon, also after a kill: what py-evm need not load at once, it loads when asked."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from farlane.kit.clock import ManualClock
from farlane.ledger.abi import encode_call
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.deploy import DeploymentPlan, deploy
from farlane.ledger.embedded.embedded import EmbeddedChain
from farlane.ledger.rpc import RpcClient, hexed

HUB = PrivateKey.from_bytes(bytes(31) + b"\x05")
CHAIN_ID = 99_001
OPENER = """
import asyncio, sys
from pathlib import Path
from farlane.kit.clock import SystemClock
from farlane.ledger.embedded.embedded import EmbeddedChain
from farlane.ledger.rpc import RpcClient
async def main():
    with EmbeddedChain.open(Path(sys.argv[1]), chain_id=99001, genesis={}, clock=SystemClock()) as chain:
        call = {"to": sys.argv[2], "data": sys.argv[3]}
        network = await RpcClient(chain.transport()).call("eth_call", call, "latest")
        print(network, *sorted(name for name in sys.modules if name.startswith("py_ecc")), flush=True)
        sys.stdin.read()
asyncio.run(main())
"""
"""Says the network of the ledger and what is loaded of the curves, then waits to be ended."""


def reopened(path: Path, ledger: str, *, kill: bool) -> list[str]:
    """Open the chain in a fresh process, call one contract, and return what that has loaded of the curves."""
    process = subprocess.Popen(
        [sys.executable, "-c", OPENER, str(path), ledger, hexed(encode_call("ComputeLedger", "network", ()))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    network, *curves = process.stdout.readline().split()
    if kill:
        process.send_signal(signal.SIGKILL)
    process.stdin.close()
    process.wait()
    process.stdout.close()
    assert network.endswith("ab" * 16)
    return curves


@pytest.mark.parametrize("kill", [False, True])
async def test_reopening_with_one_call_loads_no_tables_of_curves(tmp_path: Path, kill: bool) -> None:
    """They would take as long again as all else: `bench/ledger` has the times."""
    path = tmp_path / "chain.sqlite"
    with EmbeddedChain.open(
        path, chain_id=CHAIN_ID, genesis={HUB.address: 10**24}, clock=ManualClock()
    ) as chain:
        deployment = await deploy(RpcClient(chain.transport()), HUB, DeploymentPlan("ab" * 16, HUB.address))
    assert [reopened(path, deployment.ledger, kill=kill) for _ in range(2)] == [[], []]


PRECOMPILES = {
    0x06: 128,
    0x07: 96,
    0x08: 192,
    0x0B: 256,
    0x0C: 160,
    0x0D: 512,
    0x0E: 288,
    0x0F: 384,
    0x10: 64,
    0x11: 128,
}
"""Address -> the bytes of its shortest input; the point at infinity is written as zeros."""
TWICE = (
    "030644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd3"
    "15ed738c0e0a7c92e7845f96b2ae9c0a68a6a449e3538fc7ff3ebf7a5a18a2c4"
)
"""(1, 2) + (1, 2) on alt_bn128."""


async def answers(rpc: RpcClient) -> list[str]:
    """Call every precompile of a curve."""
    calls = [(address, bytes(length)) for address, length in PRECOMPILES.items()]
    calls.append((0x06, (1).to_bytes(32, "big") + (2).to_bytes(32, "big")))
    calls.append((0x06, b"".join(number.to_bytes(32, "big") for number in (1, 2, 1, 2))))
    return [
        await rpc.call("eth_call", {"to": f"0x{address:040x}", "data": "0x" + data.hex()}, "latest")
        for address, data in calls
    ]


@pytest.mark.real
async def test_curves_that_are_loaded_late_answer_as_those_of_anvil(tmp_path: Path, anvil_url: str) -> None:
    limit = sys.getrecursionlimit()
    with EmbeddedChain.open(
        tmp_path / "chain.sqlite", chain_id=CHAIN_ID, genesis={}, clock=ManualClock()
    ) as chain:
        found = await answers(RpcClient(chain.transport()))
    assert found[-1] == "0x" + TWICE
    assert sys.getrecursionlimit() == limit
    async with RpcClient(anvil_url) as rpc:
        assert found == await answers(rpc)
