"""Columns: a view written into a block of shared memory and read from it, without a copy of what did not change.

A block begins with a header of 64-bit words: magic, format, sequence number, the view's counts (`Counts`) and its time.
The sequence number is odd while the block is written, and another one after each view: whoever reads checks it before
and after, and has read one view whole when it is the even number it was told.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farlane.domain.ids import JobId, NodeId
from farlane.domain.resources import GpuKind
from farlane.errors import Corrupted
from farlane.hub.deciding.blocks import Block
from farlane.hub.deciding.layout import (
    FORMAT,
    GROUP_ROW,
    HEADER_WORDS,
    LARGEST,
    MAGIC,
    NODE_COLUMNS,
    Counts,
    Section,
    layout,
)
from farlane.scheduler.view import Bools, Group, History, Ints, NodeColumns, RunningColumns, View

_SEQUENCE, _COUNTS, _NOW = 2, 3, 3 + len(Counts._fields)

_NO_HISTORY = (math.nan,) * len(History._fields)


class Rows:
    """Arrays by row, each once: groups of like tasks share their masks."""

    def __init__(self) -> None:
        self.rows: list[Ints | Bools] = []
        self._known: dict[int, int] = {}

    def put(self, array: Ints | Bools | None) -> int:
        """Return the row of a column, or of the first of several; -1 for None."""
        if array is None:
            return -1
        known = self._known.get(id(array))
        if known is None:
            known = self._known[id(array)] = len(self.rows)
            self.rows.extend(array if array.ndim == 2 else (array,))
        return known


class SnapshotWriter:
    """Writes views into one block, one after the other."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._counts: Counts | None = None
        self._roster: tuple[tuple[NodeId, ...], tuple[GpuKind, ...], bytes] = ((), (), b"")
        self.rewritten = 0
        """Columns of nodes that the last view changed."""

    def write(self, view: View, sequence: int) -> int:
        """Write a view; returns how many bytes of the block it fills. `sequence`: even, greater than the last."""
        masks, amounts = Rows(), Rows()
        groups = _group_rows(view, masks, amounts)
        roster = self._names(view.nodes)
        counts = Counts(
            len(view.nodes.ids), len(view.nodes.gpu_kinds), len(roster), len(view.running.node), len(view.groups),
            sum(len(group.demands) for group in view.groups), len(masks.rows), len(amounts.rows),
            sum(len(group.uses) for group in view.groups), len(view.limits),
        )  # fmt: skip
        sections, size = layout(counts)
        self._block.reserve(size)
        buffer = self._block.buffer
        header = np.ndarray((HEADER_WORDS,), np.int64, buffer)
        header[_SEQUENCE] = sequence - 1
        header[:_SEQUENCE] = MAGIC, FORMAT
        header[_COUNTS : _COUNTS + len(counts)] = counts
        header.view(np.float64)[_NOW] = view.now
        self._nodes(buffer, sections, view.nodes, counts, roster)
        _write_rest(buffer, sections, view, groups, masks, amounts)
        header[_SEQUENCE] = sequence
        return size

    def _nodes(
        self,
        buffer: memoryview,
        sections: dict[str, Section],
        nodes: NodeColumns,
        counts: Counts,
        roster: bytes,
    ) -> None:
        same = self._counts is not None and self._counts[:3] == counts[:3]
        self.rewritten = 0
        for name, _, _ in NODE_COLUMNS:
            column, there = getattr(nodes, name), sections[name].of(buffer)
            if not same or not np.array_equal(column, there):
                there[...] = column
                self.rewritten += 1
        there = sections["roster"].of(buffer)
        if not same or there.tobytes() != roster:
            there[...] = np.frombuffer(roster, np.uint8)
        self._counts = counts

    def _names(self, nodes: NodeColumns) -> bytes:
        ids, kinds, text = self._roster
        if ids != nodes.ids or kinds != nodes.gpu_kinds:
            named = [[kind.model, kind.vram_bytes] for kind in nodes.gpu_kinds]
            text = json.dumps([nodes.ids, named]).encode()
            self._roster = nodes.ids, nodes.gpu_kinds, text
        return text


