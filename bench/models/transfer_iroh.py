"""iroh's side of the transfer: one node that provides a blob, and one that downloads it into its store on disk.

python -m bench.models.transfer_iroh serve FILE DIRECTORY
python -m bench.models.transfer_iroh fetch TICKET DIRECTORY
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import iroh


class Progress:
    """Hears how an operation ends."""

    def __init__(self) -> None:
        self.hash: Any = None

    async def progress(self, progress: Any) -> None:
        """Take one event."""
        if progress.type().name == "ABORT":
            raise SystemExit(f"iroh gave up: {progress.as_abort().error}")
        if progress.type().name == "ALL_DONE" and hasattr(progress.as_all_done(), "hash"):
            self.hash = progress.as_all_done().hash


async def node(directory: Path) -> Any:
    """Return a node on loopback that looks nobody up."""
    iroh.iroh_ffi.uniffi_set_event_loop(asyncio.get_running_loop())
    options = iroh.NodeOptions(ipv4_addr="127.0.0.1:0", node_discovery=iroh.NodeDiscoveryConfig.NONE)
    return await iroh.Iroh.persistent_with_options(str(directory), options)


async def serve(path: Path, directory: Path) -> None:
    """Provide a file until standard input ends."""
    here, heard = await node(directory), Progress()
    await here.blobs().add_from_path(
        str(path), True, iroh.SetTagOption.auto(), iroh.WrapOption.no_wrap(), heard
    )
    ticket = await here.blobs().share(heard.hash, iroh.BlobFormat.RAW, iroh.AddrInfoOptions.ADDRESSES)
    print(ticket, os.getpid(), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await here.node().shutdown()


async def fetch(text: str, directory: Path) -> tuple[float, float]:
    """Return the seconds, and those of this process's CPU, until a blob is in the store."""
    here, ticket = await node(directory), iroh.BlobTicket(text)
    began, cpu_s = time.perf_counter(), time.process_time()
    await here.blobs().download(ticket.hash(), ticket.as_download_options(), Progress())
    took = time.perf_counter() - began, time.process_time() - cpu_s
    if not await here.blobs().has(ticket.hash()):
        raise SystemExit("iroh did not download the blob")
    await here.node().shutdown()
    return took


def main() -> None:
    if sys.argv[1] == "serve":
        asyncio.run(serve(Path(sys.argv[2]), Path(sys.argv[3])))
    else:
        print(*asyncio.run(fetch(sys.argv[2], Path(sys.argv[3]))))


if __name__ == "__main__":
    main()
