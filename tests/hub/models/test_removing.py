"""Removing versions from a hub, and who publishes a name: for its owners, never what is served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from farlane.domain.deployments import Deployment
from farlane.errors import Conflict, NotFound, PermissionRefused
from farlane.models.adding import add
from farlane.models.repository import Repository
from farlane.sdk.client import AsyncClient
from farlane.sdk.deployments import DeploymentClient
from farlane.sdk.model_hub import ModelHub
from farlane.testing.manifests import KeyedHashSigner
from farlane.testing.running_hub import RunningHub


def models(client: AsyncClient) -> ModelHub:
    return ModelHub(client.connection, random=Random(1))


@pytest.fixture
async def ada(hub: RunningHub, own: Repository) -> AsyncIterator[AsyncClient]:
    """A publisher of the organisation lab, who has pushed lab/mini@v1."""
    async with hub.client() as client:
        await models(client).push(own, "lab/mini", alias="champion")
        yield client


async def test_what_is_served_is_not_removed(ada: AsyncClient) -> None:
    deployments = DeploymentClient(ada.connection)
    await models(ada).untag("lab/mini", "champion")
    wanted = Deployment(name="mini", model="lab/mini@v1", organisation="lab", publisher="lab/ada",
                        runtime="onnx")  # fmt: skip
    await deployments.deploy(wanted)
    for everything in (True, False):
        with pytest.raises(Conflict, match="served as 'mini'"):
            await models(ada).remove("lab/mini", everything=everything)
    await deployments.undeploy("mini")
    assert await models(ada).remove("lab/mini", everything=True) == "lab/mini"


async def test_others_remove_nothing_but_the_hubs_owner_does(hub: RunningHub, ada: AsyncClient) -> None:
    async with hub.client("elsewhere/eve", "elsewhere") as eve:
        with pytest.raises(PermissionRefused):
            await models(eve).remove("lab/mini", everything=True)
    async with hub.client("host/op", "host", owner=True) as operator:
        with pytest.raises(Conflict, match="move that alias first"):
            await models(operator).remove("lab/mini@v1")
        await models(operator).remove("lab/mini", everything=True)
        with pytest.raises(NotFound):
            await models(operator).model("lab/mini")


async def test_a_name_takes_another_publishers_versions_when_its_owner_says_so(
    hub: RunningHub, ada: AsyncClient, own: Repository, folder: Path
) -> None:
    own.catalog.trust("lab/mini", "0xada")
    add(own, folder, "lab/mini", signer=KeyedHashSigner("0xada"))
    with pytest.raises(PermissionRefused):
        await models(ada).push(own, "lab/mini@v2")
    async with hub.client("elsewhere/eve", "elsewhere") as eve:
        with pytest.raises(PermissionRefused):
            await models(eve).trust("lab/mini", "0xada")
    await models(ada).trust("lab/mini", "0xada")
    assert (await models(ada).push(own, "lab/mini@v2")).version.number == 2


async def test_a_private_version_is_pushed_and_pulled_by_its_owners_alone(
    hub: RunningHub, ada: AsyncClient, own: Repository, tmp_path: Path
) -> None:
    from farlane.models.private.recipients import new_recipient_key
    from farlane.models.private.versions import add_private

    (tmp_path / "secret.txt").write_text("secret")
    add_private(own, tmp_path / "secret.txt", "lab/secret", (), new_recipient_key())
    await models(ada).push(own, "lab/secret")
    async with hub.client("lab/bob") as bob:
        assert (await models(bob).pull(own, "lab/secret")).version.name == "lab/secret"
    async with hub.client("elsewhere/eve", "elsewhere") as eve:
        assert [one.name for one in await models(eve).list()] == ["lab/mini"]
        for ask in (models(eve).model("lab/secret"), models(eve).describe("lab/secret")):
            with pytest.raises(NotFound, match="yours"):
                await ask
