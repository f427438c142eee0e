"""Columns: every view comes out of the block as it went in, and only what changed in its nodes is written."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farlane.errors import Corrupted
from farlane.hub.deciding.blocks import Block
from farlane.hub.deciding.columns import SnapshotReader, SnapshotWriter
from farlane.hub.deciding.layout import HEADER_WORDS, LARGEST, NODE_COLUMNS
from farlane.scheduler.policy import POLICIES
from farlane.scheduler.view import Group, History, NodeColumns, RunningColumns, View


def same(one: object, other: object) -> bool:
    """Compare values that hold arrays."""
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, (View, Group, NodeColumns, RunningColumns)):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, tuple) and one and isinstance(one[0], Group):
        return len(one) == len(other) and all(map(same, one, other))  # type: ignore[arg-type]
    return one == other


class Pair:
    """A block with somebody who writes it and somebody who reads it."""

    def __init__(self) -> None:
        self.block = Block.new()
        self.writer = SnapshotWriter(self.block)
        self.reader = SnapshotReader(self.block)
        self.sequence = 0

    def through(self, view: View) -> View:
        self.sequence += 2
        size = self.writer.write(view, self.sequence)
        return self.reader.read(self.sequence, size)


@pytest.fixture
def pair():
    made = Pair()
    yield made
    made.block.close()


def test_views_come_out_as_they_went_in(views) -> None:
    pair = Pair()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(views(), st.data())
    def check(view: View, data: st.DataObject) -> None:
        n = len(view.nodes.ids)
        missing = np.arange(n, dtype=np.int64) * 7
        extra = {"uses": ((0, 3), (1, 1 << 70)), "missing": missing, "alike": missing + 1}
        extra["history"] = History(*range(10))
        groups = tuple(
            replace(group, **extra) if data.draw(st.booleans()) else group for group in view.groups
        )
        view = replace(view, groups=groups, limits=(5, 1 << 80))
        found = pair.through(view)
        cut = tuple(
            replace(group, uses=tuple((at, min(most, LARGEST)) for at, most in group.uses))
            for group in groups
        )
        assert same(replace(view, groups=cut, limits=(5, LARGEST)), found)
        for policy in POLICIES.values():
            assert policy.decide(found) == policy.decide(view)

    check()
    pair.block.close()


def test_columns_of_nodes_are_written_only_where_they_changed(pair: Pair, build) -> None:
    nodes = build.nodes((4, 8), (8, 16))
    pair.through(build.view(nodes, build.group(nodes)))
    assert pair.writer.rewritten == len(NODE_COLUMNS)
    pair.through(build.view(nodes, build.group(nodes, count=9)))
    assert pair.writer.rewritten == 0
    view = build.view(nodes, running=((1, (1,), 5.0),))
    assert same(pair.through(view), view)
    assert pair.writer.rewritten == 1


def test_shared_masks_travel_once(pair: Pair, build) -> None:
    nodes = build.nodes(*[(4, 8)] * 100)
    one = build.group(nodes)
    alike = tuple(replace(one, key=key) for key in range(50))
    found = pair.through(View(1.0, nodes, build.view(nodes).running, alike))
    assert len({group.eligible.ctypes.data for group in found.groups}) == 1


def test_the_block_grows_with_the_view_and_the_reader_follows(pair: Pair, build) -> None:
    small = build.nodes((4, 8))
    first = pair.through(build.view(small))
    nodes = build.nodes(*[(4, 8)] * 5000)
    large = build.view(nodes, *(build.group(nodes, key) for key in range(30)))
    assert same(pair.through(large), large)
    assert first.nodes.ids == small.ids
    assert same(pair.through(build.view(small)), build.view(small))


def test_a_reader_can_write_nothing_and_sees_no_half_view(pair: Pair, build) -> None:
    nodes = build.nodes((4, 8))
    size = pair.writer.write(build.view(nodes), 2)
    with pytest.raises(Corrupted, match="holds view 2, not 4"):
        pair.reader.read(4, size)
    header = np.ndarray((HEADER_WORDS,), np.int64, pair.block.buffer)
    header[2] = 3  # as while the next one is written
    with pytest.raises(Corrupted):
        pair.reader.read(2, size)
    header[0] = 1
    with pytest.raises(Corrupted, match="of this version"):
        pair.reader.read(2, size)


def test_every_column_of_nodes_travels() -> None:
    assert [name for name, _, _ in NODE_COLUMNS] == [field.name for field in fields(NodeColumns)][2:]
