"""What a node offers: capacity within what there is, prices rounded up, labels, and an identity that stays."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from farlane.domain.ids import NodeId
from farlane.domain.prices import RateVector
from farlane.domain.resources import GIB, GpuKind
from farlane.errors import Corrupted, InvalidSetting, PermissionRefused
from farlane.kit.settings import documentation
from farlane.node.identity import NodeIdentity, load_identity
from farlane.node.offer import labels_of, offer_of, rates_ceiling
from farlane.node.probe import GpuDevice, Inventory, NodeHardware
from farlane.node.settings import NodeSettings

GPU = GpuDevice(3, "A100", "NVIDIA A100", 80 * GIB, "GPU-1", "550")
HARDWARE = NodeHardware(
    8000, 10 * GIB, 110 * 10**9, Inventory((GPU,)), "3.11", "linux-x86_64", (("zone", "eu"),)
)
IDENTITY = NodeIdentity(NodeId("n-1"), b"s" * 32)


def test_by_default_a_node_offers_what_it_can_spare() -> None:
    spec, devices = offer_of(NodeSettings(), HARDWARE, IDENTITY, "lab")
    assert (spec.capacity.cpu_milli, spec.capacity.memory_bytes) == (8000, 9 * GIB)
    assert spec.capacity.disk_bytes == 90 * 10**9  # nine tenths of what the cache leaves
    assert spec.capacity.gpus == ((GpuKind("A100", 80 * GIB), 1),)
    assert devices == ((3, GpuKind("A100", 80 * GIB)),)
    assert (spec.node, spec.organisation, spec.python, spec.labels) == (
        "n-1",
        "lab",
        "3.11",
        (("zone", "eu"),),
    )
    assert spec.name


def test_an_owner_offers_less_if_he_likes() -> None:
    settings = NodeSettings(name="desk", cpu=1.5, memory="2GiB", disk="0", gpus="none")
    spec, devices = offer_of(settings, HARDWARE, IDENTITY, "lab")
    assert (spec.name, spec.capacity.cpu_milli, spec.capacity.memory_bytes) == ("desk", 1500, 2 * GIB)
    assert (spec.capacity.disk_bytes, spec.capacity.gpus, devices) == (0, (), ())


def test_a_small_disk_offers_nothing_beside_its_cache() -> None:
    spec, _ = offer_of(NodeSettings(), replace(HARDWARE, disk_bytes=10**9), IDENTITY, "lab")
    assert spec.capacity.disk_bytes == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cpu": 9.0}, "expected 0.001 to the 8 this process may use"),
        ({"cpu": 0.0}, "expected 0.001"),
        ({"memory": "11GiB"}, "only 10 GiB are there: offer less"),
        ({"disk": "1TB"}, "are there: offer less"),
        ({"memory": "much"}, "node.memory: 'much' is not a size"),
        ({"cache": "much"}, "node.cache"),
        ({"core_hour": "free"}, "node.core_hour: 'free' is not an amount"),
        ({"gpu_hour": ("A100",)}, "expected entries such as 'A100=1.8'"),
        ({"gpu_hour": ("A100=1", "A100=2")}, "each name once"),
    ],
)
def test_what_cannot_be_offered_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidSetting, match=words):
        offer_of(replace(NodeSettings(), **changes), HARDWARE, IDENTITY, "lab")  # type: ignore[arg-type]


def test_prices_are_rounded_up_to_nano_credits_a_second() -> None:
    settings = NodeSettings(
        core_hour="0.0000036", gib_hour="0.000000001", gpu_hour=("*=0.36", "A100=3.6"), gib_moved="0.5"
    )
    rates = RateVector(1, 1, (("*", 100_000), ("A100", 1_000_000)), 500_000_000)
    assert rates_ceiling(settings) == rates


@pytest.mark.parametrize("label", ["zone", "=eu", "zone="])
def test_labels_are_key_and_value(label: str) -> None:
    assert labels_of(NodeSettings(labels=("zone=eu", "disk = nvme"))) == (("zone", "eu"), ("disk", "nvme"))
    with pytest.raises(InvalidSetting, match="zone=eu"):
        labels_of(NodeSettings(labels=(label,)))


def test_every_setting_is_documented() -> None:
    assert [line.name for line in documentation(NodeSettings)] == [
        field.name for field in fields(NodeSettings)
    ]


def test_an_identity_is_made_once_and_kept_private(tmp_path: Path) -> None:
    first = load_identity(tmp_path)
    assert load_identity(tmp_path) == first
    assert (tmp_path / "node.json").stat().st_mode & 0o777 == 0o600
    assert first.secret.hex() not in repr(first)
    (tmp_path / "node.json").chmod(0o644)
    with pytest.raises(PermissionRefused, match="chmod 600"):
        load_identity(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"node": "n", "secret": "zz"}',
        '{"node": "n", "secret": "00"}',
        json.dumps({"node": "", "secret": "00" * 32}),
    ],
)
def test_a_damaged_identity_is_not_replaced_silently(tmp_path: Path, content: str) -> None:
    path = tmp_path / "node.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(Corrupted, match="not a node's identity"):
        load_identity(tmp_path)
    assert path.read_text() == content
