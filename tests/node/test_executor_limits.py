"""Memory, disk and descriptor limits: whoever passes one is stopped with a message that says what to do."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.domain.failures import FailureKind
from farlane.node.executors.port import CommandCall
from farlane.node.executors.process_executor import ProcessExecutor
from farlane.node.executors.settings import ProcessExecutorSettings
from farlane.testing.executor_driver import ExecutorDriver, failure_of, value_of

MIB = 1 << 20


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[ExecutorDriver]:
    settings = ProcessExecutorSettings(tmp_path / "scratch", memory_headroom_bytes=128 * MIB)
    async with ExecutorDriver(lambda on_events: ProcessExecutor(settings, on_events), tmp_path) as driver:
        yield driver


async def test_one_huge_allocation_fails_at_once(driver: ExecutorDriver) -> None:
    finished = await driver.run(driver.call(lambda: bytearray(8 << 30)), memory_bytes=100 * MIB)
    failed = failure_of(finished)
    assert failed.kind is FailureKind.MEMORY
    assert "limit 100 MiB" in failed.message
    assert "memory=" in failed.message
    assert "MemoryError" in failed.traceback
    assert finished.usage.peak_memory_bytes is not None
    assert finished.usage.peak_memory_bytes < 100 * MIB


async def test_memory_that_grows_is_stopped_at_the_limit(driver: ExecutorDriver) -> None:
    def grow() -> None:
        kept = []
        while True:
            kept.append(b"x" * (2 * MIB))
            time.sleep(0.005)

    finished = await driver.run(driver.call(grow), memory_bytes=100 * MIB)
    failed = failure_of(finished)
    assert failed.kind is FailureKind.MEMORY
    assert "limit 100 MiB, peak 1" in failed.message
    assert finished.usage.peak_memory_bytes is not None
    assert 100 * MIB < finished.usage.peak_memory_bytes < 400 * MIB


async def test_the_memory_of_children_counts(driver: ExecutorDriver) -> None:
    def breed() -> None:
        pid = os.fork()
        if pid == 0:
            kept = []
            while len(kept) < 2000:
                kept.append(b"x" * MIB)
                time.sleep(0.002)
            os._exit(0)
        os.waitpid(pid, 0)

    failed = failure_of(await driver.run(driver.call(breed), memory_bytes=100 * MIB))
    assert failed.kind is FailureKind.MEMORY


async def test_memory_shared_with_children_counts_once(driver: ExecutorDriver) -> None:
    def share() -> str:
        block = b"x" * (60 * MIB)
        pids = []
        for _ in range(4):
            pid = os.fork()
            if pid == 0:
                time.sleep(0.5)
                os._exit(0)
            pids.append(pid)
        for pid in pids:
            os.waitpid(pid, 0)
        return f"{len(block)}"

    finished = await driver.run(driver.call(share), memory_bytes=150 * MIB)
    assert value_of(finished) == str(60 * MIB)


async def test_after_a_memory_error_the_next_task_is_well(driver: ExecutorDriver) -> None:
    eater = driver.execution(driver.call(lambda: bytearray(8 << 30)), memory_bytes=64 * MIB)
    modest = driver.execution(driver.call(lambda: len(bytearray(300 * MIB))), memory_bytes=600 * MIB)
    driver.submit(eater, modest)
    assert failure_of(await driver.finished(eater.ticket)).kind is FailureKind.MEMORY
    assert value_of(await driver.finished(modest.ticket)) == 300 * MIB


async def test_a_script_that_eats_memory_is_stopped(driver: ExecutorDriver) -> None:
    script = "x=$(head -c 40000000 /dev/zero | tr '\\0' x); y=$x$x; z=$y$y; sleep 30; echo ${#z}"
    failed = failure_of(await driver.run(CommandCall(script), memory_bytes=60 * MIB))
    assert failed.kind is FailureKind.MEMORY


async def test_one_file_beyond_the_limit_is_refused(driver: ExecutorDriver) -> None:
    def fill() -> None:
        with open("big", "wb") as stream:
            stream.write(b"x" * (3 * MIB))

    failed = failure_of(await driver.run(driver.call(fill), disk_bytes=2 * MIB))
    assert failed.kind is FailureKind.DISK
    assert "disk limit" in failed.message


async def test_many_files_beyond_the_limit_are_noticed(driver: ExecutorDriver) -> None:
    def fill() -> None:
        for number in range(10_000):
            with open(os.path.join(tempfile.gettempdir(), str(number)), "wb") as stream:
                stream.write(b"x" * MIB)
            time.sleep(0.02)

    failed = failure_of(await driver.run(driver.call(fill), disk_bytes=4 * MIB))
    assert failed.kind is FailureKind.DISK
    assert "the limit is 4 MiB" in failed.message


async def test_a_script_that_fills_the_disk_is_told_so(driver: ExecutorDriver) -> None:
    one = failure_of(await driver.run(CommandCall("head -c 3000000 /dev/zero > big"), disk_bytes=2 * MIB))
    assert one.kind is FailureKind.DISK
    script = "for i in 1 2 3 4; do head -c 1000000 /dev/zero > f$i; done"
    many = failure_of(await driver.run(CommandCall(script), disk_bytes=2 * MIB))
    assert many.kind is FailureKind.DISK


async def test_a_result_may_be_larger_than_what_is_left_on_disk_only_by_name(driver: ExecutorDriver) -> None:
    failed = failure_of(await driver.run(driver.call(lambda: b"x" * (3 * MIB)), disk_bytes=MIB))
    assert failed.kind is FailureKind.DISK


async def test_there_are_no_core_files_and_few_descriptors(driver: ExecutorDriver) -> None:
    core, (soft, hard) = await driver.value(
        lambda: (resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_NOFILE))
    )
    assert core == (0, 0)
    assert soft <= 4096
    assert hard <= 65536


async def test_limits_of_one_task_are_not_those_of_the_next(driver: ExecutorDriver) -> None:
    def limits() -> tuple[int, int]:
        return resource.getrlimit(resource.RLIMIT_DATA)[0], resource.getrlimit(resource.RLIMIT_FSIZE)[0]

    call = driver.call(limits)
    tight = driver.execution(call, memory_bytes=100 * MIB, disk_bytes=5 * MIB)
    free = driver.execution(call)
    driver.submit(tight, free)
    data, size = value_of(await driver.finished(tight.ticket))
    assert 228 * MIB <= data < 400 * MIB
    assert size == 5 * MIB
    assert value_of(await driver.finished(free.ticket)) == (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
