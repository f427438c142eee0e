"""Alibaba's GPU cluster of 2023 ("openb"): its nodes, and lists of the tasks (pods) that are packed onto them.

Source: https://github.com/alibaba/clusterdata, cluster-trace-gpu-v2023
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farlane.errors import InvalidInput
from farlane.lab.traces.text import number, opened
from farlane.scheduler.sim.world import ANY_GPU, MAX_GPU_MODELS, MAX_GPUS, WHOLE_GPU, Ints

_NODE = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
_POD = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
Row = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class OpenbNodes:
    """Nodes in the order of the file.

    cpu_milli, memory_mib, gpus: (n,); model: (n,) row in `models`, -1 without GPU.
    """

    cpu_milli: Ints
    memory_mib: Ints
    gpus: Ints
    model: Ints
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OpenbPods:
    """Tasks in the order of the file.

    cpu_milli, memory_mib, gpus: (p,); gpu_milli: (p,) of each GPU, WHOLE_GPU but for shares of one; gpu_models: (p,)
    mask of the models that do, ANY_GPU where none is named.
    """

    cpu_milli: Ints
    memory_mib: Ints
    gpus: Ints
    gpu_milli: Ints
    gpu_models: Ints

    def __len__(self) -> int:
        return len(self.gpus)

    @property
    def gpu_total(self) -> Ints:
        """(p,) thousandths of GPUs that each asks for in all."""
        return self.gpus * self.gpu_milli


def read_nodes(path: Path) -> OpenbNodes:
    """Read a list of nodes; raises as `read_swf`."""
    rows = list(_rows(path, _NODE))
    names = [(row["model"] or "").strip() for _, row in rows]
    models = tuple(sorted({name for name in names if name}))
    if len(models) > MAX_GPU_MODELS:
        raise InvalidInput(
            f"{path} names {len(models)} models of GPUs; at most {MAX_GPU_MODELS} are told apart"
        )
    gpus = _column(path, rows, "gpu", MAX_GPUS)
    model = [models.index(name) if name else -1 for name in names]
    return OpenbNodes(
        _column(path, rows, "cpu_milli"),
        _column(path, rows, "memory_mib"),
        gpus,
        np.where(gpus > 0, np.array(model, np.int64), -1),
        models,
    )


def read_pods(path: Path, models: Sequence[str]) -> OpenbPods:
    """Read a list of tasks; where it has no column `gpu_spec`, any model does.

    Args:
        path: of the list.
        models: of GPUs, as the nodes have them; others that a task names are nowhere.

    Raises:
        NotFound, Corrupted, InvalidInput: as `read_swf`.
    """
    rows = list(_rows(path, _POD))
    gpus = _column(path, rows, "num_gpu", MAX_GPUS)
    share = _column(path, rows, "gpu_milli", WHOLE_GPU)
    whole = np.where(gpus > 0, WHOLE_GPU, 0)
    return OpenbPods(
        _column(path, rows, "cpu_milli"),
        _column(path, rows, "memory_mib"),
        gpus,
        np.where(gpus == 1, share, whole),
        np.array([_mask(row.get("gpu_spec") or "", models) for _, row in rows], np.int64),
    )


def _rows(path: Path, wanted: Sequence[str]) -> Iterator[tuple[int, Row]]:
    with opened(path) as lines:
        reader = csv.DictReader(lines)
        lacking = [name for name in wanted if name not in (reader.fieldnames or ())]
        if lacking:
            raise InvalidInput(f"{path} has no column {', '.join(lacking)}; expected {', '.join(wanted)}")
        found = False
        for row in reader:
            found = True
            if any(row[name] is None for name in wanted):
                raise InvalidInput(f"{path}, line {reader.line_num}: fields are missing")
            yield reader.line_num, row
    if not found:
        raise InvalidInput(f"{path} has a header and no row")


def _column(path: Path, rows: Sequence[tuple[int, Row]], name: str, most: float = 1e15) -> Ints:
    values = np.array([number(path, at, name, row[name] or "") for at, row in rows])
    wrong = np.flatnonzero((values < 0) | (values > most))
    if len(wrong):
        at = rows[int(wrong[0])][0]
        raise InvalidInput(f"{path}, line {at}: {name} is {values[wrong[0]]:g}; expected 0 to {most:g}")
    return values.astype(np.int64)


def _mask(spec: str, models: Sequence[str]) -> int:
    named = [name for name in spec.split("|") if name]
    return sum(1 << models.index(name) for name in named if name in models) if named else ANY_GPU
