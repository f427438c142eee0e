"""Node specifications to and from the wire."""

from __future__ import annotations

from collections.abc import Sequence

from farlane.domain.ids import NodeId
from farlane.domain.nodes import NodeSpec
from farlane.domain.prices import RateVector
from farlane.domain.resources import MAX_BYTES, MAX_CPU_MILLI, MAX_GPUS, Capacity, GpuKind
from farlane.errors import InvalidInput
from farlane.wire import limits
from farlane.wire.jobs import MAX_LABEL_CHARS, MAX_LABELS, pairs_to_wire
from farlane.wire.v1 import node_pb2, types_pb2

MAX_GPU_KINDS = 64
MAX_RATE = 10**12
"""A thousand credits a second for one core, GiB or GPU: beyond it a price is a slip of the pen."""

MAX_HELD_VERSIONS = 1024
"""Versions of models a node may say it has; those used last count."""
MAX_SERVED = 100
"""Organisations a node may name that it serves."""


def node_spec_to_wire(spec: NodeSpec) -> types_pb2.NodeSpec:
    """Return a node's description as it travels.

    Raises:
        InvalidInput: a number or text that cannot travel.
    """
    with limits.sendable("the node's description"):
        return types_pb2.NodeSpec(
            node=spec.node,
            name=spec.name,
            organisation=spec.organisation,
            capacity=_capacity_to_wire(spec.capacity),
            python=spec.python,
            platform=spec.platform,
            rates=_rates_to_wire(spec.rates),
            labels=pairs_to_wire(spec.labels),
            serves=spec.serves,
            recipient=spec.recipient,
        )


def node_spec_from_wire(message: types_pb2.NodeSpec) -> NodeSpec:
    """Read what a node says of itself.

    Raises:
        InvalidInput: a missing name, a value out of range, a text or list that is too long.
    """
    return NodeSpec(
        node=NodeId(limits.text("node id", message.node, limits.MAX_ID_CHARS, required=True)),
        name=limits.text("node name", message.name, limits.MAX_NAME_CHARS, required=True),
        organisation=limits.text("organisation", message.organisation, limits.MAX_NAME_CHARS, required=True),
        capacity=_capacity_from_wire(message.capacity),
        python=limits.text("Python version", message.python, limits.MAX_ID_CHARS),
        platform=limits.text("platform", message.platform, limits.MAX_NAME_CHARS),
        rates=_rates_from_wire(message.rates),
        labels=limits.pairs("labels", message.labels, MAX_LABELS, MAX_LABEL_CHARS),
        serves=_serves(message),
        recipient=limits.text("the node's recipient key", message.recipient, limits.MAX_ID_CHARS),
    )


def versions_held_to_wire(versions: Sequence[str]) -> node_pb2.VersionsHeld:
    """Return which versions a node has whole as it travels: the first MAX_HELD_VERSIONS of them."""
    return node_pb2.VersionsHeld(versions=versions[:MAX_HELD_VERSIONS])


def versions_held_from_wire(message: node_pb2.VersionsHeld) -> tuple[str, ...]:
    """Read which versions a node has whole.

    Raises:
        InvalidInput: too many, or a text that is no CID.
    """
    limits.at_most("versions held", message.versions, MAX_HELD_VERSIONS)
    for cid in message.versions:
        if not 0 < len(cid) <= limits.MAX_CID_CHARS or not (cid.isascii() and cid.isalnum()):
            raise InvalidInput(f"{cid[:40]!r} is no CID of a version that a node could hold")
    return tuple(dict.fromkeys(message.versions))


def _serves(message: types_pb2.NodeSpec) -> tuple[str, ...]:
    limits.at_most("organisations a node serves", message.serves, MAX_SERVED)
    return tuple(
        limits.text("organisation a node serves", name, limits.MAX_NAME_CHARS, required=True)
        for name in message.serves
    )


def _capacity_to_wire(capacity: Capacity) -> types_pb2.Capacity:
    return types_pb2.Capacity(
        cpu_milli=capacity.cpu_milli,
        memory_bytes=capacity.memory_bytes,
        disk_bytes=capacity.disk_bytes,
        gpus=[gpu_to_wire(kind, count) for kind, count in capacity.gpus],
    )


def _rates_to_wire(rates: RateVector) -> types_pb2.RateVector:
    return types_pb2.RateVector(
        core_second=rates.core_second,
        gib_second=rates.gib_second,
        gpu_second=dict(rates.gpu_second),
        gib_moved=rates.gib_moved,
    )


def _capacity_from_wire(message: types_pb2.Capacity) -> Capacity:
    limits.at_most("kinds of GPU", message.gpus, MAX_GPU_KINDS)
    return Capacity(
        cpu_milli=limits.integer("CPU in thousandths of a core", message.cpu_milli, 1, MAX_CPU_MILLI),
        memory_bytes=limits.integer("memory in bytes", message.memory_bytes, 1, MAX_BYTES),
        disk_bytes=limits.integer("disk in bytes", message.disk_bytes, 0, MAX_BYTES),
        gpus=tuple(_gpus_from_wire(gpu) for gpu in message.gpus),
    )


def _gpus_from_wire(message: types_pb2.GpuCount) -> tuple[GpuKind, int]:
    model = limits.text("GPU model", message.model, limits.MAX_ID_CHARS, required=True)
    vram = limits.integer(f"memory of GPU {model!r} in bytes", message.vram_bytes, 0, MAX_BYTES)
    return GpuKind(model, vram), limits.integer(f"count of GPU {model!r}", message.count, 1, MAX_GPUS)


def gpu_to_wire(kind: GpuKind, count: int) -> types_pb2.GpuCount:
    """Return GPUs of one kind as they travel."""
    return types_pb2.GpuCount(model=kind.model, vram_bytes=kind.vram_bytes, count=count)


def gpu_kind_from_wire(message: types_pb2.GpuCount) -> GpuKind:
    """Read a kind of GPU.

    Raises:
        InvalidInput: it has no name, or numbers that cannot be.
    """
    return _gpus_from_wire(message)[0]


def _rates_from_wire(message: types_pb2.RateVector) -> RateVector:
    limits.at_most("GPU rates", message.gpu_second, MAX_GPU_KINDS)
    return RateVector(
        core_second=_rate("core-second", message.core_second),
        gib_second=_rate("GiB-second", message.gib_second),
        # A map has no order of its own: sorted, so that equal prices compare equal.
        gpu_second=tuple(
            (
                limits.text("GPU model of a rate", model, limits.MAX_ID_CHARS, required=True),
                _rate(model, rate),
            )
            for model, rate in sorted(message.gpu_second.items())
        ),
        gib_moved=_rate("GiB moved", message.gib_moved),
    )


def _rate(what: str, nano: int) -> int:
    return limits.integer(f"rate of {what[:40]} in nano-credits", nano, 0, MAX_RATE)
