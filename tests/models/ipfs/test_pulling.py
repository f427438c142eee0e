"""Versions out of gateways: verified as they come, gone on with after a break, refused before a file is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from farlane.errors import Corrupted, InvalidInput, InvalidSignature, NotFound, PermissionRefused
from farlane.kit.clock import ManualClock
from farlane.models.adding import Description, add
from farlane.models.blocks.describing import describe_file
from farlane.models.blocks.disk import DiskBlockStore
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.blocks.walking import walk
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.catalog.values import Version
from farlane.models.cid import DAG_CBOR, DAG_PB, RAW, Cid, block_cid, verify_block
from farlane.models.ipfs.fetching import gateways
from farlane.models.ipfs.outgoing import SignedBlocks, gather
from farlane.models.ipfs.pulling import Pulled, pull
from farlane.models.ipfs.signed_version import published_as, signed_block
from farlane.models.manifest.signature import Signature
from farlane.models.repository import Repository
from farlane.models.transfer.block_server import BlockServer
from farlane.models.trees import tree
from farlane.models.unixfs.describing import Plain
from farlane.testing.block_serving import everybody
from farlane.testing.manifests import KeyedHashSigner, model_file, small_manifest

ADA = KeyedHashSigner("0xada")
WEIGHTS = Random(5).randbytes(9_500_000)


def empty() -> Repository:
    return Repository(MemoryBlockStore(), Catalog(MemoryRows()), KeyedHashSigner.recover, ManualClock())


class Gateway:
    """Serves a repository's versions, and counts what it is asked for.

    Attributes:
        more: blocks beside those of the repository.
        lies_about: codecs whose blocks are sent with a bit flipped.
        lacks: blocks that are said not to be here.
    """

    def __init__(self, repository: Repository) -> None:
        self.more: dict[bytes, bytes] = {}
        self.source = SignedBlocks(repository.blocks, self.more)
        self.lies_about: set[int] = set()
        self.lacks: set[Cid] = set()
        self.asked: list[Cid] = []
        self.server = BlockServer("127.0.0.1:0", self, everybody)
        self.url = f"http://{self.server.address}"

    def has(self, cid: Cid) -> bool:
        return cid not in self.lacks and self.source.has(cid)

    def size(self, cid: Cid) -> int:
        return self.source.size(cid)

    def get(self, cid: Cid) -> bytes:
        self.asked.append(cid)
        if cid in self.lacks:
            raise NotFound("it is not here")
        data = self.source.get(cid)
        return bytes([data[0] ^ 1]) + data[1:] if cid.codec in self.lies_about else data

    def locate(self, cid: Cid) -> None:
        return None

    def publish(self, version: Version) -> Cid:
        root, block = published_as(version)
        if block is not None:
            self.more[root.digest] = block
        return root


@pytest.fixture
def home() -> Repository:
    return empty()


@pytest.fixture
def away() -> Repository:
    return empty()


@pytest.fixture
def serve(home: Repository) -> Iterator[Callable[[], Gateway]]:
    with contextlib.ExitStack() as stack:

        def start() -> Gateway:
            gateway = Gateway(home)
            stack.callback(gateway.server.close)
            return gateway

        yield start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "weights.bin").write_bytes(WEIGHTS)
    (tmp_path / "mini" / "again.bin").write_bytes(WEIGHTS)
    (tmp_path / "mini" / "config.json").write_text("{}")
    return tmp_path / "mini"


def taken(repository: Repository, cid: Cid, *from_gateways: Gateway, accept: str = "") -> Pulled:
    return pull(repository, cid, gateways([one.url for one in from_gateways], patience_s=20), accept=accept)


def test_a_signed_version_comes_with_its_signature(home, away, serve, folder: Path) -> None:
    version = add(home, folder, "lab/mini", signer=ADA).version
    gateway = serve()
    got = taken(away, gateway.publish(version), gateway)
    assert (got.version.manifest, got.version.signature) == (version.manifest, version.signature)
    path = away.file_path(got.manifest.files[0])
    assert path.read_bytes() == WEIGHTS
    assert gather(away, got.version, got.manifest).cids == gather(home, version, got.manifest).cids
    assert got.fetched_bytes == len(WEIGHTS) + 2  # the file that is there twice was fetched once


def test_a_gateway_that_lies_is_dropped(home, away, serve, folder: Path) -> None:
    version = add(home, folder, "lab/mini").version
    liar, honest = serve(), serve()
    liar.lies_about = {RAW}
    got = taken(away, version.manifest, liar, honest)
    assert away.file_path(got.manifest.files[0]).read_bytes() == WEIGHTS
    assert got.dropped == (liar.url,)


@pytest.mark.parametrize("codec", [DAG_CBOR, DAG_PB, RAW])
def test_nobody_who_is_honest(home, away, serve, folder: Path, codec: int) -> None:
    version, liar = add(home, folder, "lab/mini").version, serve()
    liar.lies_about = {codec}
    with pytest.raises(Corrupted, match=r"wrong bytes|no gateway sent"):
        taken(away, version.manifest, liar)
    assert away.catalog.models() == ()


def test_a_pull_goes_on_where_it_broke_off(home, away, serve, folder: Path) -> None:
    version, gateway = add(home, folder, "lab/mini").version, serve()
    file = home.manifest(version).files[0]
    leaves = [cid for cid, _ in walk(home.blocks.get, [file.cid]) if cid.codec == RAW]
    gateway.lacks = {leaves[3]}
    with pytest.raises(NotFound, match=leaves[3].text):
        taken(away, version.manifest, gateway)
    kept = set(gateway.asked)
    gateway.lacks, gateway.asked = set(), []
    got = taken(away, version.manifest, gateway)
    assert got.fetched_bytes < len(WEIGHTS)
    assert set(gateway.asked) & kept <= {version.manifest, leaves[3]}


def test_a_bare_manifest_does_not_stand_for_a_signed_version(home, away, serve, folder: Path) -> None:
    version, gateway = add(home, folder, "lab/mini", signer=ADA).version, serve()
    with pytest.raises(PermissionRefused, match="leads to the signature"):
        taken(away, version.manifest, gateway)


def test_somebody_elses_signature_is_refused_before_a_file_is_asked_for(
    home, away, serve, folder: Path
) -> None:
    version, gateway = add(home, folder, "lab/mini", signer=ADA).version, serve()
    forged = signed_block(version.manifest, Signature("0xada", KeyedHashSigner("0xeve").sign_text("other")))
    root = block_cid(DAG_CBOR, forged)
    gateway.more[root.digest] = forged
    with pytest.raises(InvalidSignature):
        taken(away, root, gateway)
    assert set(gateway.asked) == {root, version.manifest}


def test_somebody_elses_name_is_refused_before_a_file_is_asked_for(home, away, serve, folder: Path) -> None:
    version, gateway = add(home, folder, "lab/mini", signer=ADA).version, serve()
    (folder / "config.json").write_text('{"mine": 1}')
    add(away, folder, "lab/mini", signer=KeyedHashSigner("0xeve"))
    root = gateway.publish(version)
    with pytest.raises(PermissionRefused, match="belongs to 0xeve"):
        taken(away, root, gateway)
    assert set(gateway.asked) == {root, version.manifest}


def test_a_licence_is_accepted_before_a_file_is_asked_for(home, away, serve, folder: Path) -> None:
    said = Description(licence="LicenseRef-gemma", acceptance=True)
    version, gateway = add(home, folder, "lab/mini", said).version, serve()
    with pytest.raises(PermissionRefused, match="--accept-licence LicenseRef-gemma"):
        taken(away, version.manifest, gateway)
    with pytest.raises(PermissionRefused, match="not MIT"):
        taken(away, version.manifest, gateway, accept="MIT")
    assert set(gateway.asked) == {version.manifest}
    assert taken(away, version.manifest, gateway, accept="licenseref-GEMMA").version.number == 1


def test_what_is_no_version_is_said(home, away, serve) -> None:
    import dag_cbor

    gateway = serve()
    other = dag_cbor.encode({"kind": "something else"})
    for data in (other, b"no document"):
        gateway.more[block_cid(DAG_CBOR, data).digest] = data
        with pytest.raises(InvalidInput, match=r"no version|not a version"):
            taken(away, block_cid(DAG_CBOR, data), gateway)
    with pytest.raises(InvalidInput, match="begins with bafyrei"):
        taken(away, block_cid(RAW, other), gateway)


def test_a_pickle_does_not_stay(home, away, serve, tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07weights\x94.")
    described = describe_file(path, [Plain()])
    home.blocks.add_file(path, described)
    file = model_file("weights.bin", path.read_bytes())
    assert file.cid == described.dags[0].root
    root = tree([("weights.bin", file.ipfs_cid, file.size)])
    home.blocks.put_many(root.nodes.items())
    version = home.publish(small_manifest(root=root.root, files=(file,), format="plain"))
    with pytest.raises(InvalidInput, match="pickle"):
        taken(away, version.manifest, serve())
    with pytest.raises(NotFound):
        away.file_path(file)
    assert away.catalog.models() == ()


def test_a_file_that_is_here_cut_in_another_way_is_whole_in_both(
    home, serve, folder: Path, tmp_path: Path
) -> None:
    path = folder / "weights.bin"
    described = describe_file(path, [Plain()])
    plain = described.dags[0]
    home.blocks.add_file(path, described)
    file = model_file("weights.bin", WEIGHTS, cid=plain.root, ipfs_cid=plain.root)
    total_bytes = plain.size_bytes + sum(len(block) for block in plain.nodes.values())
    root = tree([("weights.bin", plain.root, total_bytes)])
    home.blocks.put_many(root.nodes.items())
    version = home.publish(small_manifest(root=root.root, files=(file,), format="plain"))

    with closing(DiskBlockStore(tmp_path / "store")) as store:
        away = Repository(store, Catalog(MemoryRows()), KeyedHashSigner.recover, ManualClock())
        own = add(away, folder, "lab/own")
        assert own.manifest.files[0].cid != plain.root
        got = taken(away, version.manifest, serve())
        for one in ((got.version, got.manifest), (own.version, own.manifest)):
            assert all(verify_block(cid, block) is None for cid, block in gather(away, *one).blocks())
