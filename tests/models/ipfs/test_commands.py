"""`farlane models ipfs`, as somebody types it on two machines with a kubo each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from farlane.app.model_repository import open_repository
from farlane.cli.main import main
from farlane.errors import NotFound
from farlane.models.adding import Description, add
from farlane.models.ipfs.gateway_source import GatewaySource
from farlane.models.ipfs.published import PublishedVersions
from farlane.models.manifest.values import ModelFile, Parent, Relation
from farlane.models.private.recipients import new_recipient_key
from farlane.models.private.versions import add_private
from farlane.models.repository import Repository
from farlane.models.transfer.block_server import BlockServer
from farlane.models.unixfs.reading import read_file
from farlane.testing.block_serving import StallingProxy
from farlane.testing.waiting import until

Type = Callable[..., str]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Go to another machine: one with a repository and keys of its own."""

    def go(name: str) -> None:
        monkeypatch.setenv("FARLANE_DIR", str(tmp_path / name))

    go("a")
    return go


@pytest.fixture
def models(machine: object, capsys: pytest.CaptureFixture[str]) -> Type:
    """Type a command and return what it prints: on stderr if it is to fail."""

    def run(*arguments: object, code: int = 0) -> str:
        assert main(["models", *map(str, arguments)]) == code, capsys.readouterr().err
        said = capsys.readouterr()
        return said.err if code else said.out

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw = np.random.default_rng(4)
    root = tmp_path / "mini"
    (root / "tokens").mkdir(parents=True)
    save_file({"a": draw.normal(size=(600, 700)), "b": draw.normal(size=(9, 3))}, root / "model.safetensors")
    (root / "config.json").write_text('{"hidden": 9}')
    (root / "tokens" / "empty.txt").write_bytes(b"")
    return root


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def read(models: Type, *arguments: object) -> Any:
    return json.loads(models(*arguments, "--json"))


def test_a_version_goes_from_one_machine_to_another(
    kubo, machine, models, folder: Path, tmp_path: Path
) -> None:
    models("add", folder, "lab/mini")
    sent = read(models, "ipfs", "push", "lab/mini", "--api", kubo.rpc_url)
    assert sent["address"] == f"ipfs://{sent['cid']}"
    assert kubo.rpc.pins()[sent["cid"]] == "lab/mini@v1"
    kubo.run("repo", "gc")
    again = read(models, "ipfs", "push", "lab/mini", "--api", kubo.rpc_url)
    assert (again["sent_blocks"], again["pinned"]) == (0, [sent["cid"]])

    machine("b")
    got = read(models, "ipfs", "pull", sent["address"], "--gateway", kubo.gateway_url)
    assert (got["cid"], got["dropped"]) == (sent["cid"], [])
    assert read(models, "verify") == {"versions": 1, "faults": []}
    models("export", "lab/mini", tmp_path / "out")
    assert content(tmp_path / "out") == content(folder)
    assert read(models, "ipfs", "pull", sent["cid"], "--gateway", kubo.gateway_url)["fetched_bytes"] == 0


def test_an_alias_is_followed_by_its_ipns_name(kubo, machine, models, folder: Path) -> None:
    api = ("--api", kubo.rpc_url)
    models("add", folder, "lab/named", "--tag", "champion")
    assert "ipfs push lab/named@champion" in models(
        "ipfs", "name", "lab/named@champion", *api, "--allow-offline", code=1
    )
    models("ipfs", "push", "lab/named", *api)
    assert "--allow-offline keeps it" in models("ipfs", "name", "lab/named@champion", *api, code=1)
    assert "names no alias" in models("ipfs", "name", "lab/named", *api, code=1)
    names = []
    for value in ("1", "2"):
        (folder / "config.json").write_text(value)
        version = read(models, "add", folder, "lab/named", "--tag", "champion")["cid"]
        models("ipfs", "push", "lab/named@champion", *api)
        record = read(models, "ipfs", "name", "lab/named@champion", *api, "--allow-offline")
        assert record["path"] == f"/ipfs/{version}"
        names.append(record["name"])
        machine("b")
        assert read(models, "ipfs", "pull", record["name"], *api, "--offline")["cid"] == version
        machine("c")
        assert read(models, "ipfs", "pull", record["name"], "--gateway", kubo.gateway_url)["cid"] == version
        machine("a")
    assert names[0] == names[1]
    assert "farlane:lab/named@champion" in set(kubo.rpc.keys())


