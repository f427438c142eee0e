"""Resources: what a task asks for, what a node has, and how one is taken from the other."""

from __future__ import annotations

from dataclasses import dataclass

from farlane.errors import InvalidJob

GIB = 1 << 30
MAX_CPU_MILLI = 1_000_000
MAX_BYTES = 1 << 50
MAX_GPUS = 1024


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """GPUs a task asks for: `count` devices of one kind.

    `model` is a normalised short name such as `A100` (None: any model); `min_vram_bytes` is per device.
    """

    count: int
    model: str | None = None
    min_vram_bytes: int = 0

    def accepts(self, kind: GpuKind) -> bool:
        """Tell whether a device kind satisfies the request, whatever the count."""
        same = self.model is None or self.model.upper() == kind.model.upper()
        return same and kind.vram_bytes >= self.min_vram_bytes


@dataclass(frozen=True, slots=True, order=True)
class GpuKind:
    """One kind of GPU: normalised model name and memory per device."""

    model: str
    vram_bytes: int


@dataclass(frozen=True, slots=True)
class Resources:
    """What one task reserves on its node. CPU in thousandths of a core, the rest in bytes."""

    cpu_milli: int = 1000
    memory_bytes: int = GIB
    disk_bytes: int = GIB
    gpu: GpuRequest | None = None

    def __post_init__(self) -> None:
        _in_range("cpu", self.cpu_milli, 1, MAX_CPU_MILLI, "thousandths of a core")
        _in_range("memory", self.memory_bytes, 1, MAX_BYTES, "bytes")
        _in_range("disk", self.disk_bytes, 0, MAX_BYTES, "bytes")
        if self.gpu is not None:
            _in_range("gpu count", self.gpu.count, 1, MAX_GPUS, "devices")


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a node offers in all: the same units as `Resources`; `gpus` counts devices by kind."""

    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    gpus: tuple[tuple[GpuKind, int], ...] = ()

    def holds(self, wanted: Resources) -> bool:
        """Tell whether an empty node of this capacity could run one such task."""
        if wanted.cpu_milli > self.cpu_milli or wanted.memory_bytes > self.memory_bytes:
            return False
        if wanted.disk_bytes > self.disk_bytes:
            return False
        return wanted.gpu is None or any(
            wanted.gpu.accepts(kind) and count >= wanted.gpu.count for kind, count in self.gpus
        )


def _in_range(what: str, value: int, low: int, high: int, unit: str) -> None:
    if not low <= value <= high:
        raise InvalidJob(
            f"{what} is {value} {unit}; expected {low} to {high}", field=what, value=value, low=low, high=high
        )
