"""BlockService: every block of a version is given to who may read it, and no other block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from farlane.domain.deployments import Deployment
from farlane.domain.nodes import SERVES
from farlane.errors import InvalidInput, NotFound, PermissionRefused, TooLarge, Unavailable
from farlane.hub.grpc_api import block_service
from farlane.hub.models import listing, reading
from farlane.hub.models.reading import BlockReading
from farlane.kit.hashing import sha256
from farlane.models.adding import Description, add
from farlane.models.blocks.port import BlockSource
from farlane.models.catalog.values import Author, Version
from farlane.models.cid import Cid, verify_block
from farlane.models.manifest.values import Encryption, Manifest
from farlane.models.private.recipients import new_recipient_key
from farlane.models.private.versions import add_private
from farlane.models.repository import Repository
from farlane.models.version_blocks import digests_of
from farlane.sdk.deployments import DeploymentClient
from farlane.testing.builders import a_node
from farlane.testing.running_hub import RunningHub
from farlane.testing.scripted_node import SECRET as SCRIPTED_SECRET
from farlane.testing.scripted_node import ScriptedNode
from farlane.wire.block_stream import MAX_WANTED, BlockStream
from farlane.wire.status import from_rpc_error
from farlane.wire.v1 import models_pb2
from farlane.wire.v1.models_pb2_grpc import BlockServiceStub, ModelServiceStub

SECRET = Encryption(algorithm="test", recipients=(b"wrapped",))


@pytest.fixture
def kept(hub: RunningHub) -> Repository:
    """The hub's repository."""
    assert hub.models is not None
    return hub.models


@pytest.fixture
def version(kept: Repository, folder: Path) -> Version:
    """A public version of the organisation lab, at the hub."""
    return add(kept, folder, "lab/mini", author=Author("lab", "ada")).version


@pytest.fixture
def private(kept: Repository, tmp_path: Path) -> Version:
    """A private version of the organisation lab, at the hub."""
    (tmp_path / "sealed.bin").write_bytes(b"sealed")
    described = Description(encryption=SECRET)
    return add(kept, tmp_path / "sealed.bin", "lab/secret", described, author=Author("lab", "ada")).version


async def described(hub: RunningHub, reference: str, organisation: str = "lab", **more: Any) -> Any:
    async with hub.channel(hub.token("client", f"{organisation}/ada", organisation)) as channel:
        request = models_pb2.DescribeVersionRequest(reference=reference, **more)
        try:
            return await BlockServiceStub(channel).DescribeVersion(request)
        except Exception as error:
            raise from_rpc_error(error, "describing") from error  # type: ignore[arg-type]


async def test_every_block_of_a_version_is_given(hub: RunningHub, kept: Repository, version: Version) -> None:
    digests = digests_of(kept.blocks, version.manifest, kept.manifest(version))
    async with hub.channel() as channel, BlockStream(channel, version.manifest.text) as blocks:
        cids = [Cid(1, 0x55, digest) for digest in digests]
        for cid, block in zip(cids, await blocks.fetch_all([one.bytes for one in cids]), strict=True):
            verify_block(cid, block)
    assert len(cids) > 10  # leaves, inner nodes, both directories and the manifest


@pytest.mark.parametrize("reference", ["lab/mini", "lab/mini@v1", "{cid}", "lab/mini@{cid}"])
async def test_a_version_is_described(hub: RunningHub, version: Version, reference: str) -> None:
    found = await described(hub, reference.format(cid=version.manifest.text), "elsewhere")
    assert (found.version.name, found.version.number, found.version.cid) == (
        "lab/mini",
        1,
        version.manifest.text,
    )
    assert Cid(1, 0x71, sha256(found.manifest)) == version.manifest


async def test_a_block_of_another_version_is_refused(
    hub: RunningHub, kept: Repository, version: Version, private: Version
) -> None:
    other = kept.manifest(private).files[0].cid
    async with hub.channel() as channel, BlockStream(channel, version.manifest.text) as blocks:
        with pytest.raises(NotFound, match="no block of the version"):
            await blocks.fetch(other.bytes)
        assert await blocks.fetch(version.manifest.bytes)  # the stream goes on
        with pytest.raises(InvalidInput, match="no CID"):
            await blocks.fetch(b"nonsense")