def test_another_machine_finds_an_alias_and_its_version_over_the_dht(
    dht_kubos, machine, models, folder: Path
) -> None:
    first, second = dht_kubos
    version = read(models, "add", folder, "lab/mini", "--tag", "champion")["cid"]
    models("ipfs", "push", "lab/mini@champion", "--api", first.rpc_url)
    name = models("ipfs", "name", "lab/mini@champion", "--api", first.rpc_url).strip()
    machine("b")
    assert read(models, "ipfs", "pull", name, "--api", second.rpc_url)["cid"] == version


def test_a_version_comes_by_bitswap_through_ones_own_kubo(
    kubo, other_kubo, machine, models, folder: Path
) -> None:
    (folder / "config.json").write_text('"by bitswap"')
    models("add", folder, "lab/swapped")
    address = models("ipfs", "push", "lab/swapped", "--no-pin", "--api", kubo.rpc_url).strip()
    assert address.removeprefix("ipfs://") not in kubo.rpc.pins()
    other_kubo.rpc.connect(kubo.address())
    machine("b")
    assert read(models, "ipfs", "pull", address, "--api", other_kubo.rpc_url)["name"] == "lab/swapped"
    assert read(models, "verify")["faults"] == []


def test_a_private_version_is_refused_before_a_byte_is_sent(
    kubo, models, folder: Path, tmp_path: Path
) -> None:
    with open_repository(tmp_path / "a" / "models") as repository:
        secret = add_private(repository, folder, "lab/secret", [], new_recipient_key())
        repository.catalog.move("lab/secret", "champion", secret.version.manifest)
        child = Description(parents=(Parent(cid=secret.version.manifest, relation=Relation.FINETUNE),))
        add(repository, folder, "lab/child", child)
    api = ("--api", kubo.rpc_url)
    before = set(kubo.rpc.local_blocks())
    assert "is private" in models("ipfs", "push", "lab/secret", *api, code=1)
    assert "is private" in models("ipfs", "name", "lab/secret@champion", *api, code=1)
    assert set(kubo.rpc.local_blocks()) == before
    sent = read(models, "ipfs", "push", "lab/child", *api)
    assert sent["left_out"] == [secret.version.manifest.text]
    kubo.run("repo", "gc")
    assert read(models, "ipfs", "push", "lab/child", *api)["sent_blocks"] == 0
    assert kubo.rpc.block_size(secret.version.manifest.text) is None


def test_what_is_wrong_with_the_kubo_is_said(models, folder: Path) -> None:
    models("add", folder, "lab/mini")
    assert "nothing answers" in models("ipfs", "push", "lab/mini", "--api", "http://127.0.0.1:1", code=1)
    assert "no URL of a server" in models("ipfs", "push", "lab/mini", "--api", "localhost:5001", code=1)
    assert "names no version" in models("ipfs", "push", "lab/mini@v!", code=1)


@pytest.mark.parametrize(
    ("version", "word"), [("0.20.0", "needs 0.26 or newer"), ("new", "expected one like")]
)
def test_a_kubo_that_is_too_old_is_sent_nothing(
    models, folder: Path, scripted, version: str, word: str
) -> None:
    server = scripted(200, json.dumps({"Version": version}).encode())
    models("add", folder, "lab/mini")
    assert word in models("ipfs", "push", "lab/mini", "--api", server.url, code=1)
    assert server.asked == ["/api/v0/version?"]


def test_what_is_no_address_of_a_version_is_said(kubo, models, folder: Path) -> None:
    plain = kubo.rpc.add(b"a file, and no model", {"cid-version": 1})
    gateway = ("--gateway", kubo.gateway_url)
    assert "begins with bafyrei" in models("ipfs", "pull", plain, *gateway, code=1)
    assert "no CID" in models("ipfs", "pull", "ipfs://nonsense", *gateway, code=1)
    assert "has a path" in models("ipfs", "pull", f"ipfs://{plain}/README.md", *gateway, code=1)
    both = models("ipfs", "pull", plain, *gateway, "--api", kubo.rpc_url, code=1)
    assert "both --gateway and --api" in both


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[tuple[dict[str, Any], subprocess.Popen[str]]]:
    """Run `farlane models ipfs serve` in a process of its own, and return what it says first."""
    command = [sys.executable, "-m", "farlane.cli.main", "models", "ipfs", "serve", "--json", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline()), process
        finally:
            process.kill()


