"""The simulated world: nodes, tasks, throughputs and churn as columns, checked once before anything runs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CPU, MEMORY, DISK = 0, 1, 2
"""Columns of capacities and demands: milli-cores (or processors), bytes, bytes."""
WHOLE_GPU = 1000
"""A GPU in thousandths, as shares of GPUs are counted."""
MAX_GPUS = 16
"""GPUs of one node."""
MAX_GPU_MODELS = 62
"""Models of GPUs: tasks name those that they can use in the bits of one integer."""
ANY_GPU = (1 << MAX_GPU_MODELS) - 1
"""Mask of a task that any model serves."""
NEVER = np.inf


class Nodes(NamedTuple):
    """Columns of n nodes.

    capacity: (n, 3); gpus: (n,) how many; gpu_model: (n,) index, -1 where there is none; vram: (n,) bytes of each GPU;
    bandwidth: (n,) bytes a second at which models arrive; cache_bytes: (n,) kept of models; price: (n, 3) credits a
    second of a core, of a GiB of memory and of a GPU; rtt_s: (n,) round trip; hazard: (n,) departures to expect a
    second; reputation: (n,) 0 to 1, the share of its results that stood up to checks.
    """

    capacity: Ints
    gpus: Ints
    gpu_model: Ints
    vram: Ints
    bandwidth: Floats
    cache_bytes: Ints
    price: Floats
    rtt_s: Floats
    hazard: Floats
    reputation: Floats


class Tasks(NamedTuple):
    """Columns of t tasks, in the order of their arrival.

    arrival: (t,) seconds; demand: (t, 3); gpus: (t,) how many; gpu_milli: (t,) of each, WHOLE_GPU but for shares of
    one; gpu_models: (t,) mask of those that it can use; vram: (t,) bytes of each; run_s: (t,) seconds at speed 1, inf
    for ever; kind: (t,) row in the world's speeds; estimate_s: (t,) run time that is asked for; user: (t,); model: (t,)
    index, -1 for none; parents: (t,) tasks to wait for; first_child: (t + 1,), children: (e,) tasks that wait for it;
    priority: (t,) 0 to 100; deadline: (t,) seconds, inf for none; budget: (t,) credits it may cost, inf for any; gang:
    (t,) first of the tasks, adjacent rows that arrive at one time, which start at one moment or not at all; its own row
    where it is alone.
    """

    arrival: Floats
    demand: Ints
    gpus: Ints
    gpu_milli: Ints
    gpu_models: Ints
    vram: Ints
    run_s: Floats
    kind: Ints
    estimate_s: Floats
    user: Ints
    model: Ints
    parents: Ints
    first_child: Ints
    children: Ints
    priority: Ints
    deadline: Floats
    budget: Floats
    gang: Ints


class Changes(NamedTuple):
    """Nodes that come and go: at (c,) seconds, rising; node (c,); online (c,)."""

    at: Floats
    node: Ints
    online: Bools


class World(NamedTuple):
    """Everything that is simulated.

    speed: (kinds, models + 1) how fast a kind of task runs on each GPU model, 0: not at all; the last column is that of
    nodes without GPU. model_bytes: (m,).
    """

    nodes: Nodes
    tasks: Tasks
    changes: Changes
    speed: Floats
    model_bytes: Ints
