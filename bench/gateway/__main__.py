"""The gateway's cost per request: CPU time of its process beside that of a bare aiohttp handler with the same bodies.

    python -m bench.gateway

Clients run in a process of their own, so that the CPU time is the server's alone. The router is the fake one: what is
left is reading, checking, limits, accounts and writing.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from farlane.testing.running_gateway import running_gateway

REQUESTS, ROUNDS = 1500, 3
CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hello wide world"}]}
LONG = {"model": "echo", "messages": [{"role": "user", "content": "word " * 200}], "stream": True}
EMBED = {"model": "digest", "input": ["one text", "another"]}
TENSOR = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}
CASES = (
    ("chat", "/v1/chat/completions", CHAT, REQUESTS),
    ("stream of 200 pieces", "/v1/chat/completions", LONG, 50),
    ("embedding", "/v1/embeddings", EMBED, REQUESTS),
    ("tensors as JSON", "/v2/models/mirror/infer", TENSOR, REQUESTS),
)
CLIENT = """
import asyncio, json, sys, time
import aiohttp
async def main():
    url, authorization, body, count = sys.argv[1:]
    times = []
    async with aiohttp.ClientSession(headers={"Authorization": authorization}) as session:
        for _ in range(int(count)):
            begun = time.perf_counter()
            async with session.post(url, data=body) as got:
                await got.read()
                assert got.status == 200, got.status
            times.append(time.perf_counter() - begun)
    print(json.dumps(times))
asyncio.run(main())
"""


async def cost(url: str, authorization: str, body: object, count: int) -> tuple[float, float]:
    """Return the CPU seconds of this process and the median seconds of the client, per request."""
    begun = time.process_time()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, url, authorization, json.dumps(body), str(count),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    return (time.process_time() - begun) / count, statistics.median(json.loads(output))


@asynccontextmanager
async def bare() -> AsyncIterator[str]:
    """Serve a handler that reads JSON and sends some back."""
    from aiohttp import web

    async def handle(request: web.Request) -> web.Response:
        await request.json()
        return web.json_response(
            {"choices": [{"message": {"role": "assistant", "content": "hello wide world"}}]}
        )

    app = web.Application()
    app.router.add_post("/", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def main() -> None:
    """Measure each case some times in turn, and print the medians."""
    found: dict[str, list[tuple[float, float]]] = {}
    async with running_gateway() as gateway, bare() as bare_url:
        token = gateway.headers()["Authorization"]
        for _ in range(ROUNDS):
            found.setdefault("bare handler", []).append(await cost(bare_url, token, CHAT, REQUESTS))
            for name, path, body, count in CASES:
                found.setdefault(name, []).append(await cost(gateway.url + path, token, body, count))
    print(f"{'':24}{'server CPU ms':>14}{'client median ms':>18}")
    for name, rows in found.items():
        cpu, wait = (statistics.median(column) * 1000 for column in zip(*rows, strict=True))
        print(f"{name:24}{cpu:14.3f}{wait:18.3f}")


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