def test_public_versions_are_served_and_private_ones_are_not(
    machine, models, folder: Path, tmp_path: Path
) -> None:
    models("add", folder, "lab/mini")
    with open_repository(tmp_path / "a" / "models") as repository:
        secret = add_private(repository, folder, "lab/secret", [], new_recipient_key())
    with serving("--listen", "127.0.0.1:0") as (said, process):
        (row,) = said["versions"]
        assert (row["name"], said["left_out"]) == ("lab/mini", 1)
        machine("b")
        models("ipfs", "pull", row["address"], "--gateway", said["url"])
        assert read(models, "verify")["faults"] == []
        for cid in (secret.version.manifest, secret.manifest.root, secret.manifest.files[0].cid):
            with pytest.raises(NotFound):
                GatewaySource([said["url"]]).get(cid)
        process.terminate()
        assert process.wait(20) == 0


def test_other_machines_are_let_in_only_by_a_word(models) -> None:
    assert "say --public" in models("ipfs", "serve", "--listen", "0.0.0.0:0", code=1)
    assert "no address" in models("ipfs", "serve", "--listen", "127.0.0.1:x", code=1)


def kept_bytes(path: Path, repository: Repository, file: ModelFile) -> int:
    """Return how much of a file on its way the marks beside it say is here."""
    done = path.with_name(f"{path.name}.done")
    bits = np.frombuffer(done.read_bytes()[32:] if done.exists() else b"", np.uint8)
    lengths = read_file(repository.blocks, file.cid).leaves.lengths
    return int(lengths[np.flatnonzero(np.unpackbits(bits, bitorder="little"))].sum())


def test_a_pull_that_is_killed_goes_on_where_it_was(machine, models, folder: Path, tmp_path: Path) -> None:
    (folder / "weights.bin").write_bytes(np.random.default_rng(1).bytes(12_000_000))
    cid = read(models, "add", folder, "lab/mini")["cid"]
    with open_repository(tmp_path / "a" / "models") as repository:
        published = PublishedVersions(repository)
        server = BlockServer("127.0.0.1:0", published.source, published.admit)
        proxy = StallingProxy(server.port, after_bytes=9_000_000)
        machine("b")
        partial = tmp_path / "b" / "models" / "blocks" / "partial"

        def some_of_it_is_kept() -> bool:
            large = [path for path in partial.glob("*") if path.stat().st_size == 12_000_000]
            return any(any(path.with_name(f"{path.name}.done").read_bytes()[32:]) for path in large)

        command = [sys.executable, "-m", "farlane.cli.main", "models", "ipfs", "pull", cid]
        with subprocess.Popen([*command, "--gateway", f"http://{proxy.address}"]) as process:
            try:
                asyncio.run(until(some_of_it_is_kept))
            finally:
                process.kill()
        proxy.close()
        files = repository.resolve("lab/mini")[1].files
        kept = sum(kept_bytes(partial / file.sha256.hex(), repository, file) for file in files)
        assert kept > 0
        got = read(models, "ipfs", "pull", cid, "--gateway", f"http://{server.address}")
        server.close()
    assert got["fetched_bytes"] == sum(file.size for file in files) - kept
    assert read(models, "verify")["faults"] == []


def test_a_kubo_with_a_secret_is_told_it_by_the_environment(
    new_repo, models, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_repo.set(
        "API", {"Authorizations": {"lab": {"AuthSecret": "bearer:word", "AllowedPaths": ["/api/v0"]}}}
    )
    models("add", folder, "lab/mini")
    with new_repo.running() as kubo:
        push = ("ipfs", "push", "lab/mini", "--api", kubo.rpc_url)
        assert "wants a secret" in models(*push, code=1)
        monkeypatch.setenv("FARLANE_IPFS_SECRET", "bearer:word")
        assert models(*push).startswith("ipfs://")
        assert "in the clear" in models(*push[:-1], "http://kubo.example:5001", code=1)
