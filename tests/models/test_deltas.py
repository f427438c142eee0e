"""farlane.models.deltas: made where they save, and kept beside their versions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from farlane.errors import InvalidInput, NotFound
from farlane.models.adding import Description, add
from farlane.models.blocks.collection import collect
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.cid import DAG_CBOR, RAW
from farlane.models.delta import format as wire
from farlane.models.deltas import (
    block_list,
    blocks_so_far,
    deltas_for,
    forget_damaged,
    keep,
    make_for,
    readable_blocks,
)
from farlane.models.exporting import pull
from farlane.models.manifest.values import Encryption
from farlane.models.updates import new_bytes
from farlane.testing.delta_world import BASE, TOKENIZER, TUNED, DeltaWorld, delta_repository
from farlane.testing.tensor_files import Tensors, weights


@pytest.fixture
def world(tmp_path: Path) -> DeltaWorld:
    folder = tmp_path / "mini"
    folder.mkdir()
    return DeltaWorld(folder)


class TestMaking:
    def test_a_fine_tuned_version_costs_a_fraction_of_its_new_blocks(self, world: DeltaWorld) -> None:
        tuned = world.publish(TUNED)
        row = world.delta(tuned)
        assert row is not None
        by_blocks = sum(new_bytes(world.here.blocks, tuned.manifest, world.first.manifest).values())
        assert 800_000 < by_blocks < 900_000
        assert row.size_bytes < 0.5 * by_blocks
        assert row.size_bytes == world.blocks(row).size_bytes
        assert deltas_for(world.here, tuned.version.manifest) == (row,)

    def test_a_plain_file_is_compared_with_its_own_path(self, world: DeltaWorld) -> None:
        (world.folder / "tokenizer.json").write_bytes(b'{"more": 1, ' + TOKENIZER[1:])
        tuned = world.publish(TUNED)
        row = world.delta(tuned)
        assert row is not None
        assert len(wire.decode_delta(world.here.blocks.get(row.root)).targets) == 2
        assert row.size_bytes < 400_000

    def test_a_renamed_file_is_compared_with_the_one_that_is_gone(self, world: DeltaWorld) -> None:
        (world.folder / "tokenizer.json").rename(world.folder / "vocabulary.json")
        (world.folder / "vocabulary.json").write_bytes(b'{"more": 1, ' + TOKENIZER[1:])
        changed = world.publish(BASE)
        row = world.delta(changed)
        assert row is not None
        assert row.size_bytes < 10_000

    def test_tensors_are_found_in_other_files_of_the_base(self, world: DeltaWorld) -> None:
        (world.folder / "model.safetensors").unlink()
        save_file({name: TUNED[name] for name in ("embed", "head")}, world.folder / "a.safetensors")
        save_file({name: TUNED[name] for name in ("layer.q", "layer.k")}, world.folder / "b.safetensors")
        sharded = add(world.here, world.folder, "mini")
        row = world.delta(sharded)
        assert row is not None
        assert row.size_bytes < 400_000

    def test_progress_counts_the_bytes_that_are_done(self, world: DeltaWorld) -> None:
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
    def test_no_delta_is_made_that_saves_little(self, world: DeltaWorld, newer: Tensors) -> None:
        added = world.publish(newer)
        assert world.delta(added) is None
        assert deltas_for(world.here, added.version.manifest) == ()

    def test_private_versions_have_none(self, world: DeltaWorld) -> None:
        tuned = world.publish(TUNED)
        private = replace(
            tuned, manifest=replace(tuned.manifest, encryption=Encryption(algorithm="x", recipients=()))
        )
        assert world.delta(private) is None
        assert world.delta(tuned, replace(world.first, manifest=private.manifest)) is None


class TestKeeping:
    def test_a_delta_is_collected_with_either_of_its_versions(self, world: DeltaWorld) -> None:
        row = world.delta(world.publish(TUNED))
        assert row is not None
        blocks, roots = block_list(world.here.blocks, row.root), world.here.catalog.roots
        collect(world.here.blocks, roots, spare_s=-1)
        assert all(world.here.blocks.has(cid) for cid in blocks)
        world.here.catalog.remove("mini@v1")
        collect(world.here.blocks, roots, spare_s=-1)
        assert not any(world.here.blocks.has(cid) for cid in blocks)

    def test_a_fetched_delta_is_kept_when_all_of_it_is_there(self, world: DeltaWorld) -> None:
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

    def test_a_pulled_version_brings_the_deltas_whose_base_is_there(self, world: DeltaWorld) -> None:
        tuned = world.publish(TUNED)
        row = world.delta(tuned)
        assert row is not None
        with_base, without = world.receiver(), delta_repository()
        for there in (with_base, without):
            pull(there, world.here, "mini@v2")
        assert deltas_for(with_base, row.target) == (row,)
        assert deltas_for(without, row.target) == ()

    def test_a_damaged_delta_is_left_behind(self, world: DeltaWorld) -> None:
        row = world.delta(world.publish(TUNED))
        assert row is not None
        world.here.blocks.delete(block_list(world.here.blocks, row.root)[-1])
        there = world.receiver()
        pull(there, world.here, "mini@v2")
        assert deltas_for(there, row.target) == ()

    def test_a_damaged_delta_is_found_and_forgotten(self, world: DeltaWorld) -> None:
        tuned = world.publish(TUNED)
        row = world.delta(tuned)
        assert row is not None
        assert forget_damaged(world.here, tuned.version) == ()
        world.here.blocks.delete(block_list(world.here.blocks, row.root)[1])
        assert readable_blocks(world.here.blocks, row.root) == ()
        assert forget_damaged(world.here, tuned.version) == (row,)
        assert deltas_for(world.here, row.target) == ()

    def test_no_delta_of_a_private_version_is_kept(self, world: DeltaWorld) -> None:
        row = world.delta(world.publish(TUNED))
        assert row is not None
        description = Description(encryption=Encryption(algorithm="x", recipients=(b"y",)))
        sealed = add(world.here, world.folder, "sealed", description).version.manifest
        for target, base in ((sealed, row.base), (row.target, sealed)):
            with pytest.raises(InvalidInput, match="private"):
                keep(world.here, target, base, row.root)

    def test_the_delta_of_another_version_is_not_kept(self, world: DeltaWorld) -> None:
        row = world.delta(world.publish(TUNED))
        assert row is not None
        with pytest.raises(InvalidInput, match="another version"):
            keep(world.here, row.base, row.target, row.root)


class TestListing:
    def test_a_receiver_learns_the_blocks_in_three_steps(self, world: DeltaWorld) -> None:
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

    def test_the_list_needs_every_part(self, world: DeltaWorld) -> None:
        row = world.delta(world.publish(TUNED))
        assert row is not None
        there = MemoryBlockStore()
        there.put(row.root, world.here.blocks.get(row.root))
        with pytest.raises(NotFound, match="fetch it first"):
            block_list(there, row.root)
