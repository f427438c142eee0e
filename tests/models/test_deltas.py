"""farlane.models.deltas: made where they save, kept beside their versions, and harmless whatever is in them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from farlane.errors import Corrupted, DiskFull, InvalidInput, NotFound
from farlane.models.adding import Added, Description, add
from farlane.models.blocks.collection import collect
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.blocks.port import FileAssembly
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.catalog.values import DeltaRow
from farlane.models.cid import DAG_CBOR, RAW, Cid, block_cid
from farlane.models.delta import format as wire
from farlane.models.deltas import (
    block_list,
    blocks_so_far,
    deltas_for,
    fill,
    forget_damaged,
    keep,
    make_for,
    readable_blocks,
)
from farlane.models.exporting import pull
from farlane.models.manifest.values import Encryption
from farlane.models.repository import Repository
from farlane.models.transfer.outline import Lacking, outline
from farlane.models.unixfs.file_dag import FileDag
from farlane.models.updates import new_bytes
from farlane.testing.tensor_files import Blocks, Tensors, moved, weights

BASE: Tensors = {
    "embed": weights(1500, seed=1),
    "layer.q": weights(600, seed=2),
    "layer.k": weights(600, seed=3),
    "head": weights(1000, seed=5),
}
TUNED = BASE | {"layer.q": moved(BASE["layer.q"]), "head": moved(BASE["head"])}
TOKENIZER = b'{"vocab": [%s]}' % b", ".join(b'"%d"' % number for number in range(200_000))


def repository(max_bytes: int | None = None) -> Repository:
    return Repository(MemoryBlockStore(max_bytes=max_bytes), Catalog(MemoryRows()))


class World:
    """A repository with two versions of a model, and the delta between them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.here = folder, repository()
        self.first = self.publish(BASE)

    def publish(self, tensors: Tensors, name: str = "mini") -> Added:
        save_file(dict(tensors), self.folder / "model.safetensors")
        return add(self.here, self.folder, name)

    def delta(self, newer: Added, older: Added | None = None) -> DeltaRow | None:
        base = older or self.first
        return make_for(self.here, newer.version, newer.manifest, base.version, base.manifest, threads=2)

    def blocks(self, delta: DeltaRow) -> Blocks:
        """Return a copy of a delta's blocks."""
        return Blocks({cid: self.here.blocks.get(cid) for cid in block_list(self.here.blocks, delta.root)})

    def receiver(self) -> Repository:
        """Return a repository that has the first version alone."""
        there = repository()
        pull(there, self.here, "mini@v1")
        return there

    def dag(self, cid: Cid, size_bytes: int) -> FileDag:
        found = outline(cid, size_bytes, self.here.blocks.get)
        assert not isinstance(found, Lacking)
        return found

    def begin(self, there: Repository, newer: Added) -> dict[int, FileAssembly]:
        """Begin all files of a version, filled with what is there."""
        begun = {}
        for number, file in enumerate(newer.manifest.files):
            assembly = there.blocks.begin_file([self.dag(file.cid, file.size)], file.sha256.hex())
            assembly.copy_local()
            begun[number] = assembly
        return begun

    def finish(self, there: Repository, newer: Added, begun: dict[int, FileAssembly]) -> int:
        """Fetch what is missing as blocks, check every file, and return how many bytes that took."""
        fetched = 0
        for number, assembly in begun.items():
            for leaf in assembly.missing():
                data = self.here.blocks.get(assembly.leaves.cid(leaf))
                assembly.write(leaf, data)
                fetched += len(data)
            file = newer.manifest.files[number]
            assembly.commit()
            assert there.file_path(file).read_bytes() == self.here.file_path(file).read_bytes()
        return fetched


@pytest.fixture
def world(tmp_path: Path) -> World:
    folder = tmp_path / "mini"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(TOKENIZER)
    (folder / "README.md").write_text("# Mini\n")
    return World(folder)


