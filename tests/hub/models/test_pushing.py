"""Pushing versions to a hub: whole, broken off and gone on with, at once with others, and by who may not."""

from __future__ import annotations

import asyncio
import resource
from dataclasses import replace
from pathlib import Path
from random import Random

import grpc
import pytest

from farlane.errors import (
    Conflict,
    Corrupted,
    DiskFull,
    FarlaneError,
    InvalidSignature,
    NotFound,
    PermissionRefused,
    Unavailable,
)
from farlane.models.adding import Description, add
from farlane.models.blocks.assembly import DiskAssembly
from farlane.models.catalog.values import Author
from farlane.models.cid import Cid, Octets
from farlane.models.exporting import export_folder
from farlane.models.manifest.values import Encryption
from farlane.models.repository import Repository
from farlane.sdk.client import AsyncClient
from farlane.sdk.model_hub import NOWHERE, ModelHub
from farlane.testing.manifests import KeyedHashSigner
from farlane.testing.running_hub import RunningHub
from farlane.testing.waiting import until
from farlane.wire.status import from_rpc_error
from farlane.wire.v1 import models_pb2
from farlane.wire.v1.models_pb2_grpc import ModelServiceStub
from farlane.wire.versions import this_version

MIB = 1 << 20
SIGNER = KeyedHashSigner("0xada")


def models(client: AsyncClient) -> ModelHub:
    return ModelHub(client.connection, random=Random(1))


def kept(hub: RunningHub) -> Repository:
    assert hub.models is not None
    return hub.models


async def test_a_pushed_version_is_the_same_at_the_hub(
    hub: RunningHub, own: Repository, tmp_path: Path
) -> None:
    seen: list[int] = []
    async with hub.client() as client:
        pushed = await models(client).push(
            own, "lab/mini", alias="champion", on_progress=lambda progress: seen.append(progress.done_bytes)
        )
    version, manifest = kept(hub).resolve("lab/mini@champion")
    assert version.manifest == own.resolve("lab/mini")[0].manifest == pushed.version.manifest
    assert kept(hub).catalog.model("lab/mini").organisation == "lab"
    export_folder(kept(hub), manifest, tmp_path / "out")
    assert (tmp_path / "out" / "weights.bin").read_bytes() == (tmp_path / "mini" / "weights.bin").read_bytes()
    assert seen[-1] == manifest.size_bytes
    assert seen == sorted(seen)


async def test_what_is_there_already_is_not_sent(hub: RunningHub, own: Repository, folder: Path) -> None:
    async with hub.client() as client:
        first = await models(client).push(own, "lab/mini")
        again = await models(client).push(own, "lab/mini")
        assert (again.version, again.sent_bytes) == (first.version, 0)
        weights = (folder / "weights.bin").read_bytes()
        (folder / "weights.bin").write_bytes(b"another beginning" + weights[17:])
        add(own, folder, "lab/mini")
        second = await models(client).push(own, "lab/mini@v2")
    assert second.version.number == 2
    assert 0 < second.sent_bytes < 1.2 * MIB  # one block of five, and inner nodes


async def test_a_push_that_was_cut_off_sends_the_rest_alone(hub: RunningHub, own: Repository) -> None:
    async with hub.client() as client:
        pushing = asyncio.ensure_future(
            models(client).push(
                own, "lab/mini", on_progress=lambda one: one.done_bytes > 2 * MIB and pushing.cancel()
            )
        )
        with pytest.raises(asyncio.CancelledError):
            await pushing
        with pytest.raises(NotFound):
            kept(hub).resolve("lab/mini")
        pushed = await models(client).push(own, "lab/mini")
    assert pushed.sent_bytes < 4.2 * MIB


async def test_a_push_goes_on_when_its_hub_comes_back(hub: RunningHub, own: Repository) -> None:
    restarts: list[asyncio.Future[None]] = []

    def restart(done: int) -> None:
        if done > 2 * MIB and not restarts:
            restarts.append(asyncio.ensure_future(hub.restart()))

    async with hub.client() as client:
        pushed = await models(client).push(own, "lab/mini", on_progress=lambda one: restart(one.done_bytes))
        await restarts[0]
    assert kept(hub).resolve("lab/mini")[0].manifest == pushed.version.manifest
    assert (
        pushed.sent_bytes < pushed.total_bytes + 3.4 * MIB
    )  # what was on its way is lost, not what was kept


async def test_two_pushes_of_one_file_send_it_once(hub: RunningHub, own: Repository, folder: Path) -> None:
    (folder / "more.txt").write_text("more")
    add(own, folder, "lab/other")
    async with hub.client() as client, hub.client("lab/bob") as other:
        one, two = await asyncio.gather(
            models(client).push(own, "lab/mini"), models(other).push(own, "lab/other")
        )
    assert one.sent_bytes + two.sent_bytes < one.total_bytes + MIB


async def test_of_two_pushes_to_one_alias_exactly_one_wins(
    hub: RunningHub, own: Repository, folder: Path
) -> None:
    (folder / "more.txt").write_text("more")
    add(own, folder, "lab/mini")
    async with hub.client() as client, hub.client("lab/bob") as other:
        outcomes = await asyncio.gather(
            models(client).push(own, "lab/mini@v1", alias="champion", expect=NOWHERE),
            models(other).push(own, "lab/mini@v2", alias="champion", expect=NOWHERE),
            return_exceptions=True,
        )
    refused = [one for one in outcomes if isinstance(one, Conflict)]
    assert len(refused) == 1
    assert "lab/mini@champion stands on baf" in refused[0].message


