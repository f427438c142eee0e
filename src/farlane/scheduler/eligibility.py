"""Eligibility: which nodes could ever run a job, whatever is free, and what stands in the way on the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from farlane.domain.jobs import JobSpec
from farlane.domain.nodes import NodeSpec, advertised_labels, labels_wanted
from farlane.domain.prices import hourly_ceiling
from farlane.domain.resources import Capacity, GpuKind, GpuRequest, Resources
from farlane.domain.units import bytes_text, credits_text
from farlane.scheduler.view import FIRST_GPU, Bools, Ints


class ObstacleKind(StrEnum):
    """Why a node could never run a job, in the order in which it is checked."""

    ORGANISATION = "organisation"
    PYTHON = "python"
    LABEL = "label"
    RECIPIENT = "recipient"
    CPU = "cpu"
    MEMORY = "memory"
    DISK = "disk"
    GPU_MODEL = "gpu-model"
    GPU_MEMORY = "gpu-memory"
    GPU_COUNT = "gpu-count"
    PRICE = "price"
    CREDIT = "credit"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What stands in the way on one node, for people: what is the matter and what would remove it.

    nearness: how much of what is wanted the node has, in [0, 1); 0 where there is no more or less.
    """

    kind: ObstacleKind
    message: str
    fix: str
    nearness: float = 0.0


class Wants(Protocol):
    """The part of a job that decides where it could run. `python` is empty where any will do."""

    @property
    def organisation(self) -> str:
        """Whose work it is."""
        ...

    @property
    def resources(self) -> Resources:
        """What one task reserves."""
        ...

    @property
    def python(self) -> str:
        """The Python minor its function was pickled with, such as `3.11`; empty for a command."""
        ...

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        """Labels a node must advertise."""
        ...

    @property
    def readers(self) -> tuple[str, ...]:
        """Recipients, one of whom a node must be; empty where anybody will do."""
        ...

    @property
    def max_price(self) -> int | None:
        """The most an hour of its resources may cost, in nano-credits."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """The plain value that satisfies `Wants`."""

    organisation: str
    resources: Resources
    python: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    max_price: int | None = None
    readers: tuple[str, ...] = ()


def wanted_of(spec: JobSpec) -> Wanted:
    """Return the part of a job's specification that decides where it could run."""
    python = "" if spec.function is None else spec.function.python
    readers = () if spec.serve is None else spec.serve.readers
    return Wanted(spec.organisation, spec.resources, python, labels_wanted(spec), spec.max_price, readers)


def first_obstacle(spec: JobSpec, node: NodeSpec) -> Obstacle | None:
    """Return why a node could never run a job, None when it could."""
    return obstacle(wanted_of(spec), node)


def eligible(wants: Wants, node: NodeSpec) -> bool:
    """Tell whether a node could run this if it were empty and online."""
    return obstacle(wants, node) is None


def obstacle(wants: Wants, node: NodeSpec) -> Obstacle | None:
    """Return the first obstacle in the order of `ObstacleKind`, None when there is none."""
    return (
        _identity(wants, node)
        or _size(wants.resources, node)
        or _gpu(wants.resources, node)
        or _price(wants, node)
    )


def demands(resources: Resources, gpu_kinds: Sequence[GpuKind]) -> Ints:
    """Return the alternatives of one task's demand: (k, 3 + g) int64.

    One row without GPU; with one, a row for each kind that would do, the one with least memory first, so that
    scarce large devices are kept; no row where no known kind would do.
    """
    plain = [resources.cpu_milli, resources.memory_bytes, resources.disk_bytes, *([0] * len(gpu_kinds))]
    if resources.gpu is None:
        return np.array([plain], np.int64)
    kinds = [
        (kind.vram_bytes, kind.model, at) for at, kind in enumerate(gpu_kinds) if resources.gpu.accepts(kind)
    ]
    rows = np.array([plain] * len(kinds), np.int64).reshape(len(kinds), len(plain))
    for row, (_, _, at) in enumerate(sorted(kinds)):
        rows[row, FIRST_GPU + at] = resources.gpu.count
    return rows


def capacity_row(capacity: Capacity, gpu_kinds: Sequence[GpuKind]) -> Ints:
    """Return a node's capacity as a row of the view's matrix: (3 + g,) int64."""
    devices = dict(capacity.gpus)
    gpus = [devices.get(kind, 0) for kind in gpu_kinds]
    return np.array([capacity.cpu_milli, capacity.memory_bytes, capacity.disk_bytes, *gpus], np.int64)


def allowed(wants: Wants, nodes: Sequence[NodeSpec], gpu_kinds: Sequence[GpuKind]) -> Bools | None:
    """Return which demand alternatives a price cap allows on which node, (k, n) bool; None where all are.

    Only a node with several kinds of GPU at different prices needs this: elsewhere eligibility says it all.
    """
    if wants.max_price is None or wants.resources.gpu is None:
        return None
    cap, rows = wants.max_price, demands(wants.resources, gpu_kinds)
    kinds = [gpu_kinds[int(np.flatnonzero(row[FIRST_GPU:])[0])] for row in rows]
    prices = [[hourly_ceiling(node.rates, wants.resources, kind) <= cap for node in nodes] for kind in kinds]
    return np.array(prices, np.bool_).reshape(len(kinds), len(nodes))


