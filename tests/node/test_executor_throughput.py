"""5,000 calls that do nothing: all come back right; the rate is printed, not judged."""

from __future__ import annotations

import time
from pathlib import Path

from farlane.node.executors.port import Execution, Finished, Value
from farlane.node.executors.process_executor import ProcessExecutor
from farlane.node.executors.settings import ProcessExecutorSettings
from farlane.testing.executor_driver import ExecutorDriver

TASKS, BUNDLE = 5_000, 64


async def test_thousands_of_empty_calls_in_bundles(tmp_path: Path) -> None:
    settings = ProcessExecutorSettings(tmp_path / "scratch", max_busy_workers=2)
    async with ExecutorDriver(lambda on_events: ProcessExecutor(settings, on_events), tmp_path) as driver:
        call = driver.call(lambda payload: payload, b"x" * 1024)
        executions = [Execution(ticket, call, 60.0, index=ticket) for ticket in range(TASKS)]
        begun_s, begun_cpu_s = time.perf_counter(), time.process_time()
        for start in range(0, TASKS, BUNDLE):
            driver.submit(*executions[start : start + BUNDLE])
        await driver.until(lambda: len(driver.events) == 2 * TASKS)
        took_s, cpu_s = time.perf_counter() - begun_s, time.process_time() - begun_cpu_s
        ends = [event for event in driver.events if isinstance(event, Finished)]
        assert sorted(event.ticket for event in ends) == list(range(TASKS))
        assert all(isinstance(event.outcome, Value) for event in ends)
        print(
            f"\n{TASKS / took_s:.0f} tasks/s, {cpu_s / TASKS * 1e6:.1f} us CPU a task in the node's process"
        )
