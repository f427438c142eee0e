"""farlane's side of the transfer: a node that serves a file's blocks over HTTP, and one that fetches them.

python -m bench.models.transfer_farlane serve FILE DIRECTORY
python -m bench.models.transfer_farlane fetch ADDRESS FILE DIRECTORY

The one that fetches knows the file's DAG beforehand, as a node that was told the version does; it takes no byte of its
content from FILE.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import numpy as np

from farlane.kit.clock import SystemClock
from farlane.models.blocks.describing import describe_file
from farlane.models.blocks.disk import DiskBlockStore
from farlane.models.blocks.port import Placement
from farlane.models.transfer.block_server import BlockServer
from farlane.models.transfer.download import Download
from farlane.models.transfer.http_carrier import HttpCarrier
from farlane.models.transfer.plan import plan_of
from farlane.models.unixfs.file_dag import DescribedFile


def serve(path: Path, directory: Path) -> None:
    """Serve a file's blocks until standard input ends."""
    store = DiskBlockStore(directory)
    store.add_file(path, describe_file(path), Placement.REFERENCE)
    server = BlockServer("127.0.0.1:0", store, lambda ticket, cid: True)
    print(server.address, os.getpid(), flush=True)
    sys.stdin.read()
    server.close()
    store.close()


async def fetch(address: str, described: DescribedFile, directory: Path) -> tuple[float, float]:
    """Return the seconds, and those of this CPU, until a file is in a store: verified, synced and named."""
    store = DiskBlockStore(directory)
    plan = plan_of(described.dags)
    assert len(plan.cids) == len(described.dags[0].leaves)
    began, cpu_s = time.perf_counter(), time.process_time()
    assembly = store.begin_file(described.dags, described.sha256)
    nothing = np.zeros(len(plan.cids), np.bool_)
    download = Download(plan.cids, plan.sizes, nothing, assembly.write, clock=SystemClock())
    carrier = HttpCarrier(address)
    download.add_source("peer", carrier, ~nothing)
    await download.run()
    assembly.commit()
    took = time.perf_counter() - began, time.process_time() - cpu_s
    await carrier.close()
    store.close()
    return took


def main() -> None:
    if sys.argv[1] == "serve":
        serve(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        described = describe_file(Path(sys.argv[3]))
        print(*asyncio.run(fetch(sys.argv[2], described, Path(sys.argv[4]))))


if __name__ == "__main__":
    main()
