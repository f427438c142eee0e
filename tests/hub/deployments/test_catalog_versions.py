"""What a name means to a deployment, from a real catalog."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farlane.domain.deployments import Deployment
from farlane.errors import InvalidInput, NotFound, PermissionRefused
from farlane.hub.deployments.catalog_versions import CatalogVersions
from farlane.hub.deployments.replica_jobs import replica_job, require_reader
from farlane.models.blocks.memory import MemoryBlockStore
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.catalog.values import Author
from farlane.models.cid import parse_cid
from farlane.models.manifest.codec import encode, manifest_cid
from farlane.models.manifest.values import Licence, Manifest
from farlane.models.private.recipients import new_recipient_key
from farlane.models.private.wrapping import new_version_key, wrapped_for
from farlane.models.repository import Repository
from farlane.models.serving.runtime import EITHER
from farlane.node.machine.admission import refusal_reason
from farlane.scheduler.eligibility import first_obstacle
from farlane.testing.builders import a_node
from farlane.testing.manifests import small_manifest
from farlane.wire.jobs import job_spec_from_wire, job_spec_to_wire

FIRST, SECOND = (small_manifest(name="lab/writer", created=number) for number in (1, 2))
ONE, TWO = (manifest_cid(encode(each)) for each in (FIRST, SECOND))
KEY = new_recipient_key().recipient


def put(repository: Repository, manifest: Manifest, organisation: str = "") -> str:
    """Name a manifest whose files are not here."""
    raw = encode(manifest)
    cid = manifest_cid(raw)
    repository.blocks.put(cid, raw)
    repository.catalog.add(manifest.name, cid, author=Author(organisation))
    return cid.text


@pytest.fixture
def repository() -> Repository:
    return Repository(MemoryBlockStore(), Catalog(MemoryRows()))


@pytest.fixture
def versions(repository: Repository) -> CatalogVersions:
    put(repository, FIRST)
    put(repository, SECOND)
    repository.catalog.move("lab/writer", "stable", ONE)
    repository.catalog.move("lab/writer", "canary", TWO)
    return CatalogVersions(repository, lambda: {"lab"})


def secret(name: str) -> Manifest:
    return small_manifest(name=name, encryption=wrapped_for(new_version_key(), [KEY]))


@pytest.mark.parametrize(
    ("model", "alias", "expected"),
    [
        ("lab/writer", "", TWO),
        ("lab/writer@stable", "", ONE),
        ("lab/writer@v2", "", TWO),
        ("lab/writer@stable", "canary", TWO),
        (ONE.text, "", ONE),
        (f"lab/writer@{ONE.text}", "", ONE),
    ],
)
def test_a_name_means_a_version(versions: CatalogVersions, model: str, alias: str, expected: object) -> None:
    found = versions.version_of(model, "lab", alias)
    assert found == getattr(expected, "text", None)
    spec = replica_job(Deployment(name="writer", model=model, organisation="lab", publisher="lab/ada"), found)
    assert job_spec_from_wire(job_spec_to_wire(spec)) == spec  # a replica of it can be leased


@pytest.mark.parametrize(
    ("model", "alias", "error"),
    [
        ("lab/reader", "", NotFound),
        ("lab/writer@champion", "", NotFound),
        ("lab/writer", "champion", NotFound),
        (manifest_cid(b"three").text, "", NotFound),
        (ONE.text, "canary", NotFound),
        ("bafyrei", "", InvalidInput),
        ("no such name", "", InvalidInput),
    ],
)
def test_what_means_nothing_is_refused(
    versions: CatalogVersions, model: str, alias: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        versions.version_of(model, "lab", alias)


@pytest.mark.parametrize(("organisation", "owner"), [("lab", ""), ("", "lab")])
def test_a_private_model_is_served_by_its_owner_alone(
    repository: Repository, organisation: str, owner: str
) -> None:
    found = put(repository, secret("lab/secret"), organisation)
    versions = CatalogVersions(repository, lambda: {owner})
    for model in ("lab/secret", found, f"lab/secret@{found}"):
        assert versions.version_of(model, "lab") == found
        for stranger in ("guests", ""):
            with pytest.raises(NotFound, match="yours to use"):
                versions.version_of(model, stranger)


def test_strangers_hear_of_no_private_model(repository: Repository, versions: CatalogVersions) -> None:
    put(repository, secret("lab/secret"), "lab")
    said = set()
    for name in ("lab/secret", "lab/secrez", "lab/secret@champion", "lab/secret@v7"):
        with pytest.raises(NotFound) as refused:
            versions.version_of(name, "guests")
        said.add(refused.value.message.replace("secrez", "secret"))
    assert said == {"there is no model 'lab/secret' here that is yours to use; did you mean 'lab/writer'?"}
    with pytest.raises(NotFound, match="did you mean 'lab/secret'"):
        versions.version_of("lab/secrez", "lab")


def test_nobody_serves_a_private_model_of_a_hub_without_an_owner(repository: Repository) -> None:
    put(repository, secret("lab/secret"))
    with pytest.raises(NotFound):
        CatalogVersions(repository, set).version_of("lab/secret", "lab")


def test_readers_of_a_private_version_are_told_with_its_replicas(
    repository: Repository, versions: CatalogVersions
) -> None:
    found = put(repository, secret("lab/secret"))
    assert versions.readers_of(found) == (KEY.text,)
    assert versions.readers_of(ONE.text) == ()
    wanted = Deployment(name="x", model="lab/secret", organisation="lab", publisher="lab/ada")
    spec = replica_job(wanted, found, versions.readers_of(found))
    assert job_spec_from_wire(job_spec_to_wire(spec)) == spec
    reads, other = (
        replace(a_node("oak"), labels=(("serve", "yes"),), recipient=key) for key in (KEY.text, "")
    )
    assert first_obstacle(spec, reads) is None
    obstacle = first_obstacle(spec, other)
    assert obstacle is not None
    assert "--with-node oak" in obstacle.fix
    assert refusal_reason(reads, spec) is None
    assert "none of its recipients" in (refusal_reason(other, spec) or "")
    require_reader(wanted, (KEY.text,), [other, reads])
    with pytest.raises(PermissionRefused, match="farlane models share lab/secret --with-node"):
        require_reader(wanted, (KEY.text,), [other])


def test_a_licence_is_accepted_by_the_organisation_that_deploys(repository: Repository) -> None:
    asked = small_manifest(name="lab/asked", licence=Licence(expression="MIT", acceptance=True))
    cid = parse_cid(put(repository, asked))
    versions = CatalogVersions(repository, lambda: {"lab"})
    for organisation in ("lab", "acme"):
        with pytest.raises(PermissionRefused, match="--licence MIT --hub"):
            versions.version_of("lab/asked", organisation)
    repository.catalog.accept("acme", "MIT", cid)
    assert versions.version_of("lab/asked", "acme") == cid.text
    repository.catalog.accept("", "MIT", cid)  # on the hub's machine: for its owner, and nobody else
    assert versions.version_of("lab/asked", "lab") == cid.text
    with pytest.raises(PermissionRefused):
        versions.version_of("lab/asked", "else")


def with_files(*paths: str, **fields: object) -> Manifest:
    file = small_manifest().files[0]
    return small_manifest(name="lab/files", files=tuple(replace(file, path=path) for path in paths), **fields)


@pytest.mark.parametrize(
    ("manifest", "runtime"),
    [
        (with_files("README.md", "a.gguf"), "gguf"),
        (with_files("model.onnx"), "onnx"),
        (with_files("config.json", "model.safetensors.index.json", "tokenizer.json"), EITHER),
        (with_files("model.h5", runtime="own"), "own"),
        (secret("lab/files"), ""),
    ],
)
def test_a_version_asks_for_the_runtime_of_its_files(
    repository: Repository, manifest: Manifest, runtime: str
) -> None:
    assert CatalogVersions(repository, set).runtime_of(put(repository, manifest)) == runtime


def test_a_model_that_no_runtime_loads_is_refused(repository: Repository) -> None:
    found = put(repository, with_files("weights.npy"))
    with pytest.raises(InvalidInput, match=r"no runtime knows the files in lab/files.*weights\.npy"):
        CatalogVersions(repository, set).runtime_of(found)
