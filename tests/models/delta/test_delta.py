"""A delta from end to end: made, applied, and harmless when it, its blocks or its base are not what they should be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from farlane.errors import Corrupted, InvalidInput, UnsupportedVersion
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.cid import DAG_CBOR, Cid, block_cid
from farlane.models.delta import format as wire
from farlane.models.delta.applying import Applied, Readable, apply_delta, read_delta
from farlane.models.delta.making import MadeDelta, estimate_delta, make_delta
from farlane.models.delta.spans import SpannedFile
from farlane.testing.tensor_files import Blocks, Tensors, assembly_of, moved, plain_file, tensor_file, weights

BASE: Tensors = {
    "embed": weights(500, seed=1),
    "layer.q": weights(200, seed=2),
    "layer.k": weights(200, seed=3),
    "norm": weights(1, seed=4, dtype=np.float32),
    "steps": np.arange(3000, dtype=np.int64).reshape(-1, 1),
    "head": weights(500, seed=5),
}
VERSIONS: dict[str, Tensors] = {
    "fine-tuned": BASE | {"layer.q": moved(BASE["layer.q"]), "head": moved(BASE["head"])},
    "rows added": BASE | {"embed": np.concatenate((BASE["embed"], weights(8, seed=6)))},
    "rows removed": BASE | {"embed": BASE["embed"][8:]},
    "reordered": dict(reversed(BASE.items())),
    "renamed": {f"model.{name}": values for name, values in BASE.items()},
    "another type": BASE | {"head": BASE["head"].astype(np.float32)},
    "unrelated": {"other": weights(300, seed=8)},
    "same": BASE,
}


@pytest.fixture
def files(tmp_path: Path) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def applied(
    made: MadeDelta,
    blocks: Blocks,
    bases: Sequence[SpannedFile],
    target: SpannedFile,
    *,
    store: MemoryBlockStore | None = None,
) -> tuple[Applied, list[int]]:
    """Apply the first target of a delta; return also which blocks are still missing."""
    delta = read_delta(made.cid, blocks)
    here: dict[Cid, Readable] = {ref.cid: base for ref, base in zip(delta.bases, bases, strict=False)}
    assembly = assembly_of(target.path.read_bytes(), store)
    outcome = apply_delta(delta.targets[0], delta, here, blocks, assembly, threads=2)
    missing = list(assembly.missing())
    assert outcome.missing == len(missing)
    assert outcome.blocks == len(assembly.leaves) - len(missing)
    return outcome, missing


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("threads", [1, 3])
def test_every_version_is_rebuilt(files: ExitStack, tmp_path: Path, version: str, threads: int) -> None:
    base = files.enter_context(tensor_file(tmp_path / "base", BASE))
    target = files.enter_context(tensor_file(tmp_path / "target", VERSIONS[version], b"another header"))
    blocks = Blocks()
    made = make_delta([base], [target], blocks, threads=threads)
    outcome, missing = applied(made, blocks, [base], target)
    assert missing == []
    assert outcome.size_bytes == target.size_bytes
    assert made.size_bytes == blocks.size_bytes
    assert made.target_bytes == target.size_bytes


@pytest.mark.parametrize(
    ("version", "share"),
    [
        ("rows added", 0.01),
        ("rows removed", 0.005),
        ("reordered", 0.005),
        ("renamed", 0.005),
        ("same", 0.005),
    ],
)
def test_what_is_in_the_base_costs_next_to_nothing(
    files: ExitStack, tmp_path: Path, version: str, share: float
) -> None:
    base = files.enter_context(tensor_file(tmp_path / "base", BASE))
    target = files.enter_context(tensor_file(tmp_path / "target", VERSIONS[version]))
    made = make_delta([base], [target], Blocks())
    assert made.size_bytes < share * target.size_bytes
    assert (
        made.copied_bytes > 0.85 * target.size_bytes
    )  # a small tensor shares a piece with its new neighbour


def test_without_a_base_it_is_a_compressed_copy(files: ExitStack, tmp_path: Path) -> None:
    target = files.enter_context(tensor_file(tmp_path / "target", BASE))
    blocks = Blocks()
    made = make_delta([], [target], blocks)
    assert made.size_bytes < 0.7 * target.size_bytes
    assert applied(made, blocks, [], target)[1] == []
    assert 0.8 < estimate_delta([], [target]) / made.size_bytes < 1.2


def test_several_bases_and_targets_in_one_delta(files: ExitStack, tmp_path: Path) -> None:
    halves = [
        {"embed": BASE["embed"], "layer.q": BASE["layer.q"]},
        {"layer.k": BASE["layer.k"], "head": BASE["head"]},
    ]
    bases = [files.enter_context(tensor_file(tmp_path / f"base{n}", half)) for n, half in enumerate(halves)]
    whole = files.enter_context(tensor_file(tmp_path / "whole", halves[1] | halves[0]))
    card = files.enter_context(plain_file(tmp_path / "card", b"# A model\n" * 20))
    empty = files.enter_context(plain_file(tmp_path / "empty", b""))
    blocks = Blocks()
    made = make_delta(bases, [whole, card, empty], blocks)
    assert made.size_bytes < 0.02 * whole.size_bytes
    delta = read_delta(made.cid, blocks)
    here: dict[Cid, Readable] = {ref.cid: base for ref, base in zip(delta.bases, bases, strict=True)}
    for ref, file in zip(delta.targets, (whole, card, empty), strict=True):
        outcome = apply_delta(ref, delta, here, blocks, assembly_of(file.path.read_bytes()))
        assert (outcome.missing, outcome.size_bytes) == (0, file.size_bytes)


def test_plain_files_keep_what_moved(files: ExitStack, tmp_path: Path) -> None:
    content = np.random.default_rng(1).bytes(9 << 20)
    base = files.enter_context(plain_file(tmp_path / "base", content))
    target = files.enter_context(
        plain_file(tmp_path / "target", content[:5000] + b"inserted" + content[5000:])
    )
    blocks = Blocks()
    made = make_delta([base], [target], blocks)
    assert made.size_bytes < 0.01 * target.size_bytes
    assert applied(made, blocks, [base], target)[1] == []


def test_blocks_that_are_there_are_not_written_again(files: ExitStack, tmp_path: Path) -> None:
    base = files.enter_context(tensor_file(tmp_path / "base", BASE))
    target = files.enter_context(tensor_file(tmp_path / "target", VERSIONS["fine-tuned"]))
    blocks, content = Blocks(), target.path.read_bytes()
    made = make_delta([base], [target], blocks)
    delta = read_delta(made.cid, blocks)
    assembly = assembly_of(content)
    first = assembly.leaves[0]
    assembly.write(0, content[: first.length])
    outcome = apply_delta(delta.targets[0], delta, {delta.bases[0].cid: base}, blocks, assembly)
    assert (outcome.missing, outcome.size_bytes) == (0, len(content) - first.length)


class TestFallingBack:
    """Whatever is wrong leaves blocks to fetch, and never a wrong one."""

    @pytest.fixture
    def world(self, files: ExitStack, tmp_path: Path) -> tuple[SpannedFile, SpannedFile, MadeDelta, Blocks]:
        base = files.enter_context(tensor_file(tmp_path / "base", BASE))
        target = files.enter_context(tensor_file(tmp_path / "target", VERSIONS["fine-tuned"]))
        blocks = Blocks()
        return base, target, make_delta([base], [target], blocks), blocks

    def test_without_the_base_only_new_data_is_rebuilt(self, world: tuple) -> None:
        _, target, made, blocks = world
        outcome, missing = applied(made, blocks, [], target)
        assert len(missing) > 0.9 * (target.size_bytes // (64 << 10))
        assert outcome.size_bytes < 0.1 * target.size_bytes

    def test_a_changed_base_costs_the_blocks_it_spoils(self, world: tuple) -> None:
        base, target, made, blocks = world
        content = bytearray(base.path.read_bytes())
        content[100_000] ^= 1  # in the embedding, which is copied
        base.path.write_bytes(content)
        assert applied(made, blocks, [base], target)[1] == [1]

    def test_a_base_that_became_shorter_costs_what_it_lacks(self, world: tuple) -> None:
        base, target, made, blocks = world
        base.path.write_bytes(base.path.read_bytes()[:200_000])
        _, missing = applied(made, blocks, [base], target)
        assert missing
        assert 0 not in missing[1:]

    @pytest.mark.parametrize("damage", ["gone", "flipped", "cut"])
    def test_damaged_payload_costs_the_rest_of_its_part(self, world: tuple, damage: str) -> None:
        base, target, made, blocks = world
        payload = next(cid for cid, data in blocks.items() if cid.codec != DAG_CBOR)
        if damage == "gone":
            del blocks[payload]
        else:
            data = bytearray(blocks[payload])
            data[len(data) // 2] ^= 1
            blocks[payload] = bytes(data) if damage == "flipped" else bytes(data[:-5])
        outcome, missing = applied(made, blocks, [base], target)
        assert missing
        assert outcome.size_bytes > 0.3 * target.size_bytes  # copies need no payload

    def test_a_part_that_is_gone_leaves_a_gap(self, world: tuple) -> None:
        base, target, made, blocks = world
        del blocks[made.delta.targets[0].parts[0].cid]
        outcome, missing = applied(made, blocks, [base], target)
        assert (outcome.blocks, outcome.size_bytes) == (0, 0)
        assert len(missing) == -(-target.size_bytes // (64 << 10))

    def test_a_delta_that_lies_about_its_result_writes_nothing_wrong(self, world: tuple) -> None:
        base, target, made, blocks = world
        part = wire.decode_part(
            blocks[made.delta.targets[0].parts[0].cid], target.size_bytes, made.delta.bases
        )
        first = next(one for one in part.instructions if one.operation == 0)
        lying = replace(first, offset=first.offset + 2, length=first.length)
        instructions = tuple(lying if one is first else one for one in part.instructions)
        blocks_of_lie = Blocks(blocks)
        raw = wire.encode_part(replace(part, instructions=instructions))
        cid = block_cid(DAG_CBOR, raw)
        blocks_of_lie.put(cid, raw)
        ref = made.delta.targets[0]
        root = replace(made.delta, targets=(replace(ref, parts=(replace(ref.parts[0], cid=cid),)),))
        raw = wire.encode_delta(root)
        blocks_of_lie.put(block_cid(DAG_CBOR, raw), raw)
        _, missing = applied(replace(made, cid=block_cid(DAG_CBOR, raw)), blocks_of_lie, [base], target)
        assert missing

    def test_another_target_is_refused(self, world: tuple) -> None:
        base, _, made, blocks = world
        delta = read_delta(made.cid, blocks)
        with pytest.raises(InvalidInput, match="it is for another file"):
            apply_delta(delta.targets[0], delta, {}, blocks, assembly_of(base.path.read_bytes() + b"more"))

    def test_a_damaged_root_is_refused(self, world: tuple) -> None:
        _, _, made, blocks = world
        blocks[made.cid] = blocks[made.cid][:-1]
        with pytest.raises(Corrupted):
            read_delta(made.cid, blocks)


def test_a_file_without_a_cid_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with SpannedFile(tmp_path / "file") as file, pytest.raises(InvalidInput, match="has no CID"):
        make_delta([], [file], Blocks())


def test_a_newer_format_is_refused_as_such() -> None:
    import dag_cbor

    raw = dag_cbor.encode({"kind": wire.KIND, "version": 2, "bases": [], "targets": []})
    with pytest.raises(UnsupportedVersion, match="format version 2"):
        wire.decode_delta(raw)