async def refused(hub: RunningHub, own: Repository, name: str, organisation: str = "lab") -> FarlaneError:
    async with hub.client(f"{organisation}/eve", organisation) as client:
        with pytest.raises(FarlaneError) as caught:
            await models(client).push(own, name)
    return caught.value


async def test_the_name_of_another_organisation_is_refused(hub: RunningHub, own: Repository) -> None:
    async with hub.client() as client:
        await models(client).push(own, "lab/mini")
    assert isinstance(await refused(hub, own, "lab/mini", "elsewhere"), PermissionRefused)


async def test_a_wrong_signature_is_refused(hub: RunningHub, own: Repository, folder: Path) -> None:
    signed = add(own, folder, "lab/signed", signer=SIGNER).version
    assert signed.signature is not None
    forged = replace(signed.signature, value=signed.signature.value[:-1] + b"!")
    own.catalog.remove("lab/signed")
    own.catalog.add("lab/signed", signed.manifest, forged)
    assert isinstance(await refused(hub, own, "lab/signed"), InvalidSignature)
    assert list(kept(hub).blocks.iterate()) == []


async def test_a_publisher_who_is_not_trusted_is_refused(
    hub: RunningHub, own: Repository, folder: Path
) -> None:
    add(own, folder, "lab/signed", signer=SIGNER)
    async with hub.client() as client:
        await models(client).push(own, "lab/signed")
    own.catalog.trust("lab/signed", "0xeve")
    (folder / "more.txt").write_text("more")
    add(own, folder, "lab/signed", signer=KeyedHashSigner("0xeve"))
    found = await refused(hub, own, "lab/signed")
    assert isinstance(found, PermissionRefused)
    assert "0xada" in found.message


async def test_a_name_is_public_or_private(hub: RunningHub, own: Repository, folder: Path) -> None:
    add(kept(hub), folder, "lab/mini", Description(encryption=Encryption(algorithm="test", recipients=(b"w",))),
        author=Author("lab"))  # fmt: skip
    assert isinstance(await refused(hub, own, "lab/mini"), Conflict)


async def test_a_push_beyond_the_budget_is_refused_at_once(hub: RunningHub, own: Repository) -> None:
    hub.settings = replace(hub.settings, models_bytes=4 * MIB)
    await hub.restart()
    found = await refused(hub, own, "lab/mini")
    assert isinstance(found, DiskFull)
    assert "hub.models_bytes" in found.message
    assert list(kept(hub).blocks.iterate()) == []


async def test_damage_at_the_publisher_ends_the_push_there(hub: RunningHub, own: Repository) -> None:
    file = own.resolve("lab/mini")[1].file("weights.bin")
    assert file is not None
    path = own.file_path(file)
    path.chmod(0o600)
    with path.open("r+b") as stream:
        stream.seek(3 * MIB)
        stream.write(b"X")
    found = await refused(hub, own, "lab/mini")
    assert isinstance(found, Corrupted | NotFound)
    with pytest.raises(NotFound):
        kept(hub).resolve("lab/mini")


async def test_a_client_that_goes_away_lets_its_files_go(hub: RunningHub, own: Repository) -> None:
    async with hub.client() as client:
        pushing = asyncio.ensure_future(
            models(client).push(
                own, "lab/mini", on_progress=lambda one: one.done_bytes > MIB and pushing.cancel()
            )
        )
        await asyncio.wait([pushing])
    manifest: Cid = own.resolve("lab/mini")[0].manifest
    await until(lambda: manifest not in kept(hub).blocks.held())


async def test_a_full_disk_in_mid_push_loses_nothing(
    hub: RunningHub, own: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    write = DiskAssembly.write

    def write_on_a_full_disk(self: DiskAssembly, index: int, data: Octets) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 * MIB, before[1]))  # the kernel refuses what lies beyond
        write(self, index, data)

    async with hub.client() as client:
        try:
            with monkeypatch.context() as full:
                full.setattr(DiskAssembly, "write", write_on_a_full_disk)
                with pytest.raises(DiskFull):
                    await models(client).push(own, "lab/mini")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        with pytest.raises(NotFound):
            kept(hub).resolve("lab/mini")
        pushed = await models(client).push(own, "lab/mini")
    assert pushed.sent_bytes < 4.2 * MIB


async def test_more_pushes_than_the_hub_takes_wait_for_their_turn(
    hub: RunningHub, own: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farlane.hub.grpc_api.model_service.MAX_PUSHES_EACH", 1)
    manifest = own.blocks.get(own.resolve("lab/mini")[0].manifest)
    offer = models_pb2.PushMessage(offer=models_pb2.PushOffer(version=this_version(), manifest=manifest))
    async with hub.client() as client, hub.channel() as channel:
        first = ModelServiceStub(channel).Push()
        await first.write(offer)
        assert (await first.read()).HasField("welcome")  # type: ignore[union-attr]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ModelServiceStub(channel).Push().read()
        assert isinstance(from_rpc_error(refused.value, "pushing"), Unavailable)
        pushing = asyncio.ensure_future(models(client).push(own, "lab/mini"))
        first.cancel()
        assert (await pushing).version.number == 1
