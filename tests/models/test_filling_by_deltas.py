"""Filling files by deltas: right where they are right, and harmless whatever is in them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from farlane.errors import Corrupted, DiskFull
from farlane.models.adding import Added
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.blocks.port import FileAssembly
from farlane.models.catalog.values import DeltaRow
from farlane.models.cid import DAG_CBOR, RAW, Cid, block_cid
from farlane.models.delta import format as wire
from farlane.models.deltas import (
    block_list,
    fill,
)
from farlane.models.updates import new_bytes
from farlane.testing.delta_world import TOKENIZER, TUNED, DeltaWorld, delta_repository
from farlane.testing.tensor_files import Blocks


@pytest.fixture
def world(tmp_path: Path) -> DeltaWorld:
    folder = tmp_path / "mini"
    folder.mkdir()
    return DeltaWorld(folder)


def _without(kind: int) -> Callable[[Blocks, DeltaRow], None]:
    def spoil(blocks: Blocks, row: DeltaRow) -> None:
        for cid in [cid for cid in blocks if cid.codec == kind and cid != row.root]:
            del blocks[cid]

    return spoil


def _garbled(blocks: Blocks, row: DeltaRow) -> None:
    for cid in blocks:
        blocks[cid] = blocks[cid][::-1]


def _no_root(blocks: Blocks, row: DeltaRow) -> None:
    del blocks[row.root]


class TestFilling:
    @pytest.fixture
    def tuned(self, world: DeltaWorld) -> Added:
        (world.folder / "tokenizer.json").write_bytes(b'{"more": 1, ' + TOKENIZER[1:])
        return world.publish(TUNED)

    @pytest.fixture
    def row(self, world: DeltaWorld, tuned: Added) -> DeltaRow:
        made = world.delta(tuned)
        assert made is not None
        return made

    def test_a_version_is_made_from_the_one_before_it(
        self, world: DeltaWorld, tuned: Added, row: DeltaRow
    ) -> None:
        there = world.receiver()
        begun = world.begin(there, tuned)
        found = fill(there, tuned.manifest, world.first.manifest, row.root, world.blocks(row), begun)
        assert (found.missing, found.size_bytes) == (0, sum(new_bytes(
            world.here.blocks, tuned.manifest, world.first.manifest).values()))  # fmt: skip
        assert world.finish(there, tuned, begun) == 0

    @pytest.mark.parametrize("spoil", [_without(RAW), _without(DAG_CBOR), _garbled, _no_root])
    def test_what_is_wrong_is_fetched_as_blocks(
        self, world: DeltaWorld, tuned: Added, row: DeltaRow, spoil: Callable[[Blocks, DeltaRow], None]
    ) -> None:
        there, blocks = world.receiver(), world.blocks(row)
        spoil(blocks, row)
        begun = world.begin(there, tuned)
        found = fill(there, tuned.manifest, world.first.manifest, row.root, blocks, begun)
        assert found.missing == sum(len(one.missing()) for one in begun.values())
        assert world.finish(there, tuned, begun) > 0

    def test_without_the_base_it_is_of_little_use_and_no_harm(
        self, world: DeltaWorld, tuned: Added, row: DeltaRow
    ) -> None:
        there = delta_repository()
        begun = world.begin(there, tuned)
        found = fill(there, tuned.manifest, world.first.manifest, row.root, world.blocks(row), begun)
        assert found.missing > 0
        assert world.finish(there, tuned, begun) > 1_000_000

    def test_a_hostile_delta_writes_nothing_wrong(
        self, world: DeltaWorld, tuned: Added, row: DeltaRow
    ) -> None:
        there, chance = world.receiver(), random.Random(4)
        begun = world.begin(there, tuned)
        for _ in range(60):
            root, blocks = _mutated(world.blocks(row), row.root, chance)
            fill(there, tuned.manifest, world.first.manifest, root, blocks, begun, threads=1)
        world.finish(there, tuned, begun)

    def test_links_to_blocks_of_other_kinds_are_refused(self, world: DeltaWorld, row: DeltaRow) -> None:
        store = MemoryBlockStore()
        blocks = world.blocks(row)
        delta = wire.decode_delta(blocks[row.root])
        stranger = replace(delta.targets[0].parts[0], cid=Cid(1, RAW, world.first.version.manifest.digest))
        raw = wire.encode_delta(replace(delta, targets=(replace(delta.targets[0], parts=(stranger,)),)))
        store.put(root := block_cid(DAG_CBOR, raw), raw)
        with pytest.raises(Corrupted, match="another kind"):
            block_list(store, root)

    def test_a_full_disk_is_said(self, world: DeltaWorld, tuned: Added, row: DeltaRow) -> None:
        there = world.receiver()
        begun = {number: _Full(one) for number, one in world.begin(there, tuned).items()}
        with pytest.raises(DiskFull):
            fill(there, tuned.manifest, world.first.manifest, row.root, world.blocks(row), begun)


class _Full:
    """An assembly on a disk that has no room."""

    def __init__(self, inner: FileAssembly) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def write(self, index: int, data: object) -> None:
        raise DiskFull("no room")


def _mutated(blocks: Blocks, root: Cid, chance: random.Random) -> tuple[Cid, Blocks]:
    """Change some bytes of a part's instructions or of payload, with CIDs that fit, up to the root."""
    found = Blocks(blocks)
    delta = wire.decode_delta(blocks[root])
    targets = []
    for target in delta.targets:
        parts = []
        for one in target.parts:
            part = wire.decode_part(blocks[one.cid], one.makes_bytes, delta.bases)
            payload = tuple(_put(found, RAW, _changed(blocks[cid], chance)) for cid in part.payload)
            pieces = list(part.instructions)
            at = chance.randrange(len(pieces))
            pieces[at] = replace(
                pieces[at],
                offset=chance.randrange(3_000_000),
                operation=chance.choice(list(type(pieces[at].operation))),
            )
            raw = wire.encode_part(replace(part, payload=payload, instructions=tuple(pieces)))
            if chance.random() < 0.2:
                raw = _changed(raw, chance)
            parts.append(replace(one, cid=_put(found, DAG_CBOR, raw)))
        targets.append(replace(target, parts=tuple(parts)))
    return _put(found, DAG_CBOR, wire.encode_delta(replace(delta, targets=tuple(targets)))), found


def _put(blocks: Blocks, codec: int, data: bytes) -> Cid:
    blocks.put(cid := block_cid(codec, data), data)
    return cid


def _changed(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 5))):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)
