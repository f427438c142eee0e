"""Who names blocks of another organisation's private version must send them: no push makes them the pusher's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import grpc
import pytest

from farlane.hub.models.private_files import PrivateFiles
from farlane.models.adding import add
from farlane.models.catalog.values import Author
from farlane.models.cid import DAG_CBOR, DAG_PB, RAW, Cid, block_cid
from farlane.models.delta.elements import ELEMENTS
from farlane.models.delta.format import (
    Delta,
    FileRef,
    Instruction,
    Part,
    PartRef,
    TargetRef,
    encode_delta,
    encode_part,
)
from farlane.models.delta.pieces import Operation
from farlane.models.manifest.codec import encode
from farlane.models.manifest.values import Manifest, ModelFile
from farlane.models.private.recipients import new_recipient_key
from farlane.models.private.versions import add_private, share
from farlane.models.repository import Repository
from farlane.models.transfer.bitmap import unpack
from farlane.models.trees import tree
from farlane.models.unixfs.dag_pb import PbLink, PbNode, encode_node
from farlane.models.unixfs.file_dag import FileDag
from farlane.models.unixfs.nodes import NodeData, NodeKind, encode_data
from farlane.models.version_blocks import dag_of
from farlane.sdk.model_hub import ModelHub
from farlane.testing.manifests import model_file, small_manifest
from farlane.testing.running_hub import RunningHub
from farlane.wire.serving import Identity
from farlane.wire.v1 import models_pb2
from farlane.wire.v1.models_pb2_grpc import ModelServiceStub
from farlane.wire.versions import this_version

MIB = 1 << 20
ACME = Author("acme")
KEY = new_recipient_key()


class Thief:
    """Pushes as the organisation lab, answers with the blocks it has, and gives up when asked for another.

    Attributes:
        asked: CIDs of blocks, and (file, leaf) of leaves, that the hub asked for.
    """

    def __init__(self, hub: RunningHub) -> None:
        self.hub = hub
        self.blocks: dict[bytes, bytes] = {}
        self.asked: list[bytes | tuple[int, int]] = []
        self.present_bytes = -1
        self.published = False

    def has(self, cid: Cid, block: bytes) -> Cid:
        self.blocks[cid.bytes] = block
        return cid

    def node(self, *parts: tuple[Cid, int]) -> Cid:
        """Make an inner node of a file."""
        said = NodeData(NodeKind.FILE, size_bytes=sum(size for _, size in parts),
                        block_sizes=[size for _, size in parts])  # fmt: skip
        block = encode_node(PbNode([PbLink(cid, "", size) for cid, size in parts], encode_data(said)))
        return self.has(block_cid(DAG_PB, block), block)

    async def push(
        self, files: Sequence[ModelFile], *deltas: models_pb2.DeltaOffer, root: Cid | None = None
    ) -> None:
        """Push files as a version of one's own, whose directory is made unless it is given."""
        sizes = {one.cid: one.size + len(self.blocks.get(one.cid.bytes, b"")) for one in files}
        made = tree([(one.path, one.ipfs_cid, sizes[one.cid]) for one in files]).root
        manifest = encode(small_manifest(name="lab/mine", files=tuple(files), root=root or made))
        offer = models_pb2.PushOffer(version=this_version(), manifest=manifest, deltas=deltas)
        async with self.hub.channel() as channel:
            call = ModelServiceStub(channel).Push()
            await call.write(models_pb2.PushMessage(offer=offer))
            async for command in call:
                if not await self._answered(call, command):
                    call.cancel()
                    return

    async def _answered(self, call: grpc.aio.StreamStreamCall, command: models_pb2.PushCommand) -> bool:
        match command.WhichOneof("kind"):
            case "welcome":
                self.present_bytes = command.welcome.present_bytes
            case "published":
                self.published = True
            case "blocks":
                self.asked += command.blocks.cids
                data = [self.blocks[cid] for cid in command.blocks.cids if cid in self.blocks]
                if len(data) < len(command.blocks.cids):
                    return False
                blocks = models_pb2.PushBlocks(cids=command.blocks.cids, data=data)
                await call.write(models_pb2.PushMessage(blocks=blocks))
            case "leaves":
                bits = command.leaves.missing
                missing = unpack(bits, len(bits) * 8).nonzero()[0].tolist()
                self.asked += [(command.leaves.file, leaf) for leaf in missing]
                return False
        return True


@pytest.fixture
def thief(hub: RunningHub) -> Thief:
    return Thief(hub)


@pytest.fixture
def kept(hub: RunningHub) -> Repository:
    assert hub.models is not None
    return hub.models


