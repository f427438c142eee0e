"""`python -m bench.ledger`: gas per settled job and rates, beside a naive contract and a textbook escrow on anvil.

Needs contracts/node_modules (`npm ci` in contracts/): anvil runs the chain, solc compiles the two rivals.
"""

from __future__ import annotations

import asyncio
import json
import platform
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.ledger import reopening
from bench.ledger.rates import rates
from farlane.ledger import abi
from farlane.ledger.accounts import Address, PrivateKey, address_from_bytes
from farlane.ledger.deploy import DeploymentPlan, deploy
from farlane.ledger.ethereum import EthereumLedger
from farlane.ledger.port import SignedClaim
from farlane.ledger.rpc import RpcClient
from farlane.ledger.sending import Sender
from farlane.ledger.transactions import contract_address
from farlane.ledger.typed_data import Domain, digest
from farlane.ledger.vouchers import Channel, Voucher, sign_voucher

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = ROOT / "contracts"
FAUCET = PrivateKey.from_bytes(
    bytes.fromhex("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80")
)
"""The first account of every development chain of the Foundry kind, public on purpose."""
TASKS = 1000
BATCH = 100
PUBLISHED = (
    ("x402 batch settlement, 1 voucher (its claim path, measured beforehand; no root)", 47_691, TASKS),
    ("x402 batch settlement, per voucher of 100 (the same)", 20_871, TASKS),
    ("iExec PoCo Boost, match + push (measured beforehand in forge, lower bound)", 473_704, 1),
    ("Prime Intellect submitWork (measured beforehand in forge)", 226_765, 1),
)
"""(design, gas, jobs it settles); figures of others, measured beforehand from their public sources."""


def main() -> None:
    anvils = sorted(CONTRACTS.glob("node_modules/@foundry-rs/anvil-*/bin/anvil"))
    if not anvils:
        raise SystemExit("anvil is missing: run `npm ci` in contracts/ (needs Node.js 20)")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    options = ["--silent", "--port", str(port), "--hardfork", "prague", "--prune-history", "128"]
    chain = subprocess.Popen([str(anvils[0]), *options])
    try:
        asyncio.run(measure(f"http://127.0.0.1:{port}"))
    finally:
        chain.terminate()
        chain.wait(10)


async def measure(url: str) -> None:
    rpc = RpcClient(url)
    await until_there(rpc)
    rows = [*await rivals(rpc), *await ours(rpc), *PUBLISHED]
    print(f"\nanvil 1.7.1 (prague), solc 0.8.37; {platform.machine()}, Python {platform.python_version()}\n")
    print("| design | gas | jobs settled | gas per job | naive / this |\n|---|---|---|---|---|")
    naive = rows[0][1]
    for name, gas, jobs in rows:
        print(f"| {name} | {gas:,} | {jobs:,} | {gas / jobs:,.1f} | {naive * jobs / gas:,.1f}x |")
    rates()
    await rpc.close()


async def until_there(rpc: RpcClient) -> None:
    for _ in range(200):
        try:
            await rpc.call("eth_chainId")
            return
        except Exception:
            await asyncio.sleep(0.05)
    raise SystemExit("anvil does not answer")


async def rivals(rpc: RpcClient) -> list[tuple[str, int, int]]:
    made = compiled()
    sender = Sender(rpc, await rpc.quantity("eth_chainId"))
    token = await create(rpc, sender, abi.encode_constructor("CreditToken", (FAUCET.address,)))
    naive = await create(rpc, sender, bytes.fromhex(made["Naive"]["bytecode"]))
    head = token_word(token)
    escrow = await create(rpc, sender, bytes.fromhex(made["TextbookEscrow"]["bytecode"]) + head)
    await sender.send(FAUCET, token, abi.encode_call("CreditToken", "mint", (FAUCET.address, 10**15)))
    await sender.send(FAUCET, token, abi.encode_call("CreditToken", "approve", (escrow, 2**256 - 1)))
    push = abi.encode_call(made["Naive"]["abi"], "record", (FAUCET.address, FAUCET.address, 5))
    gas = [(await sender.send(FAUCET, naive, push)).gas_used for _ in range(3)][-1]
    calls = made["TextbookEscrow"]["abi"]
    whole = 0
    for job in range(2):
        whole = 0
        for name, arguments in (
            ("create", (FAUCET.address, 1000, 2**40, b"\1" * 32)),
            ("submit", (job, b"\2" * 32)),
            ("accept", (job,)),
        ):
            whole += (await sender.send(FAUCET, escrow, abi.encode_call(calls, name, arguments))).gas_used
    return [("naive `transactions.push` (anybody may write; no money moves)", gas, 1),
            ("textbook escrow, 3 transactions", whole, 1)]  # fmt: skip


