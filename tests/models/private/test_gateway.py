"""A gateway of a repository's public versions gives no block of a private one, however it is asked."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from random import Random

import pytest

from farlane.models.adding import add
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.cid import DAG_CBOR, DAG_PB, RAW, Cid
from farlane.models.ipfs.published import PublishedVersions
from farlane.models.private.recipients import new_recipient_key
from farlane.models.private.versions import add_private
from farlane.models.repository import Repository
from farlane.models.transfer.block_server import BlockServer
from farlane.models.version_blocks import digests_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").write_bytes(Random(1).randbytes(3 << 20))
    return tmp_path / "model"


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_every_way_to_every_block_of_a_private_version_is_closed(folder: Path) -> None:
    repository = Repository(MemoryBlockStore(), Catalog(MemoryRows()))
    public = add(repository, folder, "lab/open").manifest
    secret = add_private(repository, folder, "lab/secret", [], new_recipient_key())
    cid, manifest = secret.version.manifest, secret.manifest
    published = PublishedVersions(repository)
    server = BlockServer("127.0.0.1:0", published.source, published.admit)
    try:
        at = f"http://{server.address}/ipfs"
        assert status(f"{at}/{public.root.text}/weights.bin?format=raw") == 200
        ways = [f"{manifest.root.text}/{file.path}?format={kind}"
                for file in manifest.files for kind in ("raw", "car")]  # fmt: skip
        for digest in digests_of(repository.blocks, cid, manifest):
            for codec in (RAW, DAG_PB, DAG_CBOR):
                ways += [f"{Cid(1, codec, digest).text}?format={kind}" for kind in ("raw", "car")]
        assert {status(f"{at}/{way}") for way in ways} == {404}
        assert len(ways) > 50
    finally:
        server.close()
