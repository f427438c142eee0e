"""farlane's side: a hub and one node of two slots on this machine, through the public SDK."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.runtime.measure import measure
from farlane import App
from farlane.app.layout import Layout
from farlane.app.network import NodePlan, down, load, up
from farlane.sdk.context import read_client_file
from farlane.sdk.facade import Client

PAYLOAD = b"x" * 1024


def main(durability: str, tasks: int, singles: int) -> None:
    with tempfile.TemporaryDirectory(prefix="farlane-bench-") as folder:
        root = Path(folder) / "net"
        up(root, [NodePlan("bench", {"cpu": "2", "memory": "2GiB"})], port=0)
        try:
            run(root, durability, tasks, singles)
        finally:
            down(root)


def run(root: Path, durability: str, tasks: int, singles: int) -> None:
    endpoint = read_client_file(root)
    with Client(endpoint.url, endpoint.token) as client:
        while not any(node.state == "online" for node in client.nodes()):
            time.sleep(0.05)
        app = App("bench", client)

        @app.function(cpu=1, memory="100MB", disk="1MB", timeout=60, durability=durability)
        def echo(value: bytes) -> bytes:
            return value

        def roots() -> list[int]:
            known = load(Layout(root))
            processes = [known.hub, *known.nodes.values()]
            return [os.getpid(), *(process.pid for process in processes if process is not None)]

        def batch(count: int) -> int:
            return sum(
                1 for value in echo.map((PAYLOAD for _ in range(count)), ordered=False) if value == PAYLOAD
            )

        figures = measure(
            f"farlane, {durability}", roots, batch, lambda: echo.remote(PAYLOAD), tasks, singles
        )
    print(json.dumps(figures.as_dict()))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
