"""farlane's hub as the one that serves: a version is published there, and a client pulls it over gRPC and TLS.

python -m bench.models.transfer_hub serve FILE DIRECTORY
python -m bench.models.transfer_hub fetch NETWORK DIRECTORY
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from farlane.app.layout import Layout
from farlane.app.model_repository import MODELS_DIRECTORY, open_repository
from farlane.app.network import down, load, up
from farlane.models.adding import add
from farlane.models.blocks.port import Placement
from farlane.sdk.client import AsyncClient
from farlane.sdk.context import read_client_file
from farlane.sdk.model_hub import ModelHub

MODEL = "bench/file"


def serve(path: Path, root: Path) -> None:
    """Publish a file at a hub of its own, which runs until standard input ends."""
    up(root, [], port=0)
    try:
        with open_repository(root / MODELS_DIRECTORY) as repository:
            add(repository, path, MODEL, placement=Placement.REFERENCE)
        hub = load(Layout(root)).hub
        assert hub is not None
        print(root, hub.pid, flush=True)
        sys.stdin.read()
    finally:
        down(root)


async def fetch(root: Path, directory: Path) -> tuple[float, float]:
    """Return the seconds, and those of this CPU, until the version is in a repository: verified and synced."""
    endpoint = read_client_file(root)
    with open_repository(directory) as repository:
        async with AsyncClient(endpoint.url, endpoint.token) as client:
            began, cpu_s = time.perf_counter(), time.process_time()
            await ModelHub(client.connection).pull(repository, MODEL)
            return time.perf_counter() - began, time.process_time() - cpu_s


def main() -> None:
    if sys.argv[1] == "serve":
        serve(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        print(*asyncio.run(fetch(Path(sys.argv[2]), Path(sys.argv[3]))))


if __name__ == "__main__":
    main()
