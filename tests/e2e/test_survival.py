"""kill -9 of everything while ten thousand tasks are queued and running: nothing is lost, nothing counted twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from farlane import App
from farlane.app.layout import Layout
from farlane.app.network import NodePlan, down, load, up
from farlane.domain.jobs import JobState
from farlane.sdk.context import read_client_file
from farlane.sdk.facade import Client

TASKS = 10_000
PLANS = [NodePlan("one", {"cpu": "1", "memory": "1GiB"}), NodePlan("two", {"cpu": "1", "memory": "1GiB"})]
WAIT_S = 90.0


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "network"
    up(root, PLANS, port=0)
    try:
        yield root
    finally:
        down(root)


def kill_everything(root: Path) -> None:
    known = load(Layout(root))
    for process in (known.hub, *known.nodes.values()):
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while any(process is not None and process.alive() for process in (known.hub, *known.nodes.values())):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_ten_thousand_tasks_survive_the_death_of_every_process(network: Path) -> None:
    endpoint = read_client_file(network)
    with Client(endpoint.url, endpoint.token) as client:
        app = App("survival", client)

        @app.function(cpu=1, memory="100MB", disk="1MB", timeout=60)
        def work(number: int) -> int:
            import time

            time.sleep(0.0005)
            return number * 2

        got: list[int] = []
        reader = threading.Thread(target=lambda: got.extend(work.map(range(TASKS))), daemon=True)
        reader.start()
        wait_until(lambda: bool(client.jobs()) and client.jobs()[0].done > TASKS // 10)
        kill_everything(network)
        up(network, [])
        reader.join(WAIT_S)
        assert not reader.is_alive()
        assert got == [number * 2 for number in range(TASKS)]
        (job,) = client.jobs(all=True)
        assert (job.state, job.total, job.done, job.failed) == (JobState.SUCCEEDED, TASKS, TASKS, 0)
        batches = client.job(job.job).tasks(limit=2 * TASKS)
        indices = sorted(index for batch in batches for index in batch.indices)
        assert indices == list(range(TASKS))
        # Each task is charged once; attempts that died with their node cost nothing.
        assert job.spent == sum(sum(batch.amounts) for batch in batches)


def wait_until(done: object) -> None:
    end = time.monotonic() + WAIT_S
    while not done():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_task_of_a_killed_node_runs_elsewhere(network: Path) -> None:
    endpoint = read_client_file(network)
    with Client(endpoint.url, endpoint.token) as client:
        app = App("survival", client)

        @app.function(cpu=1, memory="100MB", disk="1MB", timeout=60)
        def slow(number: int) -> int:
            import time

            time.sleep(3)
            return number

        calls = [slow.spawn(number) for number in range(2)]
        wait_until(lambda: sum(node.leases for node in client.nodes()) == 2)
        victim = load(Layout(network)).nodes["one"]
        assert victim is not None
        os.kill(victim.pid, signal.SIGKILL)
        assert [call.result(timeout=60) for call in calls] == [0, 1]
        lost = {node.spec.name: node.attempts_lost for node in client.nodes()}
        assert lost == {"one": 1, "two": 0}
