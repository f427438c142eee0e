"""Which logs and lists a directory of traces has, by the names that tables call them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from farlane.errors import NotFound
from farlane.lab.traces.openb import OpenbNodes, OpenbPods, read_nodes, read_pods
from farlane.lab.traces.swf import SwfTrace, read_swf
from farlane.lab.traces.text import unpacked

LOG_NAMES = {
    "lublin_256": "Lublin-1", "SDSC-SP2-1998-4.2-cln": "SDSC-SP2", "HPC2N-2002-2.2-cln": "HPC2N",
    "lublin_256_new2": "Lublin-2",
}  # fmt: skip
"""Logs of published tables by their files; others go by the name of their file."""
NODES_FILE = "openb_node_list_gpu_node.csv"
_LIST = "openb_pod_list_"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a trace: what tables call it, and where it is."""

    name: str
    path: Path


def find_logs(directory: Path) -> tuple[Found, ...]:
    """Return the SWF logs in a directory or its `swf/`: those of published tables first, in their order."""
    known = list(LOG_NAMES)
    found = _files(directory, "swf", ".swf")
    order = {stem: at for at, stem in enumerate(known)}
    ranked = sorted(found, key=lambda stem: (order.get(stem, len(known)), stem))
    return tuple(Found(LOG_NAMES.get(stem, stem), found[stem]) for stem in ranked)


def find_lists(directory: Path) -> tuple[Found, ...]:
    """Return the lists of tasks of Alibaba's openb in a directory or its `openb/`: `default` first."""
    found = _files(directory, "openb", ".csv")
    names = {stem.removeprefix(_LIST): path for stem, path in found.items() if stem.startswith(_LIST)}
    return tuple(
        Found(name, names[name]) for name in sorted(names, key=lambda name: (name != "default", name))
    )


def find_nodes(directory: Path) -> Path:
    """Return the list of openb's nodes.

    Raises:
        NotFound: there is none.
    """
    stem = NODES_FILE.removesuffix(".csv")
    found = _files(directory, "openb", ".csv")
    if stem not in found:
        raise NotFound(
            f"no {NODES_FILE} in {directory} or its openb/; "
            "fetch it: `farlane scheduler traces fetch openb-gpu-node --accept-terms`"
        )
    return found[stem]


def check_directory(directory: Path) -> None:
    """Raise NotFound where a directory of traces is missing or has none."""
    if not directory.is_dir():
        raise NotFound(
            f"no directory {directory}; expected one of traces: `farlane scheduler traces fetch` makes it"
        )
    if not find_logs(directory) and not find_lists(directory):
        raise NotFound(
            f"{directory} has neither logs (swf/*.swf, plain or gzip) nor lists of tasks (openb/{_LIST}*.csv); "
            "fetch some: `farlane scheduler traces fetch --all`"
        )


def digests(path: Path) -> set[str]:
    """Return the SHA-256 of a file as it lies there and of the text that is in it, in hex."""
    text = hashlib.sha256()
    with unpacked(path) as stream:
        while chunk := stream.read(_CHUNK):
            text.update(chunk)
    return {hashlib.sha256(path.read_bytes()).hexdigest(), text.hexdigest()}


@lru_cache(maxsize=8)
def log_at(path: Path) -> SwfTrace:
    """Read a log, and keep it for the next call."""
    return read_swf(path)


@lru_cache(maxsize=4)
def nodes_at(path: Path) -> OpenbNodes:
    """Read a list of nodes, and keep it for the next call."""
    return read_nodes(path)


@lru_cache(maxsize=8)
def pods_at(path: Path, models: tuple[str, ...]) -> OpenbPods:
    """Read a list of tasks, and keep it for the next call."""
    return read_pods(path, models)


def _files(directory: Path, below: str, suffix: str) -> dict[str, Path]:
    """Return files by their name without suffixes; plain ones before gzip, `below` before the directory itself."""
    found: dict[str, Path] = {}
    for place in (directory / below, directory):
        for ending in (suffix, f"{suffix}.gz"):
            for path in sorted(place.glob(f"*{ending}")):
                found.setdefault(path.name.removesuffix(ending), path)
    return found
