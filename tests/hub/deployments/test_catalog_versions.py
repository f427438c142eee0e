"""What a name means to a deployment, from a real catalog."""

from __future__ import annotations

import pytest

from farlane.domain.deployments import Deployment
from farlane.errors import InvalidInput, NotFound
from farlane.hub.deployments.catalog_versions import CatalogVersions
from farlane.hub.deployments.replica_jobs import replica_job
from farlane.models.catalog.catalog import Catalog
from farlane.models.catalog.rows_memory import MemoryRows
from farlane.models.manifest.codec import manifest_cid
from farlane.wire.jobs import job_spec_from_wire, job_spec_to_wire

ONE, TWO = manifest_cid(b"one"), manifest_cid(b"two")


@pytest.fixture
def versions() -> CatalogVersions:
    catalog = Catalog(MemoryRows())
    catalog.add("lab/writer", ONE)
    catalog.add("lab/writer", TWO)
    catalog.move("lab/writer", "stable", ONE)
    catalog.move("lab/writer", "canary", TWO)
    return CatalogVersions(catalog)


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