async def ours(rpc: RpcClient) -> list[tuple[str, int, int]]:
    deployment = await deploy(rpc, FAUCET, DeploymentPlan("ab" * 16, FAUCET.address))
    ledger = EthereumLedger(rpc, deployment)
    session, provider = PrivateKey.generate(), PrivateKey.generate()
    await ledger.mint(FAUCET, FAUCET.address, 10**15)
    await ledger.deposit(FAUCET, 10**15)
    channels = [
        Channel(FAUCET.address, provider.address, session.address, number.to_bytes(32, "big"))
        for number in range(1, BATCH + 2)
    ]
    for channel in channels:
        await ledger.open_channel(FAUCET, channel, 10**12)

    def claims(some: list[Channel], round_: int) -> list[SignedClaim]:
        return [
            SignedClaim(
                channel,
                sign_voucher(
                    ledger.domain,
                    session,
                    Voucher(channel.id, 123_456_789 * round_, TASKS * round_, b"\7" * 32),
                ),
            )
            for channel in some
        ]

    alone = [(await ledger.settle(FAUCET, claims(channels[:1], round_))).gas_used for round_ in (1, 2, 3)][-1]
    batch = [(await ledger.settle(FAUCET, claims(channels[1:], round_))).gas_used for round_ in (1, 2, 3)][-1]
    return [
        (f"farlane, 1 voucher of {TASKS:,} tasks, root anchored", alone, TASKS),
        (f"farlane, {BATCH} vouchers of {TASKS:,} tasks in one transaction", batch, BATCH * TASKS),
        *await bonded(ledger, rpc, deployment.ledger, deployment.domain),
    ]


async def bonded(
    ledger: EthereumLedger, rpc: RpcClient, at: Address, domain: Domain
) -> list[tuple[str, int, int]]:
    """Jobs with bonds; the second of each kind counts, since the first pays for slots that are new."""
    provider, arbiter = PrivateKey.generate(), PrivateKey.generate()
    sender = Sender(rpc, domain.chain_id)
    for key in (provider, arbiter):
        await ledger.pay_gas(FAUCET, key.address, 10**18)
    await ledger.mint(FAUCET, provider.address, 10**9)
    await ledger.deposit(provider, 10**9)
    accepted = disputed = 0
    for number in range(2):
        accepted = disputed = 0
        for kind in ("accepted", "disputed"):
            salt = f"{kind} {number}".encode().rjust(32, b"\0")
            terms = (
                FAUCET.address,
                provider.address,
                arbiter.address,
                1000,
                300,
                70,
                2**40,
                3600,
                3600,
                b"\5" * 32,
                salt,
            )
            signature = provider.sign(digest(domain, "JobTerms", terms))
            steps: list[tuple[PrivateKey, str, tuple[Any, ...]]] = [(FAUCET, "openJob", (terms, signature))]
            if kind == "accepted":
                job = await rpc.read("ComputeLedger", at, "jobId", (terms,))
                acceptance = FAUCET.sign(digest(domain, "Acceptance", (job, b"\6" * 32)))
                steps += [(provider, "acceptResult", (terms, b"\6" * 32, acceptance))]
            else:
                steps += [
                    (provider, "submitResult", (terms, b"\6" * 32)),
                    (FAUCET, "dispute", (terms,)),
                    (arbiter, "resolve", (terms, 400)),
                ]
            gas = 0
            for key, name, arguments in steps:
                gas += (
                    await sender.send(key, at, abi.encode_call("ComputeLedger", name, arguments))
                ).gas_used
            accepted, disputed = (gas, disputed) if kind == "accepted" else (accepted, gas)
    return [("farlane, a job with bonds, accepted", accepted, 1),
            ("farlane, a job with bonds, disputed and resolved", disputed, 1)]  # fmt: skip


async def create(rpc: RpcClient, sender: Sender, code: bytes) -> Address:
    nonce = await rpc.quantity("eth_getTransactionCount", FAUCET.address, "pending")
    await sender.send(FAUCET, None, code)
    return address_from_bytes(contract_address(FAUCET.address, nonce))


def token_word(token: Address) -> bytes:
    return bytes.fromhex(token[2:]).rjust(32, b"\0")


def compiled() -> dict[str, dict[str, Any]]:
    """Compile the rivals with the compiler and settings of our own contracts."""
    sources = {
        file.name: {"content": file.read_text()} for file in (ROOT / "bench/ledger/contracts").glob("*.sol")
    }
    settings = {
        "evmVersion": "cancun",
        "optimizer": {"enabled": True, "runs": 20000},
        "viaIR": True,
        "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object"]}},
    }
    request = json.dumps({"language": "Solidity", "sources": sources, "settings": settings})
    done = subprocess.run(
        [CONTRACTS / "bin/solc", "--standard-json"], input=request, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)["contracts"]
    return {
        name: {"abi": made["abi"], "bytecode": made["evm"]["bytecode"]["object"]}
        for file in found.values()
        for name, made in file.items()
    }


if __name__ == "__main__":
    code = main()
    reopening.main()
    sys.exit(code)