async def test_a_private_version_is_its_organisations_alone(hub: RunningHub, private: Version) -> None:
    assert (await described(hub, private.manifest.text)).version.private
    for reference in ("lab/secret", private.manifest.text):
        with pytest.raises(NotFound):
            await described(hub, reference, "elsewhere")
    token = hub.token("client", "elsewhere/bob", "elsewhere")
    async with hub.channel(token) as channel, BlockStream(channel, private.manifest.text) as blocks:
        with pytest.raises(NotFound):
            await blocks.fetch(private.manifest.bytes)


async def test_every_block_of_a_private_version_is_refused_to_others(
    hub: RunningHub, kept: Repository, folder: Path, version: Version
) -> None:
    sealed = add_private(
        kept, folder, "lab/sealed", [], new_recipient_key(), author=Author("lab", "ada")
    ).version
    digests = digests_of(kept.blocks, sealed.manifest, kept.manifest(sealed))
    assert len(digests) > 10  # manifest, directory, inner nodes and leaves
    async with hub.channel(hub.token("client", "elsewhere/bob", "elsewhere")) as channel:
        for named in (sealed, version):  # itself, and a version that everybody may read
            for digest in digests:
                async with BlockStream(channel, named.manifest.text) as blocks:
                    with pytest.raises(NotFound):
                        await blocks.fetch(Cid(1, 0x55, digest).bytes)


async def test_pages_of_names_end_with_names_that_the_caller_may_know(
    hub: RunningHub, kept: Repository, private: Version, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "NAMES_A_PAGE", 1)
    async with hub.channel(hub.token("client", "elsewhere/bob", "elsewhere")) as channel:
        first = await ModelServiceStub(channel).ListModels(models_pb2.ListModelsRequest())
        assert ([one.name for one in first.models], first.last, first.more) == (
            ["lab/mini"],
            "lab/mini",
            True,
        )
        second = await ModelServiceStub(channel).ListModels(models_pb2.ListModelsRequest(after=first.last))
        assert (len(second.models), second.last, second.more) == (0, "", False)


@pytest.mark.parametrize("ask", ["list", "move", "remove", "accept", "describe"])
async def test_a_private_name_is_to_others_as_if_it_were_not(
    hub: RunningHub, private: Version, ask: str
) -> None:
    async with hub.channel(hub.token("client", "elsewhere/bob", "elsewhere")) as channel:
        models = ModelServiceStub(channel)
        calls: dict[str, Callable[[str], Any]] = {
            "list": lambda name: models.ListModels(models_pb2.ListModelsRequest(name=name)),
            "move": lambda name: models.MoveAlias(
                models_pb2.MoveAliasRequest(name=name, alias="champion", target="v1")
            ),
            "remove": lambda name: models.RemoveVersion(models_pb2.RemoveVersionRequest(reference=name)),
            "accept": lambda name: models.AcceptLicence(
                models_pb2.AcceptLicenceRequest(reference=name, expression="MIT")
            ),
            "describe": lambda name: BlockServiceStub(channel).DescribeVersion(
                models_pb2.DescribeVersionRequest(reference=name)
            ),
        }
        said = set()
        for name in ("lab/secret", "lab/nosuch"):
            with pytest.raises(grpc.RpcError) as refused:
                await calls[ask](name)
            said.add((refused.value.code(), (refused.value.details() or "").replace("nosuch", "secret")))
    assert len(said) == 1
    assert next(iter(said))[0] is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("organisation", ["lab", "elsewhere"])
async def test_a_node_without_a_replica_reads_no_private_version(
    hub: RunningHub, private: Version, organisation: str
) -> None:
    async with (
        hub.channel(hub.token("node", "", organisation)) as channel,
        BlockStream(channel, private.manifest.text) as blocks,
    ):
        with pytest.raises(NotFound):
            await blocks.fetch(private.manifest.bytes)


async def test_a_node_that_is_not_who_it_says_is_refused(hub: RunningHub, private: Version) -> None:
    proof = models_pb2.NodeProof(node="n1", secret=b"guessed")
    async with (
        hub.channel(hub.token("node", "", "lab")) as channel,
        BlockStream(channel, private.manifest.text, proof) as blocks,
    ):
        with pytest.raises(PermissionRefused, match="not the node"):
            await blocks.fetch(private.manifest.bytes)


