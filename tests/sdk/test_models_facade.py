"""`Client.models`: a hub's models without asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from farlane.models.adding import add
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.repository import Repository
from farlane.sdk.facade import Client
from farlane.testing.running_hub import RunningHub

T = TypeVar("T")


def repository() -> Repository:
    return Repository(MemoryBlockStore(), Catalog(MemoryRows()))


async def test_a_model_is_pushed_named_and_pulled_without_asyncio(tmp_path: Path) -> None:
    own, other = repository(), repository()
    (tmp_path / "words.txt").write_text("a b c")
    for loss in (1, 2):
        (tmp_path / "words.txt").write_text("a b c" * loss)
        add(own, tmp_path / "words.txt", "lab/mini")
    async with RunningHub(tmp_path / "hub", models=repository()) as hub:

        def work() -> None:
            with Client(hub.url, hub.token().text()) as client:
                models = client.models
                assert models.push(own, "lab/mini@v1", alias="champion").version.number == 1
                models.push(own, "lab/mini@v2")
                assert models.tag("lab/mini", "champion", "v2", expect="v1").before is not None
                assert models.rollback("lab/mini", "champion").back
                assert models.describe("lab/mini@champion")[0].number == 1
                assert models.pull(other, "lab/mini@champion").version.name == "lab/mini"
                models.untag("lab/mini", "champion")
                assert models.remove("lab/mini@v1") == "lab/mini@v1"
                assert [one.version.number for one in models.model("lab/mini").versions] == [2]
                assert models.remove("lab/mini", everything=True) == "lab/mini"
                assert models.list() == []

        await _in_thread(work)
    assert other.resolve("lab/mini")[1] == own.resolve("lab/mini@v1")[1]


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)
