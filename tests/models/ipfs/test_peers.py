"""What farlane publishes is read by kubo and Helia over every way, byte by byte, and farlane reads what kubo adds."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save_file

from farlane.app.model_repository import open_repository
from farlane.models.adding import Added, add
from farlane.models.cid import Cid, parse_cid
from farlane.models.ipfs.gateway_source import GatewaySource
from farlane.models.ipfs.kubo_store import KuboStore
from farlane.models.ipfs.published import PublishedVersions
from farlane.models.ipfs.pushing import push
from farlane.models.repository import Repository
from farlane.models.transfer.block_server import BlockServer
from farlane.models.unixfs.listing import list_files
from farlane.models.unixfs.reading import read_bytes


class Home(NamedTuple):
    repository: Repository
    added: Added
    content: dict[str, bytes]
    gateway: str

    @property
    def roots(self) -> dict[Cid, bytes]:
        """Return each DAG of each file, and the bytes that it must give."""
        files = self.added.manifest.files
        return {cid: self.content[one.path] for one in files for cid in (one.cid, one.ipfs_cid)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A repository with a version of several kinds of files, served by our own gateway."""
    place, draw = tmp_path_factory.mktemp("home"), np.random.default_rng(8)
    folder = place / "mini"
    (folder / "tokens" / "deep").mkdir(parents=True)
    tensors = {"embedding": draw.normal(size=(700, 400)), "head": draw.normal(size=(3, 5))}
    save_file(tensors, folder / "model.safetensors")
    (folder / "plain.bin").write_bytes(hashlib.shake_256(b"plain").digest(2_300_000))
    (folder / "config.json").write_text('{"hidden": 400}')
    (folder / "tokens" / "deep" / "vocabulary é.txt").write_text("a\nb\n")
    with open_repository(place / "models") as repository:
        added = add(repository, folder, "lab/mini")
        published = PublishedVersions(repository)
        server = BlockServer("127.0.0.1:0", published.source, published.admit)
        yield Home(repository, added, content(folder), f"http://{server.address}")
        server.close()


@pytest.fixture(scope="module")
def pushed(home: Home, kubo) -> Home:
    push(home.repository, "lab/mini", kubo.rpc)
    return home


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_kubo_gives_the_folder_and_each_file(kubo, pushed: Home, tmp_path: Path) -> None:
    root = pushed.added.manifest.root.text
    kubo.run("get", "--progress=false", f"--output={tmp_path / 'got'}", root)
    assert content(tmp_path / "got") == pushed.content
    for cid, data in pushed.roots.items():
        assert kubo.run("cat", cid.text) == data
    manifest = pushed.added.version.manifest
    assert kubo.run("block", "get", manifest.text) == pushed.repository.blocks.get(manifest)


def test_another_kubo_fetches_and_pins_it_by_bitswap(kubo, other_kubo, pushed: Home) -> None:
    other_kubo.rpc.connect(kubo.address())
    manifest = pushed.added.version.manifest
    KuboStore(other_kubo.rpc, network=True).pin(manifest, "lab/mini")
    other_kubo.rpc.check_complete(manifest.text)
    for cid, data in pushed.roots.items():
        assert other_kubo.run("cat", "--offline", cid.text) == data


def test_an_old_kubo_fetches_each_file_by_bitswap(kubo, old_kubo, pushed: Home, tmp_path: Path) -> None:
    old_kubo.ask("connect", address=kubo.address())
    for cid, data in pushed.roots.items():
        old_kubo.ask("fetch", cid=cid.text, path=str(tmp_path / cid.text))
        assert (tmp_path / cid.text).read_bytes() == data


def test_what_an_old_kubo_adds_is_read_through_a_new_one(
    new_kubo, old_kubo, home: Home, tmp_path: Path
) -> None:
    data = home.content["model.safetensors"]
    (tmp_path / "file").write_bytes(data)
    root = parse_cid(old_kubo.ask("add", path=str(tmp_path / "file"))["cid"])
    new_kubo.rpc.connect(old_kubo.addresses[0])
    assert b"".join(read_bytes(KuboStore(new_kubo.rpc, network=True), root)) == data


def test_helia_fetches_each_file_by_bitswap(kubo, start_helia, pushed: Home, tmp_path: Path) -> None:
    with start_helia() as peer:
        peer.ask("connect", address=kubo.address())
        for cid, data in pushed.roots.items():
            peer.ask("fetch", cid=cid.text, path=str(tmp_path / cid.text))
            assert (tmp_path / cid.text).read_bytes() == data


def test_helia_fetches_each_file_from_our_gateway(start_helia, home: Home, tmp_path: Path) -> None:
    with start_helia(home.gateway) as peer:
        for cid, data in home.roots.items():
            peer.ask("fetch", cid=cid.text, path=str(tmp_path / cid.text))
            assert (tmp_path / cid.text).read_bytes() == data
        listed = peer.ask("list", cid=home.added.manifest.root.text)["names"]
    assert {one["name"] for one in listed} == {path.split("/")[0] for path in home.content}


def test_kubo_fetches_it_from_our_gateway_when_a_router_names_it(new_repo, scripted, home: Home) -> None:
    port = home.gateway.rpartition(":")[2]
    provider = {
        "Schema": "peer", "ID": "12D3KooWGtYkBAaqJMJEmywMxaCiNP7LCEFUAFiLEBASe232c2VH",
        "Addrs": [f"/ip4/127.0.0.1/tcp/{port}/http"], "Protocols": ["transport-ipfs-gateway-http"],
    }  # fmt: skip
    router = scripted(200, json.dumps({"Providers": [provider]}).encode(), "application/json")
    new_repo.set("Routing", {"Type": "auto", "DelegatedRouters": [router.url]})
    new_repo.set("HTTPRetrieval", {"Enabled": True})
    manifest = home.added.version.manifest
    with new_repo.running() as kubo:
        KuboStore(kubo.rpc, network=True).pin(manifest)
        kubo.rpc.check_complete(manifest.text)
        for cid, data in home.roots.items():
            assert kubo.run("cat", "--offline", cid.text) == data


def test_kubo_takes_the_car_of_our_gateway(new_kubo, home: Home, tmp_path: Path) -> None:
    manifest = home.added.version.manifest
    urllib.request.urlretrieve(f"{home.gateway}/ipfs/{manifest.text}?format=car", tmp_path / "version.car")
    new_kubo.run("dag", "import", "--stats", str(tmp_path / "version.car"))
    new_kubo.rpc.check_complete(manifest.text)
    for cid, data in home.roots.items():
        assert new_kubo.run("cat", cid.text) == data


@pytest.mark.parametrize("fixture", ["kubo", "other_kubo"])
def test_a_folder_that_kubo_added_is_read(
    request: pytest.FixtureRequest, home: Home, tmp_path: Path, fixture: str
) -> None:
    kubo = request.getfixturevalue(fixture)
    for path, data in home.content.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    root = parse_cid(kubo.run("add", "-r", "-Q", "--progress=false", str(tmp_path)).decode().strip())
    for source in (KuboStore(kubo.rpc), GatewaySource([kubo.gateway_url])):
        files = {one.path: b"".join(read_bytes(source, one.cid)) for one in list_files(source, root)}
        assert files == home.content
