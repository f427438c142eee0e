"""Alibaba's GPU cluster of 2023 ("openb"): its nodes, and lists of the tasks (pods) that are packed onto them.

Source: https://github.com/alibaba/clusterdata, cluster-trace-gpu-v2023
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farlane.errors import InvalidInput
from farlane.lab.traces.table import Field, numbered, read_table, table_rows
from farlane.scheduler.sim.world import ANY_GPU, MAX_GPU_MODELS, MAX_GPUS, WHOLE_GPU, Ints

_SIZE = (Field("cpu_milli", whole=True), Field("memory_mib", whole=True))
_NODE = (*_SIZE, Field("gpu", most=MAX_GPUS, whole=True))
_POD = (*_SIZE, Field("num_gpu", most=MAX_GPUS, whole=True), Field("gpu_milli", most=WHOLE_GPU, whole=True))
_SPEC = "gpu_spec"


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
    """Read a list of nodes; raises as `read_table`."""
    table = read_table(path, _NODE, ("sn", "model"))
    models, model = numbered(table.words["model"])
    if len(models) > MAX_GPU_MODELS:
        raise InvalidInput(
            f"{path} names {len(models)} models of GPUs; at most {MAX_GPU_MODELS} are told apart"
        )
    gpus = table.whole("gpu")
    return OpenbNodes(
        table.whole("cpu_milli"), table.whole("memory_mib"), gpus, np.where(gpus > 0, model, -1), models
    )


def read_pods(path: Path, models: Sequence[str]) -> OpenbPods:
    """Read a list of tasks; where it has no column `gpu_spec`, any model does.

    Args:
        path: of the list.
        models: of GPUs, as the nodes have them; others that a task names are nowhere.

    Raises:
        NotFound, Corrupted, InvalidInput: as `read_table`.
    """
    _, first = next(table_rows(path, ("name",)))
    table = read_table(path, _POD, ("name", _SPEC) if _SPEC in first else ("name",))
    gpus, share = table.whole("num_gpu"), table.whole("gpu_milli")
    specs = table.words.get(_SPEC, [""] * len(table))
    return OpenbPods(
        table.whole("cpu_milli"),
        table.whole("memory_mib"),
        gpus,
        np.where(gpus == 1, share, np.where(gpus > 0, WHOLE_GPU, 0)),
        np.array([_mask(spec, models) for spec in specs], np.int64),
    )


def _mask(spec: str, models: Sequence[str]) -> int:
    named = [name for name in spec.split("|") if name]
    return sum(1 << models.index(name) for name in named if name in models) if named else ANY_GPU
