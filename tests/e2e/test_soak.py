"""Long fault injection: processes die at random while a map runs, again and again; `make soak` runs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

import farlane

TASKS = 60_000
ROUNDS = 15
VICTIMS = (("hub",), ("node-1",), ("node-2",), ("node-1", "node-2"), ("hub", "node-1", "node-2"))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_whatever_dies_every_result_comes_once_and_every_sum_agrees(
    new_network: Callable[..., Any], eventually: Callable[..., None], seed: int
) -> None:
    network = new_network("--nodes", "2")
    random = Random(seed)
    with network.client() as client:
        app = farlane.App("soak", client)

        @app.function(cpu=0.25, memory="64MB", disk="1MB", timeout=60)
        def work(number: int) -> int:
            time.sleep(0.002)
            return number * 3

        got: list[int] = []
        reader = threading.Thread(target=lambda: got.extend(work.map(range(TASKS))), daemon=True)
        reader.start()
        for _ in range(ROUNDS):
            before = len(got)
            network.kill(*random.choice(VICTIMS))
            time.sleep(random.uniform(0, 4))  # some find their lease expired, some do not
            network.start()
            eventually(lambda before=before: len(got) > before or not reader.is_alive(), 120)
        reader.join(900)
        assert not reader.is_alive()
        assert got == [number * 3 for number in range(TASKS)]
        (job,) = client.jobs(all=True)
        assert (job.done, job.total, job.failed, job.reserved) == (TASKS, TASKS, 0, 0)
        charged, after = 0, 0
        indices: list[int] = []
        while batches := client.job(job.job).tasks(after, 10_000):
            for batch in batches:
                charged += sum(batch.amounts)
                indices += batch.indices
            after = batches[-1].seq + len(batches[-1].indices)
        assert sorted(indices) == list(range(TASKS))
        assert charged == job.spent
        assert client.nodes()[0].leases == client.nodes()[1].leases == 0
