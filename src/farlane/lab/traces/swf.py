"""The Standard Workload Format of the Parallel Workloads Archive: one job a line, 18 numbers, comments with `;`.

Source: https://www.cs.huji.ac.il/labs/parallel/workload/swf.html
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farlane.errors import InvalidInput
from farlane.lab.traces.text import number, opened
from farlane.scheduler.sim.world import Floats, Ints

FIELDS = 18
UNKNOWN = -1.0
"""Stands in any field for what is not known."""
UNKNOWN_RUN_S = 10.0
"""A run time that is not known; the tables of RLScheduler take this for it."""
_NAMES = (
    "job number", "submit time", "wait time", "run time", "allocated processors", "CPU time", "used memory",
    "requested processors", "requested time", "requested memory", "status", "user", "group", "executable", "queue",
    "partition", "preceding job", "think time",
)  # fmt: skip
NUMBER, SUBMIT, RUN, ALLOCATED, REQUESTED, REQUESTED_TIME, USER = 0, 1, 3, 4, 7, 8, 11


@dataclass(frozen=True, slots=True)
class SwfTrace:
    """Jobs of a batch system, in the order of their numbers; those that ran for 0 s are left out.

    submit_s, run_s, request_s: (j,) seconds, the last is the run time where none was asked for, and UNKNOWN where
    neither is known; processors: (j,) the larger of asked for and allocated; user: (j,) from 0; machine_processors,
    machine_nodes: of the machine.
    """

    submit_s: Floats
    run_s: Floats
    request_s: Floats
    processors: Ints
    user: Ints
    machine_processors: int
    machine_nodes: int

    def __len__(self) -> int:
        return len(self.submit_s)

    @property
    def nodes_needed(self) -> Ints:
        """(j,) whole nodes that each job takes: processors over those of a node, rounded up."""
        per_node = self.machine_processors // self.machine_nodes
        return -(-self.processors // per_node)


def read_swf(path: Path) -> SwfTrace:
    """Read a trace.

    Raises:
        NotFound: there is no such file.
        Corrupted: it cannot be unpacked.
        InvalidInput: a line that is none of the format; no job; a job larger than the machine.
    """
    header: dict[str, int] = {}
    rows: list[list[float]] = []
    with opened(path) as lines:
        for at, line in enumerate(lines, start=1):
            text = line.strip()
            if text.startswith(";"):
                _note(header, text)
            elif text:
                rows.append(_row(path, at, text))
    if not rows:
        raise InvalidInput(f"{path} has no job; expected the Standard Workload Format")
    return _trace(path, np.array(rows), header)


def _note(header: dict[str, int], text: str) -> None:
    name, _, value = text.lstrip("; ").partition(":")
    if name in ("MaxNodes", "MaxProcs") and value.strip().isdigit():
        header[name] = int(value)


def _row(path: Path, at: int, text: str) -> list[float]:
    fields = text.split()
    if len(fields) != FIELDS:
        raise InvalidInput(f"{path}, line {at}: {len(fields)} fields; expected {FIELDS} numbers")
    return [number(path, at, name, field) for name, field in zip(_NAMES, fields, strict=True)]


def _trace(path: Path, rows: Floats, header: dict[str, int]) -> SwfTrace:
    rows = rows[np.argsort(rows[:, NUMBER], kind="stable")]
    rows = rows[rows[:, RUN] != 0]
    run = np.where(rows[:, RUN] < 0, UNKNOWN_RUN_S, rows[:, RUN])
    processors = np.maximum(rows[:, ALLOCATED], rows[:, REQUESTED]).astype(np.int64)
    nodes = header.get("MaxNodes", 0) or header.get("MaxProcs", 0) or int(processors.max(initial=1))
    machine = header.get("MaxProcs", 0) or nodes
    if machine < nodes:
        raise InvalidInput(f"{path} says that {nodes} nodes have {machine} processors")
    if len(processors) and not 0 < processors.min() <= processors.max() <= machine:
        raise InvalidInput(
            f"{path} has a job of {processors.min()} or of {processors.max()} processors; expected 1 to the {machine} "
            "that its header says the machine has"
        )
    user = np.maximum(rows[:, USER], 0).astype(np.int64)
    request = np.where(rows[:, REQUESTED_TIME] == UNKNOWN, rows[:, RUN], rows[:, REQUESTED_TIME])
    return SwfTrace(
        rows[:, SUBMIT], run, request, processors, np.unique(user, return_inverse=True)[1], machine, nodes
    )