class TestMaking:
    def test_a_fine_tuned_version_costs_a_fraction_of_its_new_blocks(self, world: World) -> None:
        tuned = world.publish(TUNED)
        row = world.delta(tuned)
        assert row is not None
        by_blocks = sum(new_bytes(world.here.blocks, tuned.manifest, world.first.manifest).values())
        assert 800_000 < by_blocks < 900_000
        assert row.size_bytes < 0.5 * by_blocks
        assert row.size_bytes == world.blocks(row).size_bytes
        assert deltas_for(world.here, tuned.version.manifest) == (row,)

    def test_a_plain_file_is_compared_with_its_own_path(self, world: World) -> None:
        (world.folder / "tokenizer.json").write_bytes(b'{"more": 1, ' + TOKENIZER[1:])
        tuned = world.publish(TUNED)
        row = world.delta(tuned)
        assert row is not None
        assert len(wire.decode_delta(world.here.blocks.get(row.root)).targets) == 2
        assert row.size_bytes < 400_000

    def test_a_renamed_file_is_compared_with_the_one_that_is_gone(self, world: World) -> None:
        (world.folder / "tokenizer.json").rename(world.folder / "vocabulary.json")
        (world.folder / "vocabulary.json").write_bytes(b'{"more": 1, ' + TOKENIZER[1:])
        changed = world.publish(BASE)
        row = world.delta(changed)
        assert row is not None
        assert row.size_bytes < 10_000

    def test_tensors_are_found_in_other_files_of_the_base(self, world: World) -> None:
        (world.folder / "model.safetensors").unlink()
        save_file({name: TUNED[name] for name in ("embed", "head")}, world.folder / "a.safetensors")
        save_file({name: TUNED[name] for name in ("layer.q", "layer.k")}, world.folder / "b.safetensors")
        sharded = add(world.here, world.folder, "mini")
        row = world.delta(sharded)
        assert row is not None
        assert row.size_bytes < 400_000

    def test_progress_counts_the_bytes_that_are_done(self, world: World) -> None:
        tuned, seen = world.publish(TUNED), []
        make_for(
            world.here, tuned.version, tuned.manifest, world.first.version, world.first.manifest,
            on_progress=seen.append,
        )  # fmt: skip
        weights_file = tuned.manifest.file("model.safetensors")
        assert weights_file is not None
        assert seen[-1].done_bytes == seen[-1].total_bytes == weights_file.size

    @pytest.mark.parametrize(
        "newer",
        [
            pytest.param(BASE, id="the same"),
            pytest.param(BASE | {"bias": weights(10)}, id="little that is new"),
            pytest.param(
                BASE | {"noise": np.random.default_rng(1).integers(0, 256, (1000, 1000), np.uint8)},
                id="noise",
            ),
        ],
    )
    def test_no_delta_is_made_that_saves_little(self, world: World, newer: Tensors) -> None:
        added = world.publish(newer)
        assert world.delta(added) is None
        assert deltas_for(world.here, added.version.manifest) == ()

    def test_private_versions_have_none(self, world: World) -> None:
        tuned = world.publish(TUNED)
        private = replace(
            tuned, manifest=replace(tuned.manifest, encryption=Encryption(algorithm="x", recipients=()))
        )
        assert world.delta(private) is None
        assert world.delta(tuned, replace(world.first, manifest=private.manifest)) is None


class TestKeeping:
    def test_a_delta_is_collected_with_either_of_its_versions(self, world: World) -> None:
        row = world.delta(world.publish(TUNED))
        assert row is not None
        blocks, roots = block_list(world.here.blocks, row.root), world.here.catalog.roots
        collect(world.here.blocks, roots, spare_s=-1)
        assert all(world.here.blocks.has(cid) for cid in blocks)
        world.here.catalog.remove("mini@v1")
        collect(world.here.blocks, roots, spare_s=-1)
        assert not any(world.here.blocks.has(cid) for cid in blocks)

    def test_a_fetched_delta_is_kept_when_all_of_it_is_there(self, world: World) -> None:
        tuned, there = world.publish(TUNED), world.receiver()
        pull(there, world.here, "mini@v2")
        row = world.delta(tuned)
        assert row is not None
        blocks = world.blocks(row)
        *most, last = blocks
        there.blocks.put_many((cid, blocks[cid]) for cid in most)
        with pytest.raises(NotFound, match="1 blocks"):
            keep(there, row.target, row.base, row.root)
        there.blocks.put(last, blocks[last])
        assert keep(there, row.target, row.base, row.root) == row
        assert deltas_for(there, row.target) == (row,)

    def test_a_pulled_version_brings_the_deltas_whose_base_is_there(self, world: World) -> None:
        tuned = world.publish(TUNED)
        row = world.delta(tuned)
        assert row is not None
        with_base, without = world.receiver(), repository()
        for there in (with_base, without):
            pull(there, world.here, "mini@v2")
        assert deltas_for(with_base, row.target) == (row,)
        assert deltas_for(without, row.target) == ()

    def test_a_damaged_delta_is_left_behind(self, world: World) -> None:
        row = world.delta(world.publish(TUNED))
        assert row is not None
        world.here.blocks.delete(block_list(world.here.blocks, row.root)[-1])
        there = world.receiver()
        pull(there, world.here, "mini@v2")
        assert deltas_for(there, row.target) == ()

    def test_a_damaged_delta_is_found_and_forgotten(self, world: World) -> None:
        tuned = world.publish(TUNED)
        row = world.delta(tuned)
        assert row is not None
        assert forget_damaged(world.here, tuned.version) == ()
        world.here.blocks.delete(block_list(world.here.blocks, row.root)[1])
        assert readable_blocks(world.here.blocks, row.root) == ()
        assert forget_damaged(world.here, tuned.version) == (row,)
        assert deltas_for(world.here, row.target) == ()

    def test_no_delta_of_a_private_version_is_kept(self, world: World) -> None:
        row = world.delta(world.publish(TUNED))
        assert row is not None
        description = Description(encryption=Encryption(algorithm="x", recipients=(b"y",)))
        sealed = add(world.here, world.folder, "sealed", description).version.manifest
        for target, base in ((sealed, row.base), (row.target, sealed)):
            with pytest.raises(InvalidInput, match="private"):
                keep(world.here, target, base, row.root)

    def test_the_delta_of_another_version_is_not_kept(self, world: World) -> None:
        row = world.delta(world.publish(TUNED))
        assert row is not None
        with pytest.raises(InvalidInput, match="another version"):
            keep(world.here, row.base, row.target, row.root)


