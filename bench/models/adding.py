"""What it costs to name a file and keep it, beside kubo and beside one pass of SHA-256 over the same file."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.models.kubo import Kubo
from bench.models.rounds import Contestants, Rounds, run_rounds
from bench.models.transfer import MIB, write_random
from farlane.kit.hashing import CHUNK_BYTES
from farlane.models.blocks.describing import describe_file
from farlane.models.blocks.disk import DiskBlockStore
from farlane.models.blocks.port import Placement
from farlane.models.unixfs.composite import composite_lengths
from farlane.models.unixfs.describing import Composite, Plain
from farlane.models.unixfs.file_dag import Leaves
from farlane.models.unixfs.layout import balanced
from farlane.models.unixfs.profiles import V1_2025

HEADER_BYTES = 9_123
"""Before the first tensor: it shifts all tensors against the cuts that `ipfs add` makes."""
TENSOR_BYTES = 4 * MIB
REFERENCE = "SHA-256 by hashlib"
CID_ALONE = "farlane: the CID of `ipfs add` alone"
STORED = "farlane: named and copied into the store, synced"
KUBO_STORED = "kubo: `ipfs add`, unixfs-v1-2025, not synced"
GOALS = {CID_ALONE: 0.95, STORED: 0.5}
"""The least share of the CPU rate of SHA-256."""


def run(directory: Path, mib: int, rounds: int) -> list[Rounds]:
    """Return MB per CPU-second and MB per second of each contestant."""
    path = directory / "added"
    write_random(path, mib * MIB)
    return run_rounds(contestants(path, directory), rounds)


def contestants(path: Path, directory: Path) -> Contestants:
    """Return who names and keeps the file, each time into an empty store."""
    size = path.stat().st_size
    tensors = [HEADER_BYTES, *[TENSOR_BYTES] * ((size - HEADER_BYTES) // TENSOR_BYTES)]
    tensors.append(size - sum(tensors))
    number = itertools.count()

    def empty() -> Path:
        return directory / f"store-{next(number)}"

    def ours(work: Callable[[], object]) -> Callable[[], tuple[float, float]]:
        return lambda: _rates(size, *_timed(work))

    def keep(placement: Placement) -> Callable[[], tuple[float, float]]:
        return lambda: _rates(size, *_keep(path, empty(), placement))

    def kubo(profile: str, *options: str) -> Callable[[], tuple[float, float]]:
        return lambda: _rates(size, *_kubo(empty(), profile, *options, path))

    return {
        REFERENCE: ours(lambda: _sha256(path)),
        CID_ALONE: ours(lambda: cid_alone(path)),
        "farlane: CID and SHA-256": ours(lambda: describe_file(path)),
        "farlane: CIDs by tensor and of `ipfs add`, and SHA-256": ours(
            lambda: describe_file(path, (Composite(tensors), Plain()))
        ),
        STORED: keep(Placement.COPY),
        "farlane: named and moved into the store, synced": keep(Placement.MOVE),
        "farlane: named and referred to where it lies": keep(Placement.REFERENCE),
        "kubo: `ipfs add --only-hash`, unixfs-v1-2025": kubo("unixfs-v1-2025", "--only-hash"),
        KUBO_STORED: kubo("unixfs-v1-2025"),
        "kubo: `ipfs add`, unixfs-v0-2015, not synced": kubo("unixfs-v0-2015"),
    }


def cid_alone(path: Path) -> str:
    """Return what `ipfs add` prints, without the SHA-256 of the whole that a manifest has as well."""
    lengths = composite_lengths([path.stat().st_size])
    digests = bytearray()
    buffer = memoryview(bytearray(V1_2025.chunk_bytes))
    with path.open("rb", buffering=0) as file:
        for length in np.asarray(lengths).tolist():
            file.readinto(buffer[:length])
            digests += hashlib.sha256(buffer[:length]).digest()
    return balanced(Leaves(bytes(digests), lengths), V1_2025).root.text


def _sha256(path: Path) -> bytes:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(CHUNK_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.digest()


def _keep(path: Path, directory: Path, placement: Placement) -> tuple[float, float]:
    source = path
    if placement is Placement.MOVE:
        source = path.with_name("to-move")
        shutil.copyfile(path, source)
    store = DiskBlockStore(directory)
    took = _timed(lambda: store.add_file(source, describe_file(source), placement))
    store.close()
    shutil.rmtree(directory)
    return took


def _kubo(directory: Path, profile: str, *arguments: str | Path) -> tuple[float, float]:
    cost = Kubo(directory, profile).run("add", "--offline", "--quieter", "--pin=false", *arguments)
    shutil.rmtree(directory)
    return cost.cpu_s, cost.wall_s


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu_s, time.perf_counter() - wall_s


def _rates(size_bytes: int, cpu_s: float, wall_s: float) -> tuple[float, float]:
    return size_bytes / 1e6 / cpu_s, size_bytes / 1e6 / wall_s
