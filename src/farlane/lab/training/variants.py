"""Variants of a list of tasks: more of one kind, or more bound to models of GPUs, so that training sees other mixtures.

Drawn from the training list's own tasks, with strengths by chance; the held-out lists of openb are of such kinds,
but none of their tasks or figures is looked at.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from farlane.lab.traces.openb import OpenbNodes, OpenbPods
from farlane.scheduler.sim.world import WHOLE_GPU, Bools, Ints

VARIANTS = {"shares": (1.5, 8.0), "gangs": (1.5, 6.0), "cpu": (1.5, 3.2)}
"""How many times as likely tasks are: with a share of a GPU, with several GPUs, with none. `models` binds tasks."""
BOUND = (0.1, 0.4)
"""Share of tasks with GPUs that are bound to one or two models."""


def varied(pods: OpenbPods, nodes: OpenbNodes, variant: str, random: np.random.Generator) -> OpenbPods:
    """Return as many tasks, drawn anew; as they are where no variant is named."""
    if not variant:
        return pods
    if variant == "models":
        return replace(pods, gpu_models=_bound(pods, nodes, random))
    weights = np.where(_kind(pods, variant), random.uniform(*VARIANTS[variant]), 1.0)
    rows = random.choice(len(pods), len(pods), p=weights / weights.sum())
    columns: dict[str, Any] = {field.name: getattr(pods, field.name)[rows] for field in fields(pods)}
    return OpenbPods(**columns)


def _kind(pods: OpenbPods, variant: str) -> Bools:
    if variant == "shares":
        return np.asarray((pods.gpus == 1) & (pods.gpu_milli < WHOLE_GPU))
    return np.asarray(pods.gpus > 1 if variant == "gangs" else pods.gpus == 0)


def _bound(pods: OpenbPods, nodes: OpenbNodes, random: np.random.Generator) -> Ints:
    """Return masks of models of which some are bound to one or two, by how many GPUs of each there are."""
    with_gpu = nodes.gpus > 0
    counts = np.bincount(nodes.model[with_gpu], weights=nodes.gpus[with_gpu], minlength=len(nodes.models))
    masks = pods.gpu_models.copy()
    chosen = (random.random(len(pods)) < random.uniform(*BOUND)) & (pods.gpus > 0)
    most = min(2, int((counts > 0).sum()))
    for row in np.flatnonzero(chosen):
        models = random.choice(
            len(counts), random.integers(1, most + 1), replace=False, p=counts / counts.sum()
        )
        masks[row] = sum(1 << int(model) for model in models)
    return masks