class TestListing:
    def test_a_receiver_learns_the_blocks_in_three_steps(self, world: World) -> None:
        row = world.delta(world.publish(TUNED))
        assert row is not None
        there, steps = MemoryBlockStore(), []
        while lacking := (found := blocks_so_far(there, row.root)).lacking:
            steps.append({cid.codec for cid in lacking})
            assert all(found.sizes[cid] == 0 or cid.codec == RAW for cid in lacking)
            there.put_many((cid, world.here.blocks.get(cid)) for cid in lacking)
        assert steps == [{DAG_CBOR}, {DAG_CBOR}, {RAW}]
        assert found.size_bytes == row.size_bytes
        assert found.cids == block_list(world.here.blocks, row.root)
        assert all(found.sizes[cid] == there.size(cid) for cid in found.cids)

    def test_the_list_needs_every_part(self, world: World) -> None:
        row = world.delta(world.publish(TUNED))
        assert row is not None
        there = MemoryBlockStore()
        there.put(row.root, world.here.blocks.get(row.root))
        with pytest.raises(NotFound, match="fetch it first"):
            block_list(there, row.root)


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
    def tuned(self, world: World) -> Added:
        (world.folder / "tokenizer.json").write_bytes(b'{"more": 1, ' + TOKENIZER[1:])
        return world.publish(TUNED)

    @pytest.fixture
    def row(self, world: World, tuned: Added) -> DeltaRow:
        made = world.delta(tuned)
        assert made is not None
        return made

    def test_a_version_is_made_from_the_one_before_it(
        self, world: World, tuned: Added, row: DeltaRow
    ) -> None:
        there = world.receiver()
        begun = world.begin(there, tuned)
        found = fill(there, tuned.manifest, world.first.manifest, row.root, world.blocks(row), begun)
        assert (found.missing, found.size_bytes) == (0, sum(new_bytes(
            world.here.blocks, tuned.manifest, world.first.manifest).values()))  # fmt: skip
        assert world.finish(there, tuned, begun) == 0

    @pytest.mark.parametrize("spoil", [_without(RAW), _without(DAG_CBOR), _garbled, _no_root])
    def test_what_is_wrong_is_fetched_as_blocks(
        self, world: World, tuned: Added, row: DeltaRow, spoil: Callable[[Blocks, DeltaRow], None]
    ) -> None:
        there, blocks = world.receiver(), world.blocks(row)
        spoil(blocks, row)
        begun = world.begin(there, tuned)
        found = fill(there, tuned.manifest, world.first.manifest, row.root, blocks, begun)
        assert found.missing == sum(len(one.missing()) for one in begun.values())
        assert world.finish(there, tuned, begun) > 0

    def test_without_the_base_it_is_of_little_use_and_no_harm(
        self, world: World, tuned: Added, row: DeltaRow
    ) -> None:
        there = repository()
        begun = world.begin(there, tuned)
        found = fill(there, tuned.manifest, world.first.manifest, row.root, world.blocks(row), begun)
        assert found.missing > 0
        assert world.finish(there, tuned, begun) > 1_000_000

    def test_a_hostile_delta_writes_nothing_wrong(self, world: World, tuned: Added, row: DeltaRow) -> None:
        there, chance = world.receiver(), random.Random(4)
        begun = world.begin(there, tuned)
        for _ in range(60):
            root, blocks = _mutated(world.blocks(row), row.root, chance)
            fill(there, tuned.manifest, world.first.manifest, root, blocks, begun, threads=1)
        world.finish(there, tuned, begun)

    def test_links_to_blocks_of_other_kinds_are_refused(self, world: World, row: DeltaRow) -> None:
        store = MemoryBlockStore()
        blocks = world.blocks(row)
        delta = wire.decode_delta(blocks[row.root])
        stranger = replace(delta.targets[0].parts[0], cid=Cid(1, RAW, world.first.version.manifest.digest))
        raw = wire.encode_delta(replace(delta, targets=(replace(delta.targets[0], parts=(stranger,)),)))
        store.put(root := block_cid(DAG_CBOR, raw), raw)
        with pytest.raises(Corrupted, match="another kind"):
            block_list(store, root)

    def test_a_full_disk_is_said(self, world: World, tuned: Added, row: DeltaRow) -> None:
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
