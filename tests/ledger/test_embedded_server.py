"""The embedded chain's endpoint: cast as a user has it, documents that are none, and pages of the web kept out."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from farlane.errors import InvalidSetting, Unavailable
from farlane.kit.clock import SystemClock
from farlane.ledger.accounts import PrivateKey
from farlane.ledger.deploy import DeploymentPlan, deploy
from farlane.ledger.embedded.embedded import EmbeddedChain
from farlane.ledger.embedded.server import MAX_BODY_BYTES, serve_rpc
from farlane.ledger.rpc import RpcClient

HUB = PrivateKey.from_bytes(bytes(31) + b"\x09")
ETHER = 10**18
CONTRACTS = Path(__file__).resolve().parents[2] / "contracts"


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[EmbeddedChain]:
    genesis = {HUB.address: 1000 * ETHER}
    path = tmp_path / "chain.sqlite"
    with EmbeddedChain.open(path, chain_id=424_242, genesis=genesis, clock=SystemClock()) as found:
        yield found


@pytest.fixture
async def url(chain: EmbeddedChain) -> AsyncIterator[str]:
    async with serve_rpc(chain) as found:
        yield found


@pytest.fixture
def cast() -> str:
    found = sorted(CONTRACTS.glob("node_modules/@foundry-rs/cast-*/bin/cast"))
    if not found:
        if os.environ.get("CI") == "true":
            pytest.fail("cast is missing: `npm ci` in contracts/ brings it")
        pytest.skip("cast is missing; to get it run `npm ci` in contracts/ (needs Node.js 20)")
    return str(found[0])


async def run_cast(cast: str, url: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        cast, *arguments, "--rpc-url", url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, (arguments, err.decode())
    return out.decode().strip()


@pytest.mark.real
async def test_cast_reads_calls_and_sends(cast: str, url: str, chain: EmbeddedChain) -> None:
    async with RpcClient(url) as rpc:
        deployment = await deploy(rpc, HUB, DeploymentPlan("ab" * 16, HUB.address))
    height = chain.height
    token, key = deployment.token, ["--private-key", "0x" + HUB.to_bytes().hex()]
    assert await run_cast(cast, url, "chain-id") == "424242"
    assert await run_cast(cast, url, "block-number") == str(height)
    assert await run_cast(cast, url, "call", token, "symbol()(string)") != '""'
    someone = PrivateKey.generate().address
    sent = json.loads(
        await run_cast(cast, url, "send", token, "mint(address,uint256)", someone, "77", *key, "--json")
    )
    assert (sent["status"], int(sent["blockNumber"], 16)) == ("0x1", height + 1)
    assert await run_cast(cast, url, "call", token, "balanceOf(address)(uint256)", someone) == "77"
    await run_cast(cast, url, "send", someone, "--value", "5", *key)
    assert await run_cast(cast, url, "balance", someone) == "5"
    await run_cast(cast, url, "send", someone, "--value", "1", "--legacy", *key)
    assert await run_cast(cast, url, "balance", someone) == "6"
    logs = json.loads(await run_cast(cast, url, "logs", "--from-block", "0", "--address", token, "--json"))
    assert logs[-1]["transactionHash"] == sent["transactionHash"]
    assert await run_cast(cast, url, "block", "latest", "--field", "number") == str(height + 3)
    assert await run_cast(cast, url, "receipt", sent["transactionHash"], "status") in (
        "true",
        "1",
        "1 (success)",
    )


async def post(url: str, body: bytes, **headers: str) -> tuple[int, Any]:
    sent = {"Content-Type": "application/json"} | {
        name.replace("_", "-"): text for name, text in headers.items()
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=io.BytesIO(body), headers=sent) as response,
    ):
        text = await response.text()
        return response.status, json.loads(text) if response.content_type == "application/json" else text


ASK = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}).encode()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", -32700),
        (b"[" * 100_000, -32700),
        (b"\xff\xfe", -32700),
        (b"[]", -32600),
        (b"[" + b",".join([ASK] * 101) + b"]", -32600),
        (b"7", -32600),
        (b'{"id": {}, "method": "eth_chainId"}', -32600),
        (b'{"id": 1}', -32600),
        (b'{"id": 1, "method": "eth_chainId", "params": {}}', -32602),
        (b'{"id": 1, "method": "eth_sign", "params": []}', -32601),
        (b'{"id": 1, "method": "evm_mine", "params": []}', -32601),
        (b'{"id": 1, "method": "eth_getBalance", "params": ["0x12", "latest"]}', -32602),
        (b'{"id": 1, "method": "eth_getBalance", "params": [7]}', -32602),
        (b'{"id": 1, "method": "eth_getBalance"}', -32602),
        (b'{"id": 1, "method": "eth_call", "params": [5]}', -32602),
        (b'{"id": 1, "method": "eth_call", "params": [{"data": "0x0"}]}', -32602),
        (b'{"id": 1, "method": "eth_call", "params": [{"accessList": [{"storageKeys": 5}]}]}', -32602),
        (b'{"id": 1, "method": "eth_getLogs", "params": [{"topics": [[5]]}]}', -32602),
        (b'{"id": 1, "method": "eth_getLogs", "params": [{"fromBlock": "0x5", "toBlock": "0x1"}]}', -32602),
        (b'{"id": 1, "method": "eth_sendRawTransaction", "params": ["0x"]}', -32000),
        (b'{"id": 1, "method": "eth_sendRawTransaction", "params": ["0x02c0"]}', -32000),
        (b'{"id": 1, "method": "eth_sendRawTransaction", "params": ["0x03c0"]}', -32000),
        (b'{"id": 1, "method": "eth_feeHistory", "params": ["x", "latest"]}', -32602),
        (b'{"id": 1, "method": "eth_getBlockByNumber", "params": ["0xzz", false]}', -32602),
        (b'{"id": 1, "method": "eth_getBalance", "params": ["0x' + b"11" * 20 + b'", "0x7"]}', -32000),
    ],
)
async def test_what_makes_no_sense_is_refused_by_code(url: str, body: bytes, code: int) -> None:
    status, found = await post(url, body)
    assert (status, found["error"]["code"]) == (200, code)
    assert (await post(url, ASK))[1]["result"] == hex(424_242)


async def test_a_batch_is_answered_in_order(url: str) -> None:
    calls = [
        {"jsonrpc": "2.0", "id": n, "method": m, "params": []} for n, m in enumerate(("eth_chainId", "no"))
    ]
    _, found = await post(url, json.dumps([*calls, {"method": "eth_chainId"}]).encode())
    assert [(each["id"], "result" in each) for each in found] == [(0, True), (1, False)]


async def test_pages_of_the_web_stay_outside(url: str) -> None:
    assert (await post(url, ASK, Host="evil.example:8545"))[0] == 403
    assert (await post(url, ASK, Host="127.0.0.1.evil.example"))[0] == 403
    assert (await post(url, ASK, Host="localhost:1"))[0] == 200
    assert (await post(url, ASK, Origin="http://evil.example"))[0] == 403
    assert (await post(url, ASK, Content_Type="text/plain"))[0] == 415
    assert (await post(url, b" " * (MAX_BODY_BYTES + 1)))[0] == 413
    async with aiohttp.ClientSession() as session:
        asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
        async with session.options(url, headers=asked) as response:
            assert response.status == 403
            assert not [name for name in response.headers if name.lower().startswith("access-control")]
        async with session.get(url) as response:
            assert response.status == 405


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.org"])
async def test_it_listens_on_loopback_alone(chain: EmbeddedChain, host: str) -> None:
    with pytest.raises(InvalidSetting, match="cannot listen on"):
        async with serve_rpc(chain, host):
            pytest.fail("it listens")


async def test_a_taken_port_is_told(chain: EmbeddedChain, url: str) -> None:
    with pytest.raises(Unavailable, match="another one"):
        async with serve_rpc(chain, port=int(url.rpartition(":")[2])):
            pytest.fail("it listens")