def fitting_kinds(resources: Resources, node: NodeSpec) -> tuple[GpuKind | None, ...]:
    """Return the kinds of GPU with which a node could serve a request, `(None,)` where it asks for none."""
    wanted = resources.gpu
    if wanted is None:
        return (None,)
    return tuple(kind for kind, count in node.capacity.gpus if wanted.accepts(kind) and count >= wanted.count)


def cores_text(milli: int) -> str:
    """Return thousandths of a core for people: `1 core`, `0.5 cores`."""
    return "1 core" if milli == 1000 else f"{milli / 1000:g} cores"


def _identity(wants: Wants, node: NodeSpec) -> Obstacle | None:
    if not node.runs_work_of(wants.organisation):
        others = f" and of {', '.join(node.serves)}" if node.serves else ""
        return Obstacle(
            ObstacleKind.ORGANISATION,
            f"{node.name} runs only work of its own organisation ({_named(node.organisation)}){others} as long as "
            f"there is no sandbox; this is work of {_named(wants.organisation)}",
            f"add a node of {_named(wants.organisation)}, or submit as a member of {_named(node.organisation)}, or ask "
            "its owner to list you in node.serves",
        )
    if wants.python and wants.python != node.python:
        return Obstacle(
            ObstacleKind.PYTHON,
            f"the function was pickled by Python {wants.python}; {node.name} runs {node.python}",
            f"submit from Python {node.python}, or add a node with Python {wants.python}",
        )
    if wants.labels and (missing := sorted(set(wants.labels) - advertised_labels(node))):
        text = ", ".join(f"{key}={value}" for key, value in missing)
        return Obstacle(
            ObstacleKind.LABEL,
            f"{node.name} does not have the label {text}",
            f"start a node with the label {text}, or ask for fewer labels",
            1 - len(missing) / len(wants.labels),
        )
    if wants.readers and node.recipient not in wants.readers:
        return Obstacle(
            ObstacleKind.RECIPIENT,
            f"the model is private, and not shared with {node.name}",
            f"share it: `farlane models share MODEL --with-node {node.name}`",
        )
    return None


def _size(resources: Resources, node: NodeSpec) -> Obstacle | None:
    has = node.capacity
    if resources.cpu_milli > has.cpu_milli:
        wanted, there = cores_text(resources.cpu_milli), cores_text(has.cpu_milli)
        return _too_small(ObstacleKind.CPU, "", wanted, there, node, has.cpu_milli / resources.cpu_milli)
    for kind, want, have in (
        (ObstacleKind.MEMORY, resources.memory_bytes, has.memory_bytes),
        (ObstacleKind.DISK, resources.disk_bytes, has.disk_bytes),
    ):
        if want > have:
            return _too_small(kind, f" of {kind}", bytes_text(want), bytes_text(have), node, have / want)
    return None


def _too_small(
    kind: ObstacleKind, of: str, wanted: str, has: str, node: NodeSpec, nearness: float
) -> Obstacle:
    return Obstacle(
        kind,
        f"needs {wanted}{of}; {node.name} has {has}",
        f"ask for at most {has}{of}, or add a node with {wanted}",
        nearness,
    )


def _gpu(resources: Resources, node: NodeSpec) -> Obstacle | None:
    wanted = resources.gpu
    if wanted is None or fitting_kinds(resources, node):
        return None
    gpus = node.capacity.gpus
    of_model = [(kind, count) for kind, count in gpus if _same_model(wanted, kind)]
    if not of_model:
        return Obstacle(
            ObstacleKind.GPU_MODEL,
            f"needs {_request_text(wanted)}; {node.name} has {_devices_text(gpus)}",
            f"ask for another GPU, or add a node with {_request_text(wanted)}",
        )
    accepted = [count for kind, count in of_model if wanted.accepts(kind)]
    if not accepted:
        largest = max(kind.vram_bytes for kind, _ in of_model)
        return _too_small(
            ObstacleKind.GPU_MEMORY, " a GPU", bytes_text(wanted.min_vram_bytes), bytes_text(largest), node,
            largest / wanted.min_vram_bytes,
        )  # fmt: skip
    return _too_small(
        ObstacleKind.GPU_COUNT, " of one kind", f"{wanted.count} GPUs", f"{max(accepted)}", node,
        max(accepted) / wanted.count,
    )  # fmt: skip


def _price(wants: Wants, node: NodeSpec) -> Obstacle | None:
    if wants.max_price is None:
        return None
    kinds = fitting_kinds(wants.resources, node)
    least = min(hourly_ceiling(node.rates, wants.resources, kind) for kind in kinds)
    if least <= wants.max_price:
        return None
    asks = credits_text(least)
    return Obstacle(
        ObstacleKind.PRICE,
        f"{node.name} asks {asks} credits an hour for this; max_price is {credits_text(wants.max_price)}",
        f"raise max_price to {asks}, ask for less, or add a cheaper node",
        wants.max_price / least,
    )


def _same_model(wanted: GpuRequest, kind: GpuKind) -> bool:
    return wanted.model is None or wanted.model.upper() == kind.model.upper()


def _named(organisation: str) -> str:
    return repr(organisation) if organisation else "no organisation"


def _request_text(wanted: GpuRequest) -> str:
    memory = f" with {bytes_text(wanted.min_vram_bytes)} each" if wanted.min_vram_bytes else ""
    return f"{wanted.count} x {wanted.model or 'any GPU'}{memory}"


def _devices_text(gpus: Iterable[tuple[GpuKind, int]]) -> str:
    return ", ".join(f"{count} x {kind.model}" for kind, count in gpus) or "no GPU"
