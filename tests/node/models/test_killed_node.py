"""A real node process that is killed while it fetches a version: the next one fetches the rest alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random

from farlane.domain.deployments import Deployment, ScalePolicy
from farlane.domain.resources import Resources
from farlane.kit.hashing import DIGEST_BYTES
from farlane.models.catalog.values import Version
from farlane.testing.running_hub import RunningHub
from farlane.testing.waiting import until

Publish = Callable[..., Version]
MIB = 1 << 20
BLOCKS = 60


class NodeProcess:
    """A node of the hub in a directory, as `farlane join` runs it."""

    def __init__(self, hub: RunningHub, directory: Path) -> None:
        self._hub, self._directory = hub, directory
        self.log_path = directory / "log"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run it inside the block, and kill it at the end."""
        self._directory.mkdir(exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FARLANE_")}
        given = {
            "FARLANE_JOIN_TOKEN": self._hub.token("node", "", "lab").text(),
            "FARLANE_NODE_DIRECTORY": str(self._directory / "node"),
            "FARLANE_NODE_MEMORY": "512MB", "FARLANE_NODE_DISK": "64MiB", "FARLANE_NODE_CACHE": "32MiB",
        }  # fmt: skip
        with self.log_path.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "farlane.app.node_process",
                "--dir", str(self._directory), "--url", self._hub.url, env=kept | given, stderr=log,
            )  # fmt: skip
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def written(self) -> int:
        """Return how many blocks lie in files that are not whole."""
        bits = (path.read_bytes()[DIGEST_BYTES:] for path in self._partial().glob("*.done"))
        return sum(int.from_bytes(one).bit_count() for one in bits)

    def fetched(self) -> list[tuple[int, int]]:
        """Return what the log says of fetches that ended: bytes of all blocks, and of those from the hub."""
        found = re.findall(r"is here: (\d+) of \d+ bytes .* (\d+) from the hub", self.log_path.read_text())
        return [(int(total), int(hub)) for total, hub in found]

    def _partial(self) -> Path:
        return self._directory / "node" / "models" / "blocks" / "partial"


async def test_a_node_that_was_killed_fetches_only_the_rest(
    hub: RunningHub, publish: Publish, tmp_path: Path
) -> None:
    # Small files are cut every MiB.
    version = publish({f"part-{number}": Random(number).randbytes(3 * MIB) for number in range(BLOCKS // 3)})
    assert hub.service.deployments is not None
    served = Deployment(
        name="mini", model=f"{version.name}@v{version.number}", organisation="lab", publisher="lab/ada",
        resources=Resources(100, 256 << 20, 0), scale=ScalePolicy(), runtime="onnx",
    )  # fmt: skip
    hub.service.deployments.set(served)
    node = NodeProcess(hub, tmp_path / "killed")
    async with node.running() as process:
        await until(lambda: node.written() >= BLOCKS // 8)
        process.kill()
        await process.wait()
    here = node.written()
    assert BLOCKS // 8 <= here < BLOCKS
    async with node.running():
        await until(lambda: bool(node.fetched()))
    ((total, from_hub),) = node.fetched()
    assert total == BLOCKS * MIB
    assert from_hub == (BLOCKS - here) * MIB