async def test_blocks_wait_for_the_licence(hub: RunningHub, kept: Repository, folder: Path) -> None:
    asked = Description(licence="MIT", acceptance=True)
    version = add(kept, folder, "lab/asked", asked, author=Author("lab", "ada")).version
    token = hub.token("client", "elsewhere/bob", "elsewhere")
    async with hub.channel(token) as channel:
        async with BlockStream(channel, version.manifest.text) as blocks:
            with pytest.raises(PermissionRefused, match="farlane models accept"):
                await blocks.fetch(version.manifest.bytes)
        kept.accept(version, "MIT", "elsewhere")
        async with BlockStream(channel, version.manifest.text) as blocks:
            assert await blocks.fetch(version.manifest.bytes)


async def test_too_many_blocks_at_once_are_refused(hub: RunningHub, version: Version) -> None:
    async with hub.channel() as channel:
        call = BlockServiceStub(channel).GetBlocks()
        await call.write(models_pb2.BlockWants(version=version.manifest.text, cids=[b"x"] * (MAX_WANTED + 1)))
        with pytest.raises(Exception, match=r"blocks were asked for") as caught:
            await call.read()
        assert isinstance(from_rpc_error(caught.value, "asking"), TooLarge)  # type: ignore[arg-type]


async def test_a_node_reads_a_private_version_while_it_holds_a_replica_of_it(
    hub: RunningHub, kept: Repository, tmp_path: Path
) -> None:
    key = new_recipient_key()
    (tmp_path / "secret.txt").write_text("secret")
    version = add_private(
        kept, tmp_path / "secret.txt", "lab/own", (), key, author=Author("lab", "ada")
    ).version
    spec = a_node("n1", recipient=key.recipient.text, labels=((SERVES, "yes"),))
    token = hub.token("node", "", "lab")
    async with (
        hub.client() as client,
        ScriptedNode(hub.url, token, spec) as node,
        hub.channel(token) as channel,
    ):
        proof = models_pb2.NodeProof(node=spec.node, secret=SCRIPTED_SECRET)
        async with BlockStream(channel, version.manifest.text, proof) as blocks:
            with pytest.raises(NotFound):
                await blocks.fetch(version.manifest.bytes)
        served = Deployment(name="own", model="lab/own", organisation="lab", publisher="lab/ada")
        await DeploymentClient(client.connection).deploy(served)
        await node.take()
        async with BlockStream(channel, version.manifest.text, proof) as blocks:
            assert await blocks.fetch(version.manifest.bytes)


async def test_a_reader_is_asked_now_and_then_whether_it_still_may(
    hub: RunningHub, kept: Repository, private: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_service, "RECHECK_S", 0.0)
    async with hub.channel() as channel, BlockStream(channel, private.manifest.text) as blocks:
        assert await blocks.fetch(private.manifest.bytes)
        kept.catalog.remove_model("lab/secret")
        with pytest.raises(NotFound):
            await blocks.fetch(private.manifest.bytes)


async def test_listing_the_blocks_of_one_version_keeps_readers_of_another_from_nothing(
    kept: Repository, version: Version, private: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(blocks: BlockSource, cid: Cid, manifest: Manifest) -> frozenset[bytes]:
        if cid == version.manifest:
            begun.set()
            assert go_on.wait(30)
        return digests_of(blocks, cid, manifest)

    monkeypatch.setattr(reading, "digests_of", slow)
    remembered = BlockReading(kept)
    first = asyncio.ensure_future(asyncio.to_thread(remembered.of, version.manifest, kept.manifest(version)))
    await asyncio.to_thread(begun.wait, 30)
    other = await asyncio.to_thread(remembered.of, private.manifest, kept.manifest(private))
    assert other.get(private.manifest.bytes)
    go_on.set()
    assert (await first).get(version.manifest.bytes)


async def test_an_organisation_reads_by_so_many_streams_at_a_time(
    hub: RunningHub, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_service, "MAX_READERS_EACH", 1)
    cid = version.manifest
    async with hub.channel() as channel, BlockStream(channel, cid.text) as first:
        assert await first.fetch(cid.bytes)
        async with BlockStream(channel, cid.text) as second:
            with pytest.raises(Unavailable):
                await second.fetch(cid.bytes)
        token = hub.token("client", "elsewhere/bob", "elsewhere")
        async with hub.channel(token) as others, BlockStream(others, cid.text) as third:
            assert await third.fetch(cid.bytes)
