"""The share of a machine that direct calls get: carved out of the offer, and never given twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from farlane.domain.nodes import NodeSpec
from farlane.domain.resources import Capacity, GpuKind, Resources
from farlane.domain.units import bytes_text
from farlane.errors import Exhausted, InvalidInput, InvalidSetting
from farlane.node.offer import Devices, size_of
from farlane.node.settings import NodeSettings


class Share:
    """What of the machine direct calls may use.

    Args:
        capacity: cores, memory and disk.
        devices: GPUs by index.
    """

    def __init__(self, capacity: Capacity, devices: Devices = ()) -> None:
        self.capacity = replace(capacity, gpus=_counted(devices))
        self._cpu, self._memory, self._disk = capacity.cpu_milli, capacity.memory_bytes, capacity.disk_bytes
        self._free = dict(devices)
        self._kinds = dict(devices)

    def check(self, wanted: Resources) -> None:
        """Refuse what can never run here.

        Raises:
            InvalidInput: it asks for more than the share.
        """
        if self.capacity.holds(wanted):
            return
        offered = self.capacity
        raise InvalidInput(
            f"the task asks for {_text(wanted.cpu_milli, wanted.memory_bytes, wanted.disk_bytes)}"
            f"{'' if wanted.gpu is None else f' and {wanted.gpu.count} GPU'}; this node's share for direct calls is "
            f"{_text(offered.cpu_milli, offered.memory_bytes, offered.disk_bytes)} and {len(self._kinds)} GPU"
        )

    def take(self, wanted: Resources, kind: GpuKind | None = None) -> tuple[int, ...]:
        """Reserve resources; returns the indices of the GPUs that go with them.

        Args:
            wanted: how much.
            kind: of GPU, where it asks for one.

        Raises:
            InvalidInput: as `check`.
            Exhausted: other tasks have them at the moment.
        """
        self.check(wanted)
        count = 0 if wanted.gpu is None else wanted.gpu.count
        gpus = tuple(index for index, one in sorted(self._free.items()) if one == kind)[:count]
        if (
            wanted.cpu_milli > self._cpu
            or wanted.memory_bytes > self._memory
            or wanted.disk_bytes > self._disk
            or len(gpus) < count
        ):
            raise Exhausted("the node is busy: other tasks have its share for direct calls; try again later")
        self._cpu -= wanted.cpu_milli
        self._memory -= wanted.memory_bytes
        self._disk -= wanted.disk_bytes
        for index in gpus:
            del self._free[index]
        return gpus

    def give_back(self, wanted: Resources, gpus: tuple[int, ...] = ()) -> None:
        """Return what was reserved."""
        self._cpu += wanted.cpu_milli
        self._memory += wanted.memory_bytes
        self._disk += wanted.disk_bytes
        self._free.update((index, self._kinds[index]) for index in gpus)


def carve(settings: NodeSettings, spec: NodeSpec, devices: Devices) -> tuple[NodeSpec, Devices, Share]:
    """Take the share of direct calls out of what a node offers; returns what is left for its hub, and the share.

    Args:
        settings: the node's.
        spec: all that it offers.
        devices: its GPUs by index; the last ones go to direct calls.

    Raises:
        InvalidSetting: the share is no share, or leaves nothing for the hub.
    """
    whole = spec.capacity
    cpu = _part("direct_cpu", int(settings.direct_cpu * 1000), whole.cpu_milli, _cores)
    memory = _part(
        "direct_memory", size_of("direct_memory", settings.direct_memory), whole.memory_bytes, bytes_text
    )
    disk = _part("direct_disk", size_of("direct_disk", settings.direct_disk), whole.disk_bytes, bytes_text)
    if not 0 <= settings.direct_gpus <= len(devices):
        raise InvalidSetting(
            f"node.direct_gpus is {settings.direct_gpus}; expected 0 to the {len(devices)} that the node offers",
            setting="node.direct_gpus",
        )
    kept, given = (
        devices[: len(devices) - settings.direct_gpus],
        devices[len(devices) - settings.direct_gpus :],
    )
    left = Capacity(
        whole.cpu_milli - cpu, whole.memory_bytes - memory, whole.disk_bytes - disk, _counted(kept)
    )
    return replace(spec, capacity=left), kept, Share(Capacity(cpu, memory, disk), given)


def _part(name: str, part: int, whole: int, text: Callable[[int], str]) -> int:
    if not 0 < part < whole:
        raise InvalidSetting(
            f"node.{name} sets {text(part)} aside for direct calls; expected more than nothing and less than the "
            f"{text(whole)} that this node offers in all, since the rest is its hub's. A node without a hub is started "
            "by `farlane node serve`",
            setting=f"node.{name}",
        )
    return part


def _cores(milli: int) -> str:
    return f"{milli / 1000:g} cores"


def _text(cpu_milli: int, memory_bytes: int, disk_bytes: int) -> str:
    return (
        f"{cpu_milli / 1000:g} cores, {bytes_text(memory_bytes)} of memory, {bytes_text(disk_bytes)} of disk"
    )


def _counted(devices: Devices) -> tuple[tuple[GpuKind, int], ...]:
    return tuple(sorted(Counter(kind for _, kind in devices).items()))
