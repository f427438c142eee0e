"""Compiled loops do what they do uncompiled: the other tests of the simulator run them as plain Python."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np
from farlane.scheduler.sim import compiled, packing, queueing, fragments, rules, state
from farlane.testing.sim_worlds import gpu_nodes, pool
random = np.random.default_rng(5)
arrivals = np.sort(random.integers(0, 200, 80))
jobs = [(float(at), float(random.integers(1, 40)), int(random.integers(1, 9))) for at in arrivals]
for rule in (rules.Rule.F1, rules.Rule.WFP3_HISTORY):
    world = pool(8, jobs)
    ran = state.new_state(world)
    queueing.run_queue(world, ran, int(rule), True)
    print(ran.started.tolist())
world = gpu_nodes([1, 2, 8], [(int(a), int(b), 300) for a, b in random.integers(0, 4, (40, 2))])
ran = state.new_state(world)
packing.run_packing(world, ran, fragments.usual_tasks(world.tasks), int(packing.Packing.FGD), np.zeros((1, 1)))
print(ran.node.tolist())
"""


@pytest.mark.slow
def test_compiled_loops_give_what_python_gives() -> None:
    pytest.importorskip("numba", reason="numba is missing: `pip install numba`")
    said = {}
    for plain in ("0", "1"):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": plain, "PYTHONPATH": os.pathsep.join(sys.path)}
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=environment,
            capture_output=True,
            text=True,
            timeout=110,
            check=True,
        )
        said[plain] = ended.stdout
    assert said["0"] == said["1"]
    assert len(said["0"].splitlines()) == 3