class SnapshotReader:
    """Reads views out of one block; their arrays lie upon it and hold until the next view is written there."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._roster: tuple[bytes, tuple[NodeId, ...], tuple[GpuKind, ...]] = (b"", (), ())

    def read(self, sequence: int, size: int) -> View:
        """Return the view of a sequence number.

        Raises:
            Corrupted: the block holds another view, or none.
        """
        self._block.see(size)
        buffer = self._block.buffer
        header = np.ndarray((HEADER_WORDS,), np.int64, buffer)
        if tuple(header[:_SEQUENCE].tolist()) != (MAGIC, FORMAT):
            raise Corrupted(
                "the block holds no view of this version; hub and worker must be of one installation"
            )
        self.check(sequence)
        counts = Counts(*header[_COUNTS : _COUNTS + len(Counts._fields)].tolist())
        sections, wanted = layout(counts)
        if wanted > size:
            raise Corrupted(f"the view needs {wanted} bytes of a block of {size}")
        found = {name: section.of(buffer) for name, section in sections.items()}
        nodes, kinds = self._names(found["roster"].tobytes())
        columns = {name: found[name] for name, _, _ in NODE_COLUMNS}
        running = RunningColumns(found["running_node"], found["running_demand"], found["running_ends_at"])
        now = float(header.view(np.float64)[_NOW])
        limits = tuple(found["limits"].tolist())
        return View(now, NodeColumns(nodes, kinds, **columns), running, _groups(found), limits)

    def check(self, sequence: int) -> None:
        """Make sure that the block still holds this view.

        Raises:
            Corrupted: it was written meanwhile.
        """
        there = int(np.ndarray((HEADER_WORDS,), np.int64, self._block.buffer)[_SEQUENCE])
        if there != sequence:
            raise Corrupted(f"the block holds view {there}, not {sequence}")

    def _names(self, text: bytes) -> tuple[tuple[NodeId, ...], tuple[GpuKind, ...]]:
        if text != self._roster[0]:
            ids, kinds = json.loads(text)
            named = tuple(GpuKind(model, vram) for model, vram in kinds)
            self._roster = text, tuple(map(NodeId, ids)), named
        return self._roster[1:]


def _group_rows(view: View, masks: Rows, amounts: Rows) -> list[tuple[float, ...]]:
    rows: list[tuple[float, ...]] = []
    demands = uses = 0
    for group in view.groups:
        rows.append(
            (
                group.key, group.job, group.count, group.priority, min(group.affordable, LARGEST), group.since,
                _or_nan(group.deadline_at), _or_nan(group.run_time_s), group.timeout_s,
                demands, len(group.demands), uses, len(group.uses),
                masks.put(group.eligible), masks.put(group.avoid), masks.put(group.allowed),
                amounts.put(group.missing), amounts.put(group.alike), 0, *(group.history or _NO_HISTORY),
            )
        )  # fmt: skip
        demands += len(group.demands)
        uses += len(group.uses)
    return rows


def _write_rest(
    buffer: memoryview, sections: dict[str, Section], view: View, groups: list[tuple[float, ...]], masks: Rows,
    amounts: Rows,
) -> None:  # fmt: skip
    def put(name: str, values: object) -> None:
        there = sections[name].of(buffer)
        if there.size:
            there[...] = values

    put("running_node", view.running.node)
    put("running_demand", view.running.demand)
    put("running_ends_at", view.running.ends_at)
    put("groups", np.array(groups, GROUP_ROW) if groups else ())
    put("demands", np.concatenate([group.demands for group in view.groups]) if groups else ())
    put("masks", masks.rows)
    put("amounts", amounts.rows)
    put("uses", [(at, min(amount, LARGEST)) for group in view.groups for at, amount in group.uses])
    put("limits", [min(left, LARGEST) for left in view.limits])


def _groups(found: Mapping[str, NDArray[Any]]) -> tuple[Group, ...]:
    demands, masks, amounts = found["demands"], found["masks"], found["amounts"]
    uses: list[list[int]] = found["uses"].tolist()
    return tuple(_group(row, demands, masks, amounts, uses) for row in found["groups"].tolist())


def _group(row: Sequence[float], demands: Ints, masks: Bools, amounts: Ints, uses: list[list[int]]) -> Group:
    key, job, count, priority, affordable = map(int, row[:5])
    since, deadline_at, run_time_s, timeout_s = row[5:9]
    history = row[19 : 19 + len(History._fields)]
    first, alternatives, use, used, eligible, avoid, allowed, missing, alike = map(int, row[9:18])
    return Group(
        key, JobId(job), count, demands[first : first + alternatives], masks[eligible],
        None if avoid < 0 else masks[avoid], priority, since,
        None if math.isnan(deadline_at) else deadline_at, None if math.isnan(run_time_s) else run_time_s, timeout_s,
        affordable, None if allowed < 0 else masks[allowed : allowed + alternatives],
        tuple((at, amount) for at, amount in uses[use : use + used]),
        None if missing < 0 else amounts[missing], None if alike < 0 else amounts[alike],
        None if math.isnan(history[0]) else History(*history),
    )  # fmt: skip


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
