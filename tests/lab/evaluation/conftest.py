"""Small logs and lists of tasks, written where a directory of traces has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

HEADER = "; MaxNodes: 8\n; MaxProcs: 8\n"


def log_text(jobs: int, seed: int) -> str:
    random = np.random.default_rng(seed)
    at = np.cumsum(random.integers(0, 40, jobs))
    run, width, user = random.integers(1, 200, jobs), random.integers(1, 9, jobs), random.integers(0, 5, jobs)
    lines = [
        f"{row + 1} {at[row]} -1 {run[row]} {width[row]} -1 -1 {width[row]} {2 * run[row]} -1 1 {user[row]}"
        + 6 * " -1"
        for row in range(jobs)
    ]
    return HEADER + "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two logs of 7,000 jobs, three nodes and two lists of tasks."""
    directory = tmp_path_factory.mktemp("traces")
    for below in ("swf", "openb"):
        (directory / below).mkdir()
    (directory / "swf" / "lublin_256.swf").write_text(log_text(7_000, 1))
    (directory / "swf" / "other.swf").write_text(log_text(7_000, 2))
    nodes = "sn,cpu_milli,memory_mib,gpu,model\na,8000,9000,2,T4\nb,8000,9000,4,A10\nc,8000,9000,0,\n"
    (directory / "openb" / "openb_node_list_gpu_node.csv").write_text(nodes)
    pods = [f"p{at},{500 * (at % 3 + 1)},10,{at % 2 + at % 3},{100 * (at % 7 + 2)}" for at in range(40)]
    for name in ("default", "other"):
        text = "\n".join(["name,cpu_milli,memory_mib,num_gpu,gpu_milli", *pods, ""])
        (directory / "openb" / f"openb_pod_list_{name}.csv").write_text(text)
    return directory
