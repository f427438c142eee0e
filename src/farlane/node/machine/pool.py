"""The resource pool: what of this machine is free, down to the single GPU."""

from __future__ import annotations

from collections.abc import Sequence

from farlane.domain.resources import Capacity, GpuKind, GpuRequest, Resources
from farlane.errors import InvalidSetting


class ResourcePool:
    """Capacity minus what runs; never negative, and a device belongs to one bundle at a time.

    Args:
        capacity: what the node offers.
        devices: the GPUs behind `capacity.gpus`: device index and kind.

    Raises:
        InvalidSetting: the devices do not match the capacity's counts.
    """

    def __init__(self, capacity: Capacity, devices: Sequence[tuple[int, GpuKind]] = ()) -> None:
        self.capacity = capacity
        self.cpu_milli = capacity.cpu_milli
        self.memory_bytes = capacity.memory_bytes
        self.disk_bytes = capacity.disk_bytes
        self.free_devices: dict[GpuKind, list[int]] = {kind: [] for kind, _ in capacity.gpus}
        self._kinds = dict(devices)
        for index, kind in self._kinds.items():
            self.free_devices.setdefault(kind, []).append(index)
        counts = {kind: len(free) for kind, free in self.free_devices.items()}
        if counts != dict(capacity.gpus) or len(self._kinds) != len(devices):
            raise InvalidSetting(
                f"the node offers GPUs {capacity.gpus} but its devices are {list(devices)}: "
                "offer exactly the devices there are, each with an index of its own"
            )

    @property
    def exhausted(self) -> bool:
        """Tell at once that nothing fits: every task takes some CPU and some memory."""
        return self.cpu_milli == 0 or self.memory_bytes == 0

    def take(self, wanted: Resources, kind: GpuKind | None = None) -> tuple[int, ...] | None:
        """Reserve resources; returns the indices of the GPUs taken, or None where they do not fit now.

        Args:
            wanted: how much.
            kind: of GPU, None for any that the request accepts.
        """
        if wanted.cpu_milli > self.cpu_milli or wanted.memory_bytes > self.memory_bytes:
            return None
        if wanted.disk_bytes > self.disk_bytes:
            return None
        devices: tuple[int, ...] | None = ()
        if wanted.gpu is not None:
            devices = self._take_devices(wanted.gpu, kind)
            if devices is None:
                return None
        self.cpu_milli -= wanted.cpu_milli
        self.memory_bytes -= wanted.memory_bytes
        self.disk_bytes -= wanted.disk_bytes
        return devices

    def give(self, wanted: Resources, devices: tuple[int, ...]) -> None:
        """Return what `take` reserved."""
        self.cpu_milli += wanted.cpu_milli
        self.memory_bytes += wanted.memory_bytes
        self.disk_bytes += wanted.disk_bytes
        for index in devices:
            self.free_devices[self._kinds[index]].append(index)

    def slots(self, wanted: Resources) -> int:
        """Return how many of these the empty node runs at once; 0 if it could never hold one."""
        capacity = self.capacity
        if not capacity.holds(wanted):
            return 0
        limits = [capacity.cpu_milli // wanted.cpu_milli, capacity.memory_bytes // wanted.memory_bytes]
        if wanted.disk_bytes:
            limits.append(capacity.disk_bytes // wanted.disk_bytes)
        request = wanted.gpu
        if request is not None:
            limits.append(
                sum(count // request.count for kind, count in capacity.gpus if request.accepts(kind))
            )
        return min(limits)

    def _take_devices(self, request: GpuRequest, wanted: GpuKind | None) -> tuple[int, ...] | None:
        fitting = [
            kind
            for kind, free in self.free_devices.items()
            if len(free) >= request.count and (request.accepts(kind) if wanted is None else kind == wanted)
        ]
        if not fitting:
            return None
        # The smallest device that does: large ones stay free for those who need them.
        free = self.free_devices[min(fitting, key=lambda kind: (kind.vram_bytes, kind.model))]
        free.sort()
        taken = tuple(free[: request.count])
        del free[: request.count]
        return taken
