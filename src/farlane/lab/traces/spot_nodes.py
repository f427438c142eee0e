"""Alibaba's spot cluster of 2026: its nodes with their GPUs and cores.

Source: https://github.com/alibaba/clusterdata, cluster-trace-v2026-spot-gpu
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from farlane.errors import InvalidInput
from farlane.lab.traces.table import Field, numbered, read_table
from farlane.scheduler.sim.world import MAX_GPU_MODELS, MAX_GPUS, Ints

_FIELDS = (
    Field("gpu_capacity_num", most=MAX_GPUS, whole=True),
    Field("cpu_num", least=1, most=1e6, whole=True),
)


@dataclass(frozen=True, slots=True)
class SpotNodes:
    """Nodes in the order of the file: names; cores, gpus: (n,); model: (n,) row in `models`, -1 without GPU."""

    names: tuple[str, ...]
    cores: Ints
    gpus: Ints
    model: Ints
    models: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


def read_spot_nodes(path: Path) -> SpotNodes:
    """Read the nodes; raises as `read_table`, and where a node is named twice or has GPUs of no model."""
    table = read_table(path, _FIELDS, ("gpu_model", "node_name"))
    gpus, names = table.whole("gpu_capacity_num"), table.words["node_name"]
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        if seen.setdefault(name, row) != row:
            raise InvalidInput(f"{path}, line {table.line[row]}: node {name!r} is named twice")
        if gpus[row] and not table.words["gpu_model"][row]:
            raise InvalidInput(f"{path}, line {table.line[row]}: the GPUs of node {name!r} have no model")
    words = [word if count else "" for word, count in zip(table.words["gpu_model"], gpus, strict=True)]
    models, model = numbered(words)
    if len(models) > MAX_GPU_MODELS:
        raise InvalidInput(
            f"{path} names {len(models)} models of GPUs; at most {MAX_GPU_MODELS} are told apart"
        )
    return SpotNodes(tuple(names), table.whole("cpu_num"), gpus, model, models)
