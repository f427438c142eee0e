"""Metering: each task is charged with its own CPU time, wall time and peak memory, in a worker that runs many."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.node.executors.port import CommandCall, Usage
from farlane.node.executors.process_executor import ProcessExecutor
from farlane.node.executors.settings import ProcessExecutorSettings
from farlane.testing.executor_driver import ExecutorDriver, value_of

MIB = 1 << 20


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[ExecutorDriver]:
    settings = ProcessExecutorSettings(tmp_path / "scratch")
    async with ExecutorDriver(lambda on_events: ProcessExecutor(settings, on_events), tmp_path) as driver:
        yield driver


def burn(cpu_s: float) -> int:
    """Use CPU time in this thread."""
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        pass
    return os.getpid()


def hold(size: int) -> int:
    """Touch memory."""
    return len(b"x" * size) and os.getpid()


async def usages(driver: ExecutorDriver, *calls: object) -> list[Usage]:
    """Run calls in one bundle of one worker."""
    executions = [driver.execution(call) for call in calls]
    driver.submit(*executions)
    finished = [await driver.finished(execution.ticket) for execution in executions]
    assert len({value_of(one) for one in finished}) == 1, "they must have run in one process"
    return [one.usage for one in finished]


async def test_cpu_time_is_that_of_the_task_alone(driver: ExecutorDriver) -> None:
    call = driver.call(burn, 0.3)
    first, idle, second = await usages(driver, call, driver.call(os.getpid), call)
    assert 0.3 <= first.cpu_s < 0.36
    assert idle.cpu_s < 0.05
    assert 0.3 <= second.cpu_s < 0.36
    assert first.wall_s >= first.cpu_s * 0.9


async def test_sleeping_costs_wall_time_but_no_cpu(driver: ExecutorDriver) -> None:
    finished = await driver.run(driver.call(time.sleep, 0.3))
    assert finished.usage.cpu_s < 0.1
    assert 0.3 <= finished.usage.wall_s < 5


async def test_threads_count_also_when_they_are_gone(driver: ExecutorDriver) -> None:
    def threaded() -> None:
        threads = [threading.Thread(target=burn, args=(0.15,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    finished = await driver.run(driver.call(threaded))
    assert 0.3 <= finished.usage.cpu_s < 0.4


async def test_children_count_also_when_nobody_waited_for_them(driver: ExecutorDriver) -> None:
    def with_child(python: str) -> None:
        spin = "import time\nwhile time.thread_time() < 0.3: pass\nprint('done', flush=True)\ntime.sleep(60)"
        process = subprocess.Popen([python, "-S", "-c", spin], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()

    finished = await driver.run(driver.call(with_child, sys.executable))
    assert 0.3 <= finished.usage.cpu_s < 0.6


async def test_a_small_task_after_a_large_one_reports_little(driver: ExecutorDriver) -> None:
    def nothing() -> int:
        time.sleep(0.001)  # longer than the tasks whose peak is taken for granted
        return os.getpid()

    small, tiny = driver.call(nothing), driver.call(os.getpid)
    before, large, after, last = await usages(driver, small, driver.call(hold, 300 * MIB), small, tiny)
    peaks = [one.peak_memory_bytes for one in (before, large, after, last)]
    assert all(peak is not None for peak in peaks)
    first, most, then, end = (peak or 0 for peak in peaks)
    assert 300 * MIB <= most < 360 * MIB
    assert first < 60 * MIB
    assert then < first + 20 * MIB
    assert end < first + 20 * MIB


async def test_the_peak_of_a_tree_is_sampled(driver: ExecutorDriver) -> None:
    def family() -> int:
        pid = os.fork()
        if pid == 0:
            block = b"x" * (150 * MIB)
            time.sleep(0.6)
            os._exit(len(block) & 0)
        block = b"y" * (150 * MIB)
        os.waitpid(pid, 0)
        return len(block)

    finished = await driver.run(driver.call(family))
    assert finished.usage.peak_memory_bytes is not None
    assert 295 * MIB <= finished.usage.peak_memory_bytes < 400 * MIB


async def test_a_script_is_charged_with_its_programs(driver: ExecutorDriver) -> None:
    program = "import time; b = b'x' * (120 << 20)\nwhile time.process_time() < 0.3: pass"
    finished = await driver.run(CommandCall(f'{sys.executable} -S -c "{program}"'))
    assert 0.3 <= finished.usage.cpu_s < 0.6
    assert finished.usage.peak_memory_bytes is not None
    assert 120 * MIB <= finished.usage.peak_memory_bytes < 200 * MIB
    small = await driver.run(CommandCall("true"))
    assert small.usage.peak_memory_bytes is not None
    assert small.usage.peak_memory_bytes < 60 * MIB


async def test_a_task_that_is_killed_is_metered_too(driver: ExecutorDriver) -> None:
    def spin() -> None:
        block = b"x" * (100 * MIB)
        while block:
            pass

    first = driver.execution(driver.call(burn, 0.5))
    killed = driver.execution(driver.call(spin), timeout_s=0.3)
    driver.submit(first, killed)
    assert (await driver.finished(first.ticket)).usage.cpu_s >= 0.5
    usage = (await driver.finished(killed.ticket)).usage
    assert 0.02 < usage.cpu_s < 0.45
    assert 0.3 <= usage.wall_s < 5
    assert usage.peak_memory_bytes is not None
    assert 100 * MIB <= usage.peak_memory_bytes < 160 * MIB
