"""What a hostile or broken publisher sends is refused before it costs much, and nothing of it is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import dag_cbor
import grpc
import pytest

from farlane.errors import Corrupted, FarlaneError, InvalidInput, NotFound, TooLarge, UnsupportedVersion
from farlane.kit.hashing import sha256
from farlane.models import arrival
from farlane.models.cid import DAG_PB, RAW, Cid, block_cid
from farlane.models.manifest.codec import encode
from farlane.models.manifest.values import MAX_MANIFEST_BYTES, Manifest, ModelFile
from farlane.models.transfer.outline import Get, Lacking, outline
from farlane.models.trees import tree
from farlane.models.unixfs.dag_pb import PbLink, PbNode, encode_node
from farlane.models.unixfs.file_dag import FileDag
from farlane.models.unixfs.nodes import NodeData, NodeKind, encode_data
from farlane.testing.manifests import model_file, small_manifest
from farlane.testing.running_hub import RunningHub
from farlane.testing.waiting import until
from farlane.wire.status import from_rpc_error
from farlane.wire.v1 import models_pb2
from farlane.wire.v1.models_pb2_grpc import ModelServiceStub
from farlane.wire.versions import this_version

MIB = 1 << 20
Change = Callable[[dict[str, Any]], object]


class Hostile:
    """Offers what it likes, and answers with what blocks and leaves it has been given.

    Attributes:
        blocks: sent when they are wanted; leaves: of every file, in order; extra: sent instead of
            any answer; leaves_message: instead of leaves.
    """

    def __init__(self, hub: RunningHub) -> None:
        self.hub = hub
        self.blocks: dict[Cid, bytes] = {}
        self.leaves: list[bytes] = []
        self.extra: models_pb2.PushMessage | None = None
        self.leaves_message: models_pb2.PushMessage | None = None

    async def push(self, offered: Manifest | bytes | models_pb2.PushMessage) -> FarlaneError | None:
        """Push, and return why the hub did not take it."""
        if isinstance(offered, Manifest):
            offered = encode(offered)
        if isinstance(offered, bytes):
            offer = models_pb2.PushOffer(version=this_version(), manifest=offered)
            offered = models_pb2.PushMessage(offer=offer)
        async with self.hub.channel() as channel:
            call = ModelServiceStub(channel).Push()
            try:
                await call.write(offered)
                async for command in call:
                    if (answer := self._answer(command)) is not None:
                        await call.write(answer)
            except grpc.aio.AioRpcError as error:
                return from_rpc_error(error, "pushing")
        return None

    def _answer(self, command: models_pb2.PushCommand) -> models_pb2.PushMessage | None:
        kind = command.WhichOneof("kind")
        if self.extra is not None and kind in ("blocks", "leaves"):
            return self.extra
        if kind == "blocks":
            data = [
                next(block for cid, block in self.blocks.items() if cid.bytes == raw)
                for raw in command.blocks.cids
            ]
            return models_pb2.PushMessage(blocks=models_pb2.PushBlocks(cids=command.blocks.cids, data=data))
        if kind == "leaves" and self.leaves_message is not None:
            return self.leaves_message
        if kind == "leaves":
            indices = range(len(self.leaves))
            leaves = models_pb2.PushLeaves(file=command.leaves.file, indices=indices, data=self.leaves)
            return models_pb2.PushMessage(leaves=leaves)
        return None

    def node(self, *parts: tuple[Cid, int]) -> Cid:
        """Make an inner node of a file over parts and their sizes."""
        data = encode_data(NodeData(NodeKind.FILE, size_bytes=sum(size for _, size in parts),
                                    block_sizes=[size for _, size in parts]))  # fmt: skip
        block = encode_node(PbNode([PbLink(cid, "", size) for cid, size in parts], data))
        cid = block_cid(DAG_PB, block)
        self.blocks[cid] = block
        return cid


@pytest.fixture
def hostile(hub: RunningHub) -> Iterator[Hostile]:
    yield Hostile(hub)
    assert hub.models is not None
    with pytest.raises(NotFound):
        hub.models.resolve("lab/mini")


def manifest_of(file: ModelFile, root: Cid | None = None) -> Manifest:
    """Return a manifest of one file whose directory is right unless another is given."""
    return small_manifest(files=(file,), root=root or tree([(file.path, file.ipfs_cid, file.size)]).root)


def one_leaf(data: bytes = b"weights") -> Manifest:
    return manifest_of(model_file(data=data))


def changed(change: Change) -> bytes:
    """Return a manifest that no farlane writes."""
    document: Any = dag_cbor.decode(encode(one_leaf()))
    change(document)
    return bytes(dag_cbor.encode(document))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(
            changed(lambda one: one["files"][0].update(path="../../outside")), id="a path that leads out"
        ),
        pytest.param(changed(lambda one: one["files"][0].update(path="/etc/passwd")), id="an absolute path"),
        pytest.param(changed(lambda one: one["files"][0].update(size=1 << 60)), id="a size that nothing has"),
        pytest.param(changed(lambda one: one["files"][0].update(size=-1)), id="a negative size"),
        pytest.param(changed(lambda one: one["files"].extend(one["files"] * 5000)), id="too many files"),
        pytest.param(changed(lambda one: one.update(surprise=1)), id="a field that there is not"),
        pytest.param(b"\xff" * 100, id="no manifest at all"),
    ],
)
async def test_a_manifest_that_says_what_none_may_is_refused(hostile: Hostile, raw: bytes) -> None:
    assert isinstance(await hostile.push(raw), Corrupted | InvalidInput | TooLarge)


async def test_a_manifest_that_is_too_long_is_refused(hostile: Hostile) -> None:
    assert isinstance(await hostile.push(bytes(MAX_MANIFEST_BYTES + 1)), TooLarge)


async def test_a_push_begins_with_an_offer(hostile: Hostile) -> None:
    early = models_pb2.PushMessage(leaves=models_pb2.PushLeaves(file=0, indices=[0], data=[b"x"]))
    assert isinstance(await hostile.push(early), InvalidInput)
    stranger = models_pb2.PushMessage(offer=models_pb2.PushOffer(manifest=encode(one_leaf())))
    assert isinstance(await hostile.push(stranger), UnsupportedVersion)


async def test_a_flipped_bit_in_a_leaf_is_refused(hostile: Hostile) -> None:
    hostile.leaves = [b"weighty"]
    assert isinstance(await hostile.push(one_leaf(b"weights")), Corrupted)


async def test_a_flipped_bit_in_an_inner_node_is_refused(hostile: Hostile) -> None:
    leaf = block_cid(RAW, b"x" * 10)
    root = hostile.node((leaf, 10), (leaf, 10))
    hostile.blocks[root] = hostile.blocks[root][:-1] + b"\0"
    file = model_file(data=b"x" * 20, cid=root, ipfs_cid=root)
    assert isinstance(await hostile.push(manifest_of(file)), Corrupted)


async def test_what_was_not_asked_for_is_refused(hostile: Hostile) -> None:
    for extra in (
        models_pb2.PushMessage(leaves=models_pb2.PushLeaves(file=0, indices=[7], data=[b"x"])),
        models_pb2.PushMessage(leaves=models_pb2.PushLeaves(file=3, indices=[0], data=[b"x"])),
        models_pb2.PushMessage(leaves=models_pb2.PushLeaves(file=0, indices=[0, 1], data=[b"weights"])),
        models_pb2.PushMessage(blocks=models_pb2.PushBlocks(cids=[b"x"], data=[b"x"])),
        models_pb2.PushMessage(),
    ):
        hostile.extra = extra
        assert isinstance(await hostile.push(one_leaf()), InvalidInput)


async def test_a_leaf_that_comes_twice_is_refused(hostile: Hostile) -> None:
    parts = [b"x" * 10, b"y" * 10]
    root = hostile.node(*((block_cid(RAW, part), 10) for part in parts))
    file = replace(model_file(cid=root, ipfs_cid=root), size=20)
    top = tree([(file.path, root, 20 + len(hostile.blocks[root]))]).root
    for twice in ([0, 0], [0, 0, 1]):
        leaves = models_pb2.PushLeaves(file=0, indices=twice, data=[parts[index] for index in twice])
        hostile.leaves_message = models_pb2.PushMessage(leaves=leaves)
        assert isinstance(await hostile.push(manifest_of(file, top)), InvalidInput)


async def test_a_file_with_another_hash_than_the_manifest_says_is_refused(hostile: Hostile) -> None:
    parts = [b"x" * 10, b"y" * 10]
    root = hostile.node(*((block_cid(RAW, part), 10) for part in parts))
    hostile.leaves = parts
    block = hostile.blocks[root]
    file = replace(model_file(cid=root, ipfs_cid=root), size=20, sha256=sha256(b"another file"))
    top = tree([(file.path, root, 20 + len(block))]).root
    assert isinstance(await hostile.push(manifest_of(file, top)), Corrupted)


async def test_a_wrong_directory_is_refused_before_any_leaf(hostile: Hostile) -> None:
    hostile.leaves = [b"weights"]
    found = await hostile.push(manifest_of(model_file(), block_cid(DAG_PB, b"elsewhere")))
    assert isinstance(found, Corrupted)
    assert "directory" in found.message
    assert hostile.hub.models is not None
    assert not hostile.hub.models.blocks.has(block_cid(RAW, b"weights"))


async def test_an_outline_that_goes_on_and_on_is_refused(hostile: Hostile) -> None:
    top, size = block_cid(RAW, b"x"), 1
    for _ in range(20):
        top = hostile.node((top, size))
    file = replace(model_file(cid=top, ipfs_cid=top), size=size)
    assert isinstance(await hostile.push(manifest_of(file)), TooLarge)


async def test_an_outline_that_multiplies_is_refused(hostile: Hostile) -> None:
    top, size = block_cid(RAW, b"x" * 1000), 1000
    for _ in range(5):
        top, size = hostile.node(*[(top, size)] * 100), size * 100
    file = replace(model_file(cid=top, ipfs_cid=top), size=size)
    assert isinstance(await hostile.push(manifest_of(file)), TooLarge)


async def test_an_outline_of_nothing_that_multiplies_is_refused(hostile: Hostile) -> None:
    top = hostile.node()
    for _ in range(6):
        top = hostile.node(*[(top, 0)] * 1000)
    file = replace(model_file(cid=top, ipfs_cid=top), size=0)
    assert isinstance(await hostile.push(manifest_of(file)), Corrupted)


async def test_a_file_that_is_said_to_be_one_huge_block_is_refused(hostile: Hostile) -> None:
    assert isinstance(await hostile.push(manifest_of(replace(model_file(), size=1 << 50))), Corrupted)


async def test_an_outline_larger_than_its_file_can_need_is_refused(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farlane.models.arrival.SPARE_NODE_BYTES", 64 << 10)
    leaf = block_cid(RAW, b"x")
    top = hostile.node(*[(leaf, 1)] * 5000)
    file = replace(model_file(cid=top, ipfs_cid=top), size=5000)
    found = await hostile.push(manifest_of(file))
    assert isinstance(found, TooLarge)
    assert "inner nodes" in found.message


async def test_a_push_that_broke_off_keeps_no_room_from_others(hostile: Hostile) -> None:
    assert hostile.hub.models is not None
    blocks = hostile.hub.models.blocks
    parts = [(block_cid(RAW, b"%d" % at), MIB) for at in range(8)]
    root = hostile.node(*parts)
    top = tree([("model.safetensors", root, 8 * MIB + len(hostile.blocks[root]))]).root
    file = replace(model_file(cid=root, ipfs_cid=root), size=8 * MIB)
    assert isinstance(await hostile.push(manifest_of(file, top)), InvalidInput)  # it sends no leaves
    await until(lambda: blocks.partial_bytes() < MIB)


async def test_many_small_files_of_very_many_blocks_are_refused_before_they_are_kept_in_memory(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "MAX_LEAVES", 1000)
    read: list[Cid] = []

    def counted(root: Cid, size_bytes: int, get: Get) -> FileDag | Lacking:
        read.append(root)
        return outline(root, size_bytes, get)

    monkeypatch.setattr(arrival, "outline", counted)
    leaf = block_cid(RAW, b"x")
    files = []
    for number in range(20):
        root = hostile.node(*[(leaf, 1)] * (500 + number))
        files.append(replace(model_file(f"{number}", cid=root, ipfs_cid=root), size=500 + number))
    manifest = small_manifest(files=tuple(sorted(files, key=lambda one: one.path)))
    found = await hostile.push(manifest)
    assert isinstance(found, TooLarge)
    assert len(read) < 20 + 5  # all are lacking at first
