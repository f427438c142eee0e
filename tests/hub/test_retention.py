"""What ended long ago is forgotten; what anything open or kept may need stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from farlane.domain.ids import JobId, TaskId, task_id
from farlane.hub.hub import Hub
from farlane.hub.log_store import LogChunk
from farlane.hub.retention import MARGIN_S, forget_once
from farlane.hub.settings import HubSettings
from farlane.hub.store.memory import MemoryStore
from farlane.kit.clock import ManualClock
from farlane.models.store_memory import MemoryStore as MemoryBlobs
from farlane.scheduler.policy import policy_named

NOW = 2_000_000_000.0
KEEP_S = 1000.0


@pytest.fixture
async def hub(tmp_path: Path) -> Hub:
    clock = ManualClock(NOW)
    settings = HubSettings(directory=tmp_path, keep_results_s=KEEP_S)
    return Hub(
        settings, MemoryStore(), MemoryBlobs(clock=clock), policy_named("fifo"), clock, lambda error: None
    )


def a_log(hub: Hub, job: int, age_s: float) -> Path:
    hub.logs.append(LogChunk(TaskId(task_id(JobId(job), 0)), 1, "stdout", b"x"))
    path = hub.settings.directory / "logs" / f"j{job}.log"
    os.utime(path, (NOW - age_s, NOW - age_s))
    return path


async def test_logs_go_with_the_results(hub: Hub) -> None:
    old, new = a_log(hub, 1, KEEP_S + 1), a_log(hub, 2, KEEP_S - 1)
    forget_once(hub, [], NOW)
    assert not old.exists()
    assert new.exists()


async def test_a_blob_stays_until_it_is_older_than_results_and_margin(hub: Hub) -> None:
    cid = hub.blobs.put(b"data")
    forget_once(hub, [], NOW + KEEP_S + MARGIN_S - 1)
    assert [*hub.blobs.iterate()] == [cid]


async def test_a_blob_goes_when_nothing_that_counts_is_as_old(hub: Hub) -> None:
    hub.blobs.put(b"data")
    clock = hub.engine._clock
    assert isinstance(clock, ManualClock)
    clock.advance(KEEP_S + MARGIN_S + 1)
    forget_once(hub, [], clock.now())
    assert [*hub.blobs.iterate()] == []


async def test_an_old_job_that_is_still_open_keeps_its_blobs(hub: Hub) -> None:
    cid = hub.blobs.put(b"data")
    clock = hub.engine._clock
    assert isinstance(clock, ManualClock)
    clock.advance(100 * (KEEP_S + MARGIN_S))
    forget_once(hub, [NOW], clock.now())
    assert [*hub.blobs.iterate()] == [cid]
