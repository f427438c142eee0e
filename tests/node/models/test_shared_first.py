"""A node on a machine with a repository: versions of it are taken as they are there, others are fetched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from farlane.app.model_repository import open_repository
from farlane.app.shared_models import FirstOf, SharedModels
from farlane.errors import NotFound
from farlane.models.adding import add
from farlane.testing.model_nodes import ModelNode, read_folder

MakeNode = Callable[..., ModelNode]


@pytest.fixture
def shared(tmp_path: Path) -> SharedModels:
    return SharedModels(tmp_path / "shared", tmp_path / "versions")


@pytest.fixture
def local(tmp_path: Path, shared: SharedModels) -> str:
    """A version of the machine's own repository."""
    (tmp_path / "local.bin").write_bytes(b"local")
    with open_repository(tmp_path / "shared") as repository:
        return add(repository, tmp_path / "local.bin", "lab/local").version.manifest.text


async def test_what_the_repository_has_is_not_fetched(
    node: MakeNode, shared: SharedModels, local: str, version: str, content: dict[str, bytes]
) -> None:
    one = node(beside=shared.held)
    async with one:
        models = FirstOf(shared, one.cache)
        async with models.hold(local) as folder:
            assert read_folder(folder) == {"local.bin": b"local"}
            assert (await models.manifest(local)).name == "lab/local"
        assert one.held[-1] == (local,)
        assert one.cache.figures.hub == 0
        async with models.hold(version) as folder:
            assert read_folder(folder) == content
            assert (await models.manifest(version)).name == "lab/mini"
        assert set(one.held[-1]) == {local, version}


async def test_what_neither_has_is_not_found(node: MakeNode, shared: SharedModels, local: str) -> None:
    async with node() as one:
        with pytest.raises(NotFound):
            async with FirstOf(shared, one.cache).hold(local[:-4] + "aaaa"):
                pass
