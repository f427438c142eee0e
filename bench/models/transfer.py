"""From node to node on loopback: a file's blocks, each verified, until the file is in the other node's store on disk.

Each contestant serves from one process and fetches in another, into an empty store each time. farlane's blocks travel
over plain HTTP, those of its hub over gRPC and TLS; kubo and iroh encrypt theirs.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import psutil

from bench.models.kubo import Daemon, Kubo, cpu_s
from bench.models.rounds import Contestants, Rounds, run_rounds

MIB = 1 << 20
GOALS = {"kubo, pinned by bitswap": 5.0, "kubo, `ipfs get`": 5.0, "iroh 0.35": 2.0}
"""How many times as fast farlane has to be."""
Figures = tuple[float, float]
"""MB a second, and CPU seconds for a GB on both sides together."""


def run(directory: Path, mib: int, rounds: int) -> list[Rounds]:
    """Return the figures of each contestant."""
    path = directory / "served"
    write_random(path, mib * MIB)
    with contestants(path, directory) as found:
        return run_rounds(found, rounds)


def write_random(path: Path, size_bytes: int, seed: int = 1) -> None:
    """Write what nothing can compress or share, whole MiB of it."""
    random = Random(seed)
    with path.open("wb") as file:
        for _ in range(size_bytes // MIB):
            file.write(random.randbytes(MIB))


@contextlib.contextmanager
def contestants(path: Path, directory: Path) -> Iterator[Contestants]:
    """Start those who serve; gives those who fetch."""
    size = path.stat().st_size
    number = itertools.count()

    def empty() -> Path:
        return directory / f"fetched-{next(number)}"

    def module(name: str, server: _Server, *more: Path) -> Figures:
        target = empty()
        found = _fetch(name, server, *more, target)
        shutil.rmtree(target)
        return _figures(size, *found)

    def kubo(daemon: Daemon, *command: str | Path) -> Figures:
        target = empty()
        found = _kubo(target, daemon, *command)
        shutil.rmtree(target)
        return _figures(size, *found)

    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(_serving(FARLANE, path, directory / "farlane"))
        hub = stack.enter_context(_serving(HUB, path, directory / "hub"))
        iroh = stack.enter_context(_serving(IROH, path, directory / "iroh"))
        repo = Kubo(directory / "kubo")
        root = repo.run("add", "--quieter", path).output
        daemon = stack.enter_context(repo.daemon())
        yield {
            "farlane": lambda: module(FARLANE, ours, path),
            "farlane, from a hub over gRPC and TLS": lambda: module(HUB, hub),
            "iroh 0.35": lambda: module(IROH, iroh),
            "kubo, pinned by bitswap": lambda: kubo(daemon, "pin", "add", root),
            "kubo, `ipfs get`": lambda: kubo(daemon, "get", "-o", directory / "out", root),
        }


FARLANE, HUB, IROH = (f"bench.models.transfer_{name}" for name in ("farlane", "hub", "iroh"))


class _Server(NamedTuple):
    address: str
    process: psutil.Process


@contextlib.contextmanager
def _serving(module: str, path: Path, directory: Path) -> Iterator[_Server]:
    command = [sys.executable, "-m", module, "serve", path, directory]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        try:
            address, pid = server.stdout.readline().split()
            yield _Server(address, psutil.Process(int(pid)))
        finally:
            server.stdin.close()


def _fetch(module: str, server: _Server, *arguments: Path) -> tuple[float, float]:
    """Return the seconds that a process needed to fetch, and the CPU seconds of both sides."""
    before_s = cpu_s(server.process)
    command = [sys.executable, "-m", module, "fetch", server.address, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise SystemExit(f"{module} failed:\n{done.stderr[-3000:]}")
    wall_s, client_s = map(float, done.stdout.split())
    return wall_s, client_s + cpu_s(server.process) - before_s


def _kubo(repo: Path, server: Daemon, *command: str | Path) -> tuple[float, float]:
    """Fetch into an empty repository of a daemon that is connected already."""
    kubo = Kubo(repo)
    with kubo.daemon() as here:
        kubo.run("swarm", "connect", server.address)
        before_s = cpu_s(server.process) + cpu_s(here.process)
        cost = kubo.run(*command)
        return cost.wall_s, cost.cpu_s + cpu_s(server.process) + cpu_s(here.process) - before_s


def _figures(size_bytes: int, wall_s: float, used_s: float) -> Figures:
    return size_bytes / 1e6 / wall_s, used_s / (size_bytes / 1e9)
