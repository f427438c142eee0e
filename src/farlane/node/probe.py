"""The hardware probe: what this machine has and what of it this process may use."""

from __future__ import annotations

import os
import platform
import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil

from farlane.domain.resources import Capacity, GpuKind
from farlane.kit.files import free_bytes
from farlane.node.cgroup import CgroupLimits, read_cgroup_limits

_MAKERS = frozenset({"NVIDIA", "GEFORCE", "TESLA", "QUADRO"})
_FORM = re.compile(
    r"SXM\d*|PCIE|HBM\w*|NVL|\d+GB?|GPU|GENERATION|SERVER|WORKSTATION|EDITION|BLACKWELL", re.IGNORECASE
)
"""Words of a device name that tell its board, memory or maker, not its model."""


@dataclass(frozen=True, slots=True)
class GpuDevice:
    """One GPU: its index for CUDA_VISIBLE_DEVICES, short model name (`A100`, `RTX4090`), full name, memory."""

    index: int
    model: str
    name: str
    vram_bytes: int
    uuid: str
    driver: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """The GPUs of this machine; `problem` says why there are none or some are left out, "" if all is well."""

    devices: tuple[GpuDevice, ...] = ()
    driver: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """What the probe must be told."""

    data_dir: Path
    """Directory of the node's data, which must exist; what is free on its disk can be offered."""

    labels: tuple[tuple[str, str], ...] = ()
    """Labels of the owner; they win over those found."""


@dataclass(frozen=True, slots=True)
class NodeHardware:
    """What a node can offer at most; `python` is a minor version such as `3.11`, `platform` such as `linux-x86_64`."""

    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    gpus: Inventory
    python: str
    platform: str
    labels: tuple[tuple[str, str], ...]

    def capacity(self) -> Capacity:
        """Return it as the hub counts it: GPUs by kind."""
        kinds = Counter(GpuKind(device.model, device.vram_bytes) for device in self.gpus.devices)
        return Capacity(self.cpu_milli, self.memory_bytes, self.disk_bytes, tuple(sorted(kinds.items())))


class NvmlReader(Protocol):
    """Reads NVML; the result is plain JSON, so that a machine's answer can be recorded and tested elsewhere."""

    def read(self) -> Mapping[str, Any]:
        """Return `driver_version` and `devices` (index, name, uuid, memory_total in bytes), or `problem`."""


class PynvmlReader:
    """Reads NVML through NVIDIA's own binding (nvidia-ml-py)."""

    def read(self) -> Mapping[str, Any]:
        """See `NvmlReader`."""
        try:
            import pynvml
        except ImportError:
            return {"problem": "the package nvidia-ml-py is missing: install it to offer NVIDIA GPUs"}
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError_LibraryNotFound:
            return {
                "problem": "no NVIDIA driver on this machine (its library libnvidia-ml.so.1 is not there)"
            }
        except pynvml.NVMLError as error:
            return {"problem": f"the NVIDIA driver does not answer: {error}"}
        try:
            count = pynvml.nvmlDeviceGetCount()
            return {
                "driver_version": _text(pynvml.nvmlSystemGetDriverVersion()),
                "devices": [_device(pynvml, index) for index in range(count)],
            }
        except pynvml.NVMLError as error:
            return {"problem": f"the NVIDIA driver answers with an error: {error}"}
        finally:
            pynvml.nvmlShutdown()


def parse_inventory(read: Mapping[str, Any]) -> Inventory:
    """Turn what a reader returned into devices; one that cannot be used is left out and named in `problem`."""
    driver = str(read.get("driver_version", ""))
    devices = []
    problems = [str(read["problem"])] if read.get("problem") else []
    for found in read.get("devices", ()):
        if found.get("problem"):
            problems.append(f"GPU {found['index']} is left out: {found['problem']}")
            continue
        name = str(found["name"])
        devices.append(
            GpuDevice(
                int(found["index"]),
                short_model(name),
                name,
                int(found["memory_total"]),
                str(found["uuid"]),
                driver,
            )
        )
    return Inventory(tuple(devices), driver, "; ".join(problems))


def short_model(name: str) -> str:
    """Return the short name of a GPU model: `NVIDIA A100-SXM4-80GB` is `A100`, `NVIDIA GeForce RTX 4090` `RTX4090`."""
    name, _, slice_of = name.partition(" MIG ")
    words = [word for word in re.split(r"[\s-]+", name) if word and word.upper() not in _MAKERS]
    kept = [word for word in words if not _FORM.fullmatch(word)]
    model = "".join(kept or words) or name.strip()
    return f"{model}-MIG-{slice_of.strip()}" if slice_of else model


def probe(
    settings: ProbeSettings, *, nvml: NvmlReader | None = None, limits: CgroupLimits | None = None
) -> NodeHardware:
    """Look at this machine. Takes some tens of milliseconds where there is a GPU driver.

    Args:
        settings: see there.
        nvml: where GPUs are read from; NVIDIA's library by default.
        limits: of the control groups; read from the system by default.

    Raises:
        FileNotFoundError: the data directory does not exist.
    """
    limits = limits if limits is not None else read_cgroup_limits()
    cpu_milli = _usable_cores() * 1000
    memory_bytes = psutil.virtual_memory().total
    labels = {"arch": platform.machine(), "os": sys.platform, **dict(settings.labels)}
    return NodeHardware(
        cpu_milli=min(cpu_milli, limits.cpu_milli or cpu_milli),
        memory_bytes=min(memory_bytes, limits.memory_bytes or memory_bytes),
        disk_bytes=free_bytes(settings.data_dir),
        gpus=parse_inventory((nvml or PynvmlReader()).read()),
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        platform=sysconfig.get_platform(),
        labels=tuple(sorted(labels.items())),
    )


def _usable_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _device(pynvml: Any, index: int) -> dict[str, Any]:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        return {
            "index": index,
            "name": _text(pynvml.nvmlDeviceGetName(handle)),
            "uuid": _text(pynvml.nvmlDeviceGetUUID(handle)),
            "memory_total": int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
        }
    except pynvml.NVMLError as error:  # fallen off the bus, or no memory of its own
        return {"index": index, "problem": str(error)}


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
