"""Microsoft's GPU cluster Philly: jobs of deep learning with the number of GPUs each took, 2017.

Source: https://github.com/msr-fiddle/philly-traces (CC-BY-4.0), as the table of https://github.com/DIR-LAB/lumos has it
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farlane.lab.traces.table import Field, read_table
from farlane.scheduler.sim.world import Floats, Ints

MACHINES = ((231, 8), (321, 2))
"""The cluster, as those who work with the trace have it: how many machines have how many GPUs, 2,490 in all."""
_FIELDS = (Field("submit_time"), Field("run_time"), Field("wait_time"), Field("gpu_num", least=1, whole=True))


@dataclass(frozen=True, slots=True)
class PhillyTrace:
    """Jobs in the order in which they were submitted.

    submit_s: (j,) seconds since the first; run_s: (j,) seconds; wait_s: (j,) seconds each waited there; gpus: (j,).
    """

    submit_s: Floats
    run_s: Floats
    wait_s: Floats
    gpus: Ints

    def __len__(self) -> int:
        return len(self.submit_s)


def read_philly(path: Path) -> PhillyTrace:
    """Read the jobs; raises as `read_table`."""
    table = read_table(path, _FIELDS)
    order = np.argsort(table.numbers["submit_time"], kind="stable")
    submit = table.numbers["submit_time"][order]
    return PhillyTrace(
        submit - submit[0],
        table.numbers["run_time"][order],
        table.numbers["wait_time"][order],
        table.whole("gpu_num")[order],
    )
