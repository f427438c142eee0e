"""Alibaba's image generation of 2024: requests that name a checkpoint each, so that it matters which node has which.

Source: https://github.com/alibaba/clusterdata, cluster-trace-v2026-GenAI
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from farlane.errors import InvalidInput
from farlane.lab.traces.table import Field, Table, numbered, read_table
from farlane.scheduler.sim.world import Bools, Floats, Ints

_FIELDS = (
    Field("exec_time_seconds"),
    Field("num_images_per_prompt", empty=1.0),
    Field("num_inference_steps", empty=0.0),
    Field("num_lora", whole=True, empty=0.0),
)
_WORDS = ("gmt_create", "predict_status", "groupId", "checkpoint_model_version_id")
_TIME = "%Y-%m-%d %H:%M:%S"
_ENDED = ("SUCCEED", "FAILED")


@dataclass(frozen=True, slots=True)
class GenaiTrace:
    """Requests that have ended, in the order in which they came.

    submit_s: (r,) seconds since the first; run_s: (r,) seconds as recorded (whether a checkpoint's loading is within is
    not said); failed: (r,); images, steps: (r,) asked for, 0 where that is not recorded; loras: (r,) adapters, of which
    only the number is known; user: (r,) groups from 0; checkpoint: (r,) row in `checkpoints`, -1 where none is named.
    """

    submit_s: Floats
    run_s: Floats
    failed: Bools
    images: Floats
    steps: Floats
    loras: Ints
    user: Ints
    checkpoint: Ints
    checkpoints: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.submit_s)


def read_genai(path: Path) -> GenaiTrace:
    """Read the requests; raises as `read_table`, and where a time of day is none."""
    table = read_table(path, _FIELDS, _WORDS)
    times = np.array([_time(table, row) for row in range(len(table))])
    status = np.array(table.words["predict_status"])
    ended = np.isin(status, _ENDED)
    if not ended.any():
        raise InvalidInput(f"{path} has no request whose predict_status is {' or '.join(_ENDED)}")
    rows = np.flatnonzero(ended)
    rows = rows[np.argsort(times[rows], kind="stable")]
    checkpoints, checkpoint = numbered(table.words["checkpoint_model_version_id"])
    _, user = numbered(table.words["groupId"])
    numbers = table.numbers
    return GenaiTrace(
        times[rows] - times[rows[0]], numbers["exec_time_seconds"][rows], status[rows] == "FAILED",
        numbers["num_images_per_prompt"][rows], numbers["num_inference_steps"][rows], table.whole("num_lora")[rows],
        np.maximum(user[rows], 0), checkpoint[rows], checkpoints,
    )  # fmt: skip


def _time(table: Table, row: int) -> float:
    text = table.words["gmt_create"][row]
    try:
        return datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp()
    except ValueError:
        line = int(table.line[row])
        raise InvalidInput(
            f"{table.path}, line {line}: gmt_create is {text[:40]!r}; expected a time like 2024-11-15 16:57:50"
        ) from None
