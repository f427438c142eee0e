"""From node to node on loopback: blocks over HTTP, each verified and written, from another process's store.

python bench/models/transfer.py [MIB]
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import numpy as np

from farlane.kit.clock import SystemClock
from farlane.kit.hashing import sha256
from farlane.models.blocks.describing import describe_file
from farlane.models.blocks.port import Location
from farlane.models.cid import Cid, Octets, verify_block
from farlane.models.transfer.block_server import BlockServer
from farlane.models.transfer.download import Download
from farlane.models.transfer.http_carrier import HttpCarrier
from farlane.models.transfer.plan import Plan, plan_of

MIB = 1 << 20
REPEATS = 3
Row = tuple[str, float, str]
"""What was measured, how much, in which unit."""


class FileSource:
    """The leaves of one file as a source of blocks."""

    def __init__(self, path: Path) -> None:
        dag = describe_file(path).dags[0]
        leaves = (dag.leaves[at] for at in range(len(dag.leaves)))
        self.plan: Plan = plan_of([dag])
        self._where = {leaf.cid: Location(path, leaf.offset, leaf.length) for leaf in leaves}

    def has(self, cid: Cid) -> bool:
        return cid in self._where

    def size(self, cid: Cid) -> int:
        return self._where[cid].length

    def get(self, cid: Cid) -> bytes:
        place = self._where[cid]
        with place.path.open("rb") as file:
            file.seek(place.offset)
            return file.read(place.length)

    def locate(self, cid: Cid) -> Location:
        return self._where[cid]


def rows(mib: int = 256) -> list[Row]:
    """Return the best of a few downloads, in another process than the server's, as the rivals are measured."""
    with tempfile.TemporaryDirectory(prefix="farlane-bench-") as name:
        path = Path(name) / "served"
        random = Random(1)
        with path.open("wb") as file:
            for _ in range(mib):
                file.write(random.randbytes(MIB))
        command = [sys.executable, __file__, "serve", str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            assert server.stdin is not None
            address = server.stdout.readline().strip()
            try:
                plan = FileSource(path).plan
                took = [asyncio.run(_download(address, plan, Path(name) / "fetched")) for _ in range(REPEATS)]
            finally:
                server.stdin.close()
        assert sha256(path.read_bytes()) == sha256((Path(name) / "fetched").read_bytes())
    return [("node to node over HTTP, verified and written", mib * MIB / 1e6 / min(took), "MB/s")]


async def _download(address: str, plan: Plan, target: Path) -> float:
    offsets = np.concatenate(([0], np.cumsum(plan.sizes)[:-1]))
    with target.open("wb", buffering=0) as file:
        file.truncate(plan.total_bytes)
    output = target.open("r+b", buffering=0)

    def keep(index: int, data: Octets) -> None:
        verify_block(plan.cids[index], data)
        os.pwrite(output.fileno(), data, int(offsets[index]))

    with output:
        nothing = np.zeros(len(plan.cids), np.bool_)
        download = Download(plan.cids, plan.sizes, nothing, keep, clock=SystemClock())
        carrier = HttpCarrier(address)
        began = time.perf_counter()
        download.add_source("peer", carrier, ~nothing)
        await download.run()
        took = time.perf_counter() - began
        await carrier.close()
    return took


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        server = BlockServer("127.0.0.1:0", FileSource(Path(sys.argv[2])), lambda ticket, cid: True)
        print(server.address, flush=True)
        sys.stdin.read()
        server.close()
        return
    for what, amount, unit in rows(int(sys.argv[1]) if sys.argv[1:] else 256):
        print(f"{what}: {amount:.0f} {unit}")


if __name__ == "__main__":
    main()
