"""Names at a hub: aliases moved by compare and set, lists that go page by page, licences that are accepted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from farlane.errors import Conflict, InvalidInput, NotFound, PermissionRefused
from farlane.models.adding import Description, add
from farlane.models.catalog.values import Author
from farlane.models.manifest.values import Encryption
from farlane.models.repository import Repository
from farlane.sdk.client import AsyncClient
from farlane.sdk.model_hub import NOWHERE, ModelHub
from farlane.testing.running_hub import RunningHub

LAB = Author("lab", "ada")


def models(client: AsyncClient) -> ModelHub:
    return ModelHub(client.connection, random=Random(1))


@pytest.fixture
def kept(hub: RunningHub, folder: Path) -> Repository:
    """The hub's repository with three versions of lab/mini."""
    assert hub.models is not None
    for number in range(3):
        add(hub.models, folder, "lab/mini", Description(metrics=(("loss", number),)), author=LAB)
    return hub.models


@pytest.mark.parametrize("expect", ["v1", NOWHERE])
async def test_of_two_moves_at_once_exactly_one_wins(hub: RunningHub, kept: Repository, expect: str) -> None:
    async with hub.client() as one, hub.client("lab/bob") as two:
        if expect != NOWHERE:
            await models(one).tag("lab/mini", "champion", expect)
        moves = await asyncio.gather(
            models(one).tag("lab/mini", "champion", "v2", expect=expect),
            models(two).tag("lab/mini", "champion", "v3", expect=expect),
            return_exceptions=True,
        )
        winner = await models(one).describe("lab/mini@champion")
    (refused,) = [each for each in moves if isinstance(each, BaseException)]
    assert isinstance(refused, Conflict)
    assert winner[0].manifest.text in refused.message  # it says where the alias stands
    assert kept.catalog.history("lab/mini")[-1].target == winner[0].manifest


async def test_an_alias_goes_nowhere_it_cannot(hub: RunningHub, kept: Repository) -> None:
    async with hub.client() as client, hub.client("elsewhere/eve", "elsewhere") as eve:
        for target, error in (("v9", NotFound), ("nothing", NotFound), ("no such thing", InvalidInput)):
            with pytest.raises(error):
                await models(client).tag("lab/mini", "champion", target)
        with pytest.raises(InvalidInput):
            await models(client).tag("lab/mini", "v2", "v1")
        with pytest.raises(NotFound):
            await models(client).rollback("lab/mini", "champion")
        with pytest.raises(PermissionRefused):
            await models(eve).tag("lab/mini", "champion", "v1")


async def test_a_long_list_comes_page_by_page_without_what_is_private(
    hub: RunningHub, kept: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farlane.hub.models.listing.NAMES_A_PAGE", 2)
    (tmp_path / "words.txt").write_text("words")
    secret = Description(encryption=Encryption(algorithm="test", recipients=(b"wrapped",)))
    for name in "abcdefg":
        add(kept, tmp_path / "words.txt", f"lab/{name}", secret if name in "cdg" else None, author=LAB)
    async with hub.client() as ada, hub.client("elsewhere/eve", "elsewhere") as eve:
        assert [one.name for one in await models(ada).list()] == [
            f"lab/{name}" for name in [*"abcdefg", "mini"]
        ]
        seen = await models(eve).list()
    assert [one.name for one in seen] == [f"lab/{name}" for name in [*"abef", "mini"]]
    assert [each.version.number for each in seen[-1].versions] == [3]  # of each name the newest


async def test_a_list_that_is_too_large_for_a_message_goes_on_in_the_next(
    hub: RunningHub, kept: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("farlane.hub.models.listing.PAGE_BYTES", 300)
    (tmp_path / "words.txt").write_text("words")
    for name in "abcdefg":
        add(kept, tmp_path / "words.txt", f"lab/{name}", author=LAB)
    async with hub.client() as client:
        assert [one.name for one in await models(client).list()] == [
            f"lab/{name}" for name in [*"abcdefg", "mini"]
        ]
        versions = (await models(client).model("lab/mini")).versions
    assert [one.version.number for one in versions] == [3]  # of one name the oldest are left out


async def test_a_licence_is_accepted_by_its_name(hub: RunningHub, kept: Repository, folder: Path) -> None:
    asked = Description(licence="MIT", acceptance=True)
    cid = add(kept, folder, "lab/asked", asked, author=LAB).version.manifest
    async with hub.client("elsewhere/bob", "elsewhere") as client:
        with pytest.raises(PermissionRefused, match="MIT"):
            await models(client).accept("lab/asked", "Apache-2.0")
        await models(client).accept("lab/asked", "mit")
    assert kept.catalog.accepted("elsewhere", cid) == "MIT"
    assert kept.catalog.accepted("lab", cid) == ""