@pytest.fixture
def secret(kept: Repository, folder: Path) -> Manifest:
    """A private version of acme at the hub."""
    return add_private(kept, folder, "acme/secret", [], KEY, author=ACME).manifest


def largest(manifest: Manifest) -> ModelFile:
    return max(manifest.files, key=lambda one: one.size)


def largest_dag(kept: Repository, manifest: Manifest) -> FileDag:
    file = largest(manifest)
    return dag_of(kept.blocks, file.cid, file.size)


def stolen(dag: FileDag, thief: Thief, leaves: Sequence[int]) -> ModelFile:
    """Return a file of leaves that are another's, under an inner node of one's own."""
    parts = [(dag.leaves.cid(at), int(dag.leaves.lengths[at])) for at in leaves]
    root = thief.node(*parts)
    return model_file(cid=root, ipfs_cid=root, size=sum(size for _, size in parts))


async def test_a_file_of_anothers_private_version_is_asked_for(thief: Thief, secret: Manifest) -> None:
    await thief.push(secret.files, root=secret.root)
    assert thief.present_bytes == 0
    assert set(thief.asked) >= {one.cid.bytes for one in secret.files if one.cid.codec == DAG_PB}
    assert not thief.published


async def test_an_inner_node_of_anothers_private_version_is_asked_for(
    thief: Thief, kept: Repository, secret: Manifest
) -> None:
    file = largest(secret)
    root = thief.node((file.cid, file.size))
    await thief.push([model_file(cid=root, ipfs_cid=root, size=file.size)])
    assert thief.asked == [root.bytes, file.cid.bytes]


async def test_leaves_of_anothers_private_version_are_asked_for(
    thief: Thief, kept: Repository, secret: Manifest
) -> None:
    await thief.push([stolen(largest_dag(kept, secret), thief, [1, 0])])
    assert thief.asked[1:] == [(0, 0), (0, 1)]


async def test_payload_of_a_delta_that_is_anothers_leaf_is_asked_for(
    thief: Thief, kept: Repository, secret: Manifest, folder: Path
) -> None:
    base = add(kept, folder, "lab/open", author=Author("lab")).version.manifest
    leaf = largest_dag(kept, secret).leaves.cid(0)
    root = thief.node((block_cid(RAW, b"what nobody has"), MIB))
    piece = Instruction(Operation.STORED, ELEMENTS[0], MIB, 0, 0, 0, (MIB,))
    part_bytes = encode_part(Part((piece,), (leaf,)))
    part = thief.has(block_cid(DAG_CBOR, part_bytes), part_bytes)
    delta_bytes = encode_delta(Delta((), (TargetRef(FileRef(root, MIB), (PartRef(part, MIB),)),)))
    delta = thief.has(block_cid(DAG_CBOR, delta_bytes), delta_bytes)
    offer = models_pb2.DeltaOffer(base=base.text, cid=delta.text, size_bytes=1000)
    await thief.push([model_file(cid=root, ipfs_cid=root, size=MIB)], offer)
    assert thief.asked[-3:] == [delta.bytes, part.bytes, leaf.bytes]


async def test_what_was_removed_stays_its_organisations_until_it_is_collected(
    thief: Thief, kept: Repository, secret: Manifest
) -> None:
    dag = largest_dag(kept, secret)
    await thief.push([stolen(dag, thief, [0])])  # the hub knows the version by now
    kept.catalog.remove_model("acme/secret")
    await thief.hub.restart()
    again = Thief(thief.hub)
    await again.push([stolen(dag, again, [0])])
    assert (0, 0) in again.asked


async def test_a_version_added_on_the_hubs_machine_is_heard_of(
    thief: Thief, kept: Repository, folder: Path
) -> None:
    public = add(kept, folder, "lab/open", author=Author("lab")).manifest
    await thief.push(public.files, root=public.root)
    assert thief.published
    made = add_private(kept, folder, "acme/later", [], KEY, author=ACME).manifest
    again = Thief(thief.hub)
    await again.push([stolen(largest_dag(kept, made), again, [0])])
    assert (0, 0) in again.asked


async def test_what_is_public_too_need_not_be_sent(thief: Thief, kept: Repository, folder: Path) -> None:
    public = add(kept, folder, "lab/open", author=Author("lab")).manifest
    encryption = add_private(kept, folder, "acme/secret", [], KEY, author=ACME).manifest.encryption
    claimed = replace(public, name="acme/secret", encryption=encryption)
    kept.publish(claimed, None, ACME)
    leaf = largest_dag(kept, public).leaves[0]
    root = thief.node((leaf.cid, leaf.length), (block_cid(RAW, b"new"), 3))
    await thief.push([model_file(cid=root, ipfs_cid=root, size=leaf.length + 3)])
    assert thief.asked == [root.bytes, (0, 1)]


