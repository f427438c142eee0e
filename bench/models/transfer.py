"""From node to node on loopback: a file's blocks, each verified, until the file is in the other node's store on disk.

Each contestant serves from one process and fetches in another, into an empty store each time. farlane's blocks travel
over plain HTTP; kubo and iroh encrypt theirs.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

from bench.models.kubo import Kubo
from bench.models.rounds import Contestants, Rounds, run_rounds

MIB = 1 << 20
GOALS = {"kubo, pinned by bitswap": 5.0, "iroh 0.35": 2.0}
"""How many times as fast farlane has to be."""


def run(directory: Path, mib: int, rounds: int) -> Rounds:
    """Return MB/s of each contestant."""
    path = directory / "served"
    write_random(path, mib * MIB)
    with contestants(path, directory) as found:
        return run_rounds(found, rounds)[0]


def write_random(path: Path, size_bytes: int, seed: int = 1) -> None:
    """Write what nothing can compress or share, whole MiB of it."""
    random = Random(seed)
    with path.open("wb") as file:
        for _ in range(size_bytes // MIB):
            file.write(random.randbytes(MIB))


@contextlib.contextmanager
def contestants(path: Path, directory: Path) -> Iterator[Contestants]:
    """Start those who serve; gives those who fetch."""
    megabytes = path.stat().st_size / 1e6
    number = itertools.count()

    def empty() -> Path:
        return directory / f"fetched-{next(number)}"

    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(_serving("bench.models.transfer_farlane", path, directory / "farlane"))
        iroh = stack.enter_context(_serving("bench.models.transfer_iroh", path, directory / "iroh"))
        kubo = Kubo(directory / "kubo")
        root = kubo.run("add", "--quieter", path).output
        address = stack.enter_context(kubo.daemon())
        yield {
            "farlane": lambda: (megabytes / _fetch("bench.models.transfer_farlane", ours, path, empty()),),
            "iroh 0.35": lambda: (megabytes / _fetch("bench.models.transfer_iroh", iroh, empty()),),
            "kubo, pinned by bitswap": lambda: (megabytes / _kubo_s(empty(), address, "pin", "add", root),),
            "kubo, `ipfs get`": lambda: (megabytes / _kubo_s(empty(), address, "get", "-o", directory / "out", root),),
        }  # fmt: skip


@contextlib.contextmanager
def _serving(module: str, path: Path, directory: Path) -> Iterator[str]:
    command = [sys.executable, "-m", module, "serve", path, directory]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.stdin.close()


def _fetch(module: str, *arguments: str | Path) -> float:
    command = [sys.executable, "-m", module, "fetch", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise SystemExit(f"{module} failed:\n{done.stderr[-3000:]}")
    return float(done.stdout)


def _kubo_s(repo: Path, address: str, *command: str | Path) -> float:
    """Fetch into an empty repository of a daemon that is connected already."""
    kubo = Kubo(repo)
    with kubo.daemon():
        kubo.run("swarm", "connect", address)
        return kubo.run(*command).wall_s
