"""Worlds of the settings that others publish figures for: a pool of processors, and tasks that are packed and stay."""

from __future__ import annotations

import numpy as np

from farlane.lab.traces.openb import OpenbNodes, OpenbPods
from farlane.lab.traces.swf import SwfTrace
from farlane.scheduler.sim.plain import no_changes, no_rows, plain_nodes, plain_tasks
from farlane.scheduler.sim.world import CPU, MEMORY, Ints, World


def pool_world(trace: SwfTrace, first: int, count: int) -> World:
    """Return jobs `first` to `first + count` of a trace on one pool: a node whose cores are the machine's nodes."""
    jobs = slice(first, first + count)
    t = len(trace.submit_s[jobs])
    demand = np.zeros((t, 3), np.int64)
    demand[:, CPU] = trace.nodes_needed[jobs]
    tasks = plain_tasks(trace.submit_s[jobs], demand)._replace(
        run_s=trace.run_s[jobs], estimate_s=trace.request_s[jobs], user=trace.user[jobs]
    )
    return World(
        plain_nodes(np.array([[trace.machine_nodes, 0, 0]])), tasks, no_changes(), np.ones((1, 1)), no_rows()
    )


def packing_world(nodes: OpenbNodes, pods: OpenbPods, order: Ints) -> World:
    """Return tasks, named by their rows in the order of their arrival, that stay for ever where they are placed."""
    capacity = np.stack([nodes.cpu_milli, nodes.memory_mib, np.zeros_like(nodes.gpus)], axis=1)
    demand = np.zeros((len(order), 3), np.int64)
    demand[:, CPU], demand[:, MEMORY] = pods.cpu_milli[order], pods.memory_mib[order]
    tasks = plain_tasks(np.arange(len(order), dtype=np.float64), demand)._replace(
        gpus=pods.gpus[order], gpu_milli=pods.gpu_milli[order], gpu_models=pods.gpu_models[order],
        run_s=np.full(len(order), np.inf),
    )  # fmt: skip
    placed = plain_nodes(capacity)._replace(gpus=nodes.gpus, gpu_model=nodes.model)
    return World(placed, tasks, no_changes(), np.ones((1, len(nodes.models) + 1)), no_rows())