async def test_an_organisation_sends_nothing_of_its_own_private_versions_again(
    hub: RunningHub, tmp_path: Path, own: Repository, folder: Path
) -> None:
    add_private(own, folder, "lab/secret", [], KEY)
    async with hub.client() as client:
        models = ModelHub(client.connection, random=Random(1))
        await models.push(own, "lab/secret")
        shared = share(own, "lab/secret", [new_recipient_key().recipient], KEY)
        pushed = await models.push(own, "lab/secret")
    assert pushed.version.manifest == shared.manifest
    assert pushed.sent_bytes == 0


async def test_who_has_the_bytes_themselves_may_push_them(
    hub: RunningHub, kept: Repository, own: Repository, folder: Path
) -> None:
    made = add_private(own, folder, "lab/secret", [], KEY)
    manifest = replace(made.manifest, name="acme/secret")
    theirs = add_private(kept, folder, "acme/other", [], KEY, author=ACME)
    assert theirs.manifest.files != manifest.files
    async with hub.client("acme/bob", "acme") as client:
        own.publish(manifest)
        await ModelHub(client.connection, random=Random(1)).push(own, "acme/secret")
    async with hub.client() as client:
        pushed = await ModelHub(client.connection, random=Random(1)).push(own, "lab/secret")
    assert pushed.sent_bytes >= made.manifest.size_bytes


async def test_a_push_that_stands_still_keeps_nobody_else_waiting(
    hub: RunningHub, kept: Repository, own: Repository
) -> None:
    manifest = own.resolve("lab/mini")[1]
    slow = Thief(hub)
    slow.blocks = {
        cid.bytes: block
        for file in manifest.files
        for root in {file.cid, file.ipfs_cid}
        for cid, block in dag_of(own.blocks, root, file.size).nodes.items()
    }
    offer = models_pb2.PushOffer(version=this_version(), manifest=encode(replace(manifest, name="acme/copy")))
    async with hub.channel(hub.token("client", "acme/bob", "acme")) as channel:
        call = ModelServiceStub(channel).Push()
        await call.write(models_pb2.PushMessage(offer=offer))
        async for command in call:
            if not await slow._answered(call, command):
                break
        async with hub.client() as client:
            await ModelHub(client.connection, random=Random(1)).push(own, "lab/mini")
        assert kept.resolve("lab/mini")[1] == manifest
        call.cancel()


async def test_leaves_of_a_private_push_that_goes_on_are_asked_for(
    hub: RunningHub, kept: Repository, own: Repository, folder: Path, thief: Thief
) -> None:
    made = add_private(own, folder, "acme/secret", [], KEY)
    dag = largest_dag(own, made.manifest)
    reached = asyncio.Event()
    async with hub.client("acme/bob", "acme") as client:
        pushing = asyncio.ensure_future(
            ModelHub(client.connection, random=Random(1)).push(
                own, "acme/secret", on_progress=lambda seen: reached.set() if seen.done_bytes else None
            )
        )
        await reached.wait()
        pushing.cancel()
        await asyncio.wait([pushing])
    file = largest(made.manifest)
    root = thief.node((file.cid, file.size))
    await thief.push([model_file(cid=root, ipfs_cid=root, size=file.size)])
    assert thief.asked == [root.bytes, file.cid.bytes]
    again = Thief(hub)
    await again.push([stolen(dag, again, range(len(dag.leaves)))])
    every = [(0, at) for at in range(len(dag.leaves))]
    assert again.asked[1:] == every
    told = Thief(hub)  # of the file's outline: it goes on from nothing that acme has sent
    told.blocks = {cid.bytes: node for cid, node in dag.nodes.items()}
    await told.push([file])
    assert [one for one in told.asked if isinstance(one, tuple)] == every


def test_versions_that_never_came_are_forgotten(kept: Repository, secret: Manifest) -> None:
    private, bob = PrivateFiles(kept), Identity("client", "lab", "lab/bob")
    private.guard(bob)
    known = len(private)
    assert known == len(secret.files)
    for number in range(5):
        offered = replace(secret, files=(model_file(data=b"%d" % number),))
        with private.arriving(offered, "lab"):
            private.guard(bob)
            assert len(private) == known + 1
        private.guard(bob)
        assert len(private) == known


def test_an_offer_alone_takes_nothing_from_whose_it_is(kept: Repository, secret: Manifest) -> None:
    private, sha256 = PrivateFiles(kept), largest(secret).sha256.hex()
    acme, lab = (Identity("client", one, f"{one}/ada") for one in ("acme", "lab"))
    with private.arriving(replace(secret, name="lab/mine"), "lab"):
        assert private.guard(acme).file(sha256)
        assert not private.guard(lab).file(sha256)
