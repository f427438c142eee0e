"""The hardware probe on hand-written inventories and control groups, and on this machine."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pynvml
import pytest

from farlane.domain.resources import GpuKind
from farlane.node.cgroup import CgroupLimits, read_cgroup_limits
from farlane.node.probe import (
    Inventory,
    ProbeSettings,
    PynvmlReader,
    parse_inventory,
    probe,
    short_model,
)

RECORDED = Path(__file__).parent / "inventories"
GIB = 1 << 30


def recorded(name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((RECORDED / name).read_text())
    return found


class RecordedNvml:
    """Answers with an inventory written by hand."""

    def __init__(self, name: str) -> None:
        self._name = name

    def read(self) -> Mapping[str, Any]:
        return recorded(self._name)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100 80GB PCIe", "A100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 NVL", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA GH200 144G HBM3e", "GH200"),
        ("NVIDIA B200", "B200"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA A10G", "A10G"),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("Tesla P100-PCIE-16GB", "P100"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "RTX4090Laptop"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "RTX4070TiSUPER"),
        ("NVIDIA GeForce GTX 1080 Ti", "GTX1080Ti"),
        ("NVIDIA RTX A6000", "RTXA6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX6000Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTXPRO6000"),
        ("Quadro RTX 4000", "RTX4000"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "A100-MIG-1g.5gb"),
        ("NVIDIA", "NVIDIA"),
    ],
)
def test_models_have_the_short_names_people_use(name: str, model: str) -> None:
    assert short_model(name) == model


def test_equal_devices_are_one_kind(tmp_path: Path) -> None:
    hardware = probe(ProbeSettings(tmp_path), nvml=RecordedNvml("a10-quad.json"))
    assert hardware.capacity().gpus == ((GpuKind("A10", 24_146_608_128), 4),)
    assert [device.index for device in hardware.gpus.devices] == [0, 1, 2, 3]
    assert {device.driver for device in hardware.gpus.devices} == {"535.129.03"}
    assert len({device.uuid for device in hardware.gpus.devices}) == 4
    assert hardware.gpus.problem == ""


def test_one_model_with_two_memories_is_two_kinds(tmp_path: Path) -> None:
    gpus = probe(ProbeSettings(tmp_path), nvml=RecordedNvml("datacenter-mixed.json")).capacity().gpus
    assert [(kind.model, kind.vram_bytes >> 30, count) for kind, count in gpus] == [
        ("A100", 40, 1),
        ("A100", 80, 1),
        ("H100", 79, 1),
        ("L4", 22, 1),
        ("L40S", 44, 1),
        ("T4", 15, 1),
    ]


def test_a_device_that_cannot_be_read_is_named_and_left_out() -> None:
    inventory = parse_inventory(recorded("gb10-unified.json"))
    assert inventory.devices == ()
    assert inventory.problem == "GPU 0 is left out: Not Supported"
    assert inventory.driver == "580.173.02"


@pytest.mark.parametrize("file", sorted(path.name for path in RECORDED.glob("*.json")))
def test_every_recorded_inventory_is_read(file: str) -> None:
    read = recorded(file)
    inventory = parse_inventory(read)
    readable = [device for device in read["devices"] if "problem" not in device]
    assert [device.name for device in inventory.devices] == [device["name"] for device in readable]
    assert all(device.model and device.vram_bytes > 0 for device in inventory.devices)


def test_without_a_driver_the_inventory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    inventory = parse_inventory(PynvmlReader().read())
    assert inventory == Inventory((), "", inventory.problem)
    assert "no NVIDIA driver" in inventory.problem


def test_a_driver_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)

    monkeypatch.setattr(pynvml, "nvmlInit", broken)
    assert "does not answer: Driver Not Loaded" in parse_inventory(PynvmlReader().read()).problem


def test_the_real_binding_is_read_field_by_field(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []

    def memory(handle: int) -> SimpleNamespace:
        if handle == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return SimpleNamespace(total=24 * GIB)

    answers = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: closed.append(True),
        "nvmlSystemGetDriverVersion": lambda: b"535.1",
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda handle: "NVIDIA A10",
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle}",
        "nvmlDeviceGetMemoryInfo": memory,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)
    inventory = parse_inventory(json.loads(json.dumps(PynvmlReader().read())))
    [device] = inventory.devices
    assert (device.index, device.model, device.vram_bytes, device.uuid) == (0, "A10", 24 * GIB, "GPU-0")
    assert device.driver == "535.1"
    assert inventory.problem == "GPU 1 is left out: GPU is lost"
    assert closed == [True]


def test_control_groups_narrow_what_is_offered(tmp_path: Path) -> None:
    free = probe(ProbeSettings(tmp_path), limits=CgroupLimits(None, None))
    assert free.cpu_milli == len(os.sched_getaffinity(0)) * 1000
    assert free.memory_bytes == psutil.virtual_memory().total
    narrow = probe(ProbeSettings(tmp_path), limits=CgroupLimits(500, GIB))
    assert (narrow.cpu_milli, narrow.memory_bytes) == (500, GIB)
    assert 0 < narrow.disk_bytes <= psutil.disk_usage(str(tmp_path)).total


def test_affinity_counts(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert probe(ProbeSettings(tmp_path), limits=CgroupLimits(None, None)).cpu_milli == 1000
    finally:
        os.sched_setaffinity(0, allowed)


def test_the_owners_labels_win(tmp_path: Path) -> None:
    labels = dict(probe(ProbeSettings(tmp_path, labels=(("arch", "abacus"), ("room", "b12")))).labels)
    assert labels["arch"] == "abacus"
    assert labels["room"] == "b12"
    assert labels["os"] == "linux"


def test_a_missing_data_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        probe(ProbeSettings(tmp_path / "missing"))


def machine(root: Path, files: Mapping[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        ({}, CgroupLimits(None, None)),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/a/memory.max": "max\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
                "sys/fs/cgroup/a/b/memory.max": "1073741824\n",
            },
            CgroupLimits(1500, GIB),
        ),
        (  # a container: the path of the host does not exist inside, the mount itself is the group
            {
                "proc/self/cgroup": "0::/../other\n",
                "sys/fs/cgroup/cpu.max": "50000 100000\n",
                "sys/fs/cgroup/memory.max": "536870912\n",
            },
            CgroupLimits(500, GIB // 2),
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "2147483648\n",
                "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            },
            CgroupLimits(2000, 2 * GIB),
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/\n1:cpu:/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            CgroupLimits(None, None),
        ),
    ],
    ids=["none", "version 2", "container", "version 1", "version 1 without limits"],
)
def test_the_tightest_group_counts(tmp_path: Path, files: Mapping[str, str], limits: CgroupLimits) -> None:
    assert read_cgroup_limits(machine(tmp_path, files)) == limits
