"""The offer: what a node tells the hub of itself, from what was probed and what its owner allows."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import replace

from farlane.domain.nodes import NodeSpec
from farlane.domain.prices import RateVector, ceil_div
from farlane.domain.resources import Capacity, GpuKind
from farlane.domain.units import bytes_text, parse_bytes, parse_credits_floor
from farlane.errors import InvalidInput, InvalidSetting
from farlane.node.identity import NodeIdentity
from farlane.node.probe import Inventory, NodeHardware
from farlane.node.settings import NodeSettings

Devices = tuple[tuple[int, GpuKind], ...]
_SECONDS_PER_HOUR = 3600


def offer_of(
    settings: NodeSettings, hardware: NodeHardware, identity: NodeIdentity, organisation: str
) -> tuple[NodeSpec, Devices]:
    """Return what the node says of itself, and its GPUs by index.

    Raises:
        InvalidSetting: a setting that cannot be read, or offers more than there is.
    """
    if settings.gpus == "none":
        hardware = replace(hardware, gpus=Inventory())
    capacity = hardware.capacity()
    offered = Capacity(
        cpu_milli=_cpu(settings, hardware),
        memory_bytes=_size("memory", settings.memory, hardware.memory_bytes, hardware.memory_bytes * 9 // 10),
        disk_bytes=_size("disk", settings.disk, hardware.disk_bytes, _spare_disk(settings, hardware)),
        gpus=capacity.gpus,
    )
    spec = NodeSpec(
        node=identity.node,
        name=settings.name or socket.gethostname(),
        organisation=organisation,
        capacity=offered,
        python=hardware.python,
        platform=hardware.platform,
        rates=rates_ceiling(settings),
        labels=hardware.labels,
        serves=settings.serves,
    )
    devices = ((one.index, GpuKind(one.model, one.vram_bytes)) for one in hardware.gpus.devices)
    return spec, tuple(devices)


def rates_ceiling(settings: NodeSettings) -> RateVector:
    """Return the rates in nano-credits a second, each rounded up: nobody works below the asked price.

    Raises:
        InvalidSetting: a price that is not one.
    """
    gpus = _pairs("gpu_hour", settings.gpu_hour, "A100=1.8")
    return RateVector(
        core_second=_per_second_ceiling("core_hour", settings.core_hour),
        gib_second=_per_second_ceiling("gib_hour", settings.gib_hour),
        gpu_second=tuple(sorted((model, _per_second_ceiling("gpu_hour", price)) for model, price in gpus)),
        gib_moved=_credits("gib_moved", settings.gib_moved),
    )


def labels_of(settings: NodeSettings) -> tuple[tuple[str, str], ...]:
    """Return the owner's labels.

    Raises:
        InvalidSetting: a label that is not key=value, or comes twice.
    """
    return _pairs("labels", settings.labels, "zone=eu")


def size_of(name: str, value: str) -> int:
    """Return the bytes a setting says.

    Raises:
        InvalidSetting: it is not a size.
    """
    try:
        return parse_bytes(value)
    except InvalidInput as error:
        raise InvalidSetting(f"node.{name}: {error.message}", setting=f"node.{name}") from error


def _cpu(settings: NodeSettings, hardware: NodeHardware) -> int:
    if settings.cpu is None:
        return hardware.cpu_milli
    milli = int(settings.cpu * 1000)
    if not 1 <= milli <= hardware.cpu_milli:
        raise InvalidSetting(
            f"node.cpu is {settings.cpu:g} cores; expected 0.001 to the {hardware.cpu_milli / 1000:g} this process may "
            "use",
            setting="node.cpu",
        )
    return milli


def _size(name: str, value: str | None, there: int, default: int) -> int:
    if value is None:
        return max(0, default)
    size = size_of(name, value)
    if size > there:
        raise InvalidSetting(
            f"node.{name} offers {bytes_text(size)}, but only {bytes_text(there)} are there: offer less",
            setting=f"node.{name}",
        )
    return size


def _spare_disk(settings: NodeSettings, hardware: NodeHardware) -> int:
    return (hardware.disk_bytes - size_of("cache", settings.cache)) * 9 // 10


def _per_second_ceiling(name: str, price: str) -> int:
    return ceil_div(_credits(name, price), _SECONDS_PER_HOUR)


def _credits(name: str, price: str) -> int:
    try:
        return parse_credits_floor(price)
    except InvalidInput as error:
        raise InvalidSetting(f"node.{name}: {error.message}", setting=f"node.{name}") from error


def _pairs(name: str, texts: Iterable[str], example: str) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for text in texts:
        key, sign, value = (part.strip() for part in text.partition("="))
        if not (key and sign and value) or key in found:
            raise InvalidSetting(
                f"node.{name} contains {text!r}; expected entries such as {example!r}, each name once",
                setting=f"node.{name}",
            )
        found[key] = value
    return tuple(found.items())
