"""A real kubo: what goes in over its RPC API comes out the same, and its refusals are errors of the tree."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import pytest

from farlane.errors import Conflict, Corrupted, InvalidInput, NotFound, TooLarge, Unavailable
from farlane.models.cid import DAG_CBOR, RAW, Cid, block_cid, parse_cid
from farlane.models.ipfs.gateway_source import GatewaySource
from farlane.models.ipfs.kubo_store import KuboStore
from farlane.models.ipfs.rpc import MAX_BLOCK_BYTES, KuboRpc


def content(size: int, seed: bytes) -> bytes:
    return hashlib.shake_256(seed).digest(size)


def manifest(*children: Cid) -> tuple[Cid, bytes]:
    import dag_cbor
    import multiformats

    data = dag_cbor.encode({"files": [multiformats.CID.decode(child.bytes) for child in children]})
    return block_cid(DAG_CBOR, data), data


def test_a_block_goes_in_and_comes_out(kubo) -> None:
    store, data = KuboStore(kubo.rpc), content(5000, b"one")
    cid = block_cid(RAW, data)
    assert not store.has(cid)
    store.put(cid, data)
    assert store.has(cid)
    assert store.size(cid) == 5000
    assert store.get(cid) == data
    assert store.locate(cid) is None
    assert cid in set(store.iterate())
    assert kubo.run("block", "get", cid.text) == data
    assert store.delete(cid)
    assert not store.delete(cid)


def test_what_is_missing_or_wrong_is_said(kubo) -> None:
    store, cid = KuboStore(kubo.rpc), block_cid(RAW, b"never put")
    with pytest.raises(NotFound):
        store.get(cid)
    with pytest.raises(NotFound):
        store.size(cid)
    with pytest.raises(Corrupted):
        store.put(cid, b"other")
    with pytest.raises(TooLarge):
        store.put(cid, bytes(MAX_BLOCK_BYTES + 1))
    with pytest.raises(InvalidInput):
        kubo.rpc.block("no-cid")
    assert not store.has(cid)


@pytest.mark.parametrize("size", [0, 1, 1 << 20, MAX_BLOCK_BYTES])
def test_blocks_of_every_size(kubo, size: int) -> None:
    store, data = KuboStore(kubo.rpc), content(size, b"sizes")
    store.put(block_cid(RAW, data), data)
    assert store.get(block_cid(RAW, data)) == data


def test_a_version_is_kept_and_pinned_as_a_whole(kubo) -> None:
    store = KuboStore(kubo.rpc)
    leaves = [(block_cid(RAW, data), data) for data in (content(70_000, bytes((n,))) for n in range(20))]
    root, data = manifest(*(cid for cid, _ in leaves))
    store.put_dag([(root, data), *leaves], [root])
    assert root.text in kubo.rpc.pins()
    kubo.run("repo", "gc")
    assert all(store.get(cid) == block for cid, block in leaves)
    assert kubo.run("dag", "get", "--output-codec=dag-cbor", root.text) == data
    with pytest.raises(Conflict):
        store.delete(root)
    assert store.unpin(root)
    assert not store.unpin(root)


def test_a_version_with_a_hole_is_not_pinned(kubo) -> None:
    root, data = manifest(block_cid(RAW, b"nowhere to be found"))
    with pytest.raises(NotFound):
        KuboStore(kubo.rpc).put_dag([(root, data)], [root])
    assert root.text not in kubo.rpc.pins()


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_files_that_kubo_adds_are_read_block_by_block(kubo, size: int) -> None:
    data = content(size, b"file")
    root = parse_cid(kubo.rpc.add([data]))
    sources = KuboStore(kubo.rpc), GatewaySource([kubo.gateway_url])
    blocks = [source.get(root) for source in sources]
    assert blocks[0] == blocks[1]
    if size <= 1 << 20:
        assert root == block_cid(RAW, data)
        assert blocks[0] == data


def test_an_alias_is_published_and_resolved(kubo) -> None:
    name = kubo.rpc.ensure_key("demo-champion")
    assert kubo.rpc.ensure_key("demo-champion") == name
    first, second = (f"/ipfs/{block_cid(RAW, data).text}" for data in (b"first", b"second"))
    for path in (first, second):
        record = kubo.rpc.publish(path, "demo-champion", lifetime_s=3600, ttl_s=1, offline=True)
        assert (record.name, record.path) == (name, path)
        assert kubo.rpc.resolve(name, offline=True) == path
    with pytest.raises(InvalidInput):
        kubo.rpc.ensure_key("../evil")


def test_nobody_answers() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        rpc = KuboRpc(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(Unavailable, match="nothing answers"):
            rpc.version()


def test_a_gateway_is_no_rpc(kubo) -> None:
    with pytest.raises(Unavailable, match="is it the RPC API"):
        KuboRpc(kubo.gateway_url).version()


def test_a_gateway_that_has_it_not(kubo) -> None:
    source = GatewaySource([kubo.gateway_url])
    assert not source.has(block_cid(RAW, b"not at the gateway"))
    with pytest.raises(NotFound):
        source.get(block_cid(RAW, b"not at the gateway"))


def test_another_kubo_fetches_a_version_by_bitswap(kubo, other_kubo) -> None:
    leaf = content(200_000, b"bitswap")
    root, data = manifest(block_cid(RAW, leaf))
    KuboStore(kubo.rpc).put_dag([(root, data), (block_cid(RAW, leaf), leaf)], [root])
    other_kubo.rpc.connect(kubo.address())
    far = KuboStore(other_kubo.rpc, network=True)
    assert far.get(root) == data
    far.pin(root, "fetched")
    assert KuboStore(other_kubo.rpc).get(block_cid(RAW, leaf)) == leaf
    assert other_kubo.rpc.pins()[root.text] == "fetched"


def test_helia_fetches_by_bitswap_and_from_a_gateway(kubo, start_helia, tmp_path: Path) -> None:
    data = content(2_500_000, b"helia")
    cid = kubo.rpc.add(data)
    target = tmp_path / "fetched"
    with start_helia() as peer:
        peer.ask("connect", address=kubo.address())
        peer.ask("fetch", cid=cid, path=str(target))
    assert target.read_bytes() == data
    with start_helia(kubo.gateway_url) as peer:
        peer.ask("fetch", cid=cid, path=str(tmp_path / "again"))
    assert (tmp_path / "again").read_bytes() == data


def test_what_helia_adds_kubo_reads(kubo, start_helia, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(content(1_500_000, b"from helia"))
    with start_helia() as peer:
        cid = peer.ask("add", path=str(source))["cid"]
        kubo.rpc.connect(peer.addresses[0])
        root = KuboStore(kubo.rpc, network=True).get(parse_cid(cid))
        assert kubo.run("cat", cid) == source.read_bytes()
    assert KuboStore(kubo.rpc).get(parse_cid(cid)) == root
    assert kubo.rpc.add(source.read_bytes()) == cid
