"""What a task may do wrong, each with its own ending, and none with an effect on its neighbours."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.domain.failures import FailureKind
from farlane.node.executors.port import Finished, Started
from farlane.node.executors.process_executor import ProcessExecutor
from farlane.node.executors.settings import ProcessExecutorSettings
from farlane.testing.executor_driver import ExecutorDriver, failure_of, value_of


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[ExecutorDriver]:
    settings = ProcessExecutorSettings(tmp_path / "scratch", max_result_bytes=1 << 20)
    async with ExecutorDriver(lambda on_events: ProcessExecutor(settings, on_events), tmp_path) as driver:
        yield driver


async def test_os_exit_is_a_worker_exit_with_its_code(driver: ExecutorDriver) -> None:
    failed = failure_of(await driver.run(driver.call(lambda: os._exit(7))))
    assert failed.kind is FailureKind.WORKER_EXIT
    assert "exit code 7" in failed.message


async def test_a_segfault_is_a_signal_and_leaves_a_trace_in_stderr(driver: ExecutorDriver) -> None:
    execution = driver.execution(driver.call(lambda: ctypes.string_at(0)))
    driver.submit(execution)
    failed = failure_of(await driver.finished(execution.ticket))
    assert failed.kind is FailureKind.SIGNAL
    assert "SIGSEGV" in failed.message
    assert b"Segmentation fault" in driver.output(execution.ticket, "stderr")


async def test_a_kill_from_outside_names_the_likely_reason(driver: ExecutorDriver) -> None:
    failed = failure_of(await driver.run(driver.call(lambda: os.kill(os.getpid(), signal.SIGKILL))))
    assert failed.kind is FailureKind.SIGNAL
    assert "ran out of memory" in failed.message


async def test_an_infinite_loop_meets_its_timeout(driver: ExecutorDriver) -> None:
    def spin() -> None:
        print("spinning")
        while True:
            pass

    execution = driver.execution(driver.call(spin), timeout_s=0.3)
    driver.submit(execution)
    finished = await driver.finished(execution.ticket)
    failed = failure_of(finished)
    assert failed.kind is FailureKind.TIMEOUT
    assert "300 ms" in failed.message
    assert 0.3 <= finished.usage.wall_s < 10
    assert finished.usage.cpu_s > 0.05
    assert driver.output(execution.ticket) == b"spinning\n"


async def test_a_timeout_counts_from_the_tasks_own_start(driver: ExecutorDriver) -> None:
    executions = [driver.execution(driver.call(time.sleep, 0.3), timeout_s=2.0) for _ in range(4)]
    slow = driver.execution(driver.call(time.sleep, 60), timeout_s=0.4)
    driver.submit(*executions, slow)
    for execution in executions:
        assert value_of(await driver.finished(execution.ticket)) is None
    assert failure_of(await driver.finished(slow.ticket)).kind is FailureKind.TIMEOUT


async def test_a_blocked_signal_does_not_save_a_task(driver: ExecutorDriver) -> None:
    def stubborn() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            time.sleep(1)

    failed = failure_of(await driver.run(driver.call(stubborn), timeout_s=0.2))
    assert failed.kind is FailureKind.TIMEOUT


async def test_a_crash_in_a_bundle_blames_only_the_task_that_ran(
    driver: ExecutorDriver, tmp_path: Path
) -> None:
    log = tmp_path / "runs"

    def mark(name: str) -> str:
        with open(log, "a") as stream:
            stream.write(name)
        return name

    def crash() -> None:
        with open(log, "a") as stream:
            stream.write("!")
        os.kill(os.getpid(), signal.SIGSEGV)

    first = [driver.execution(driver.call(mark, name)) for name in "abc"]
    bad = driver.execution(driver.call(crash))
    last = [driver.execution(driver.call(mark, name)) for name in "xyz"]
    driver.submit(*first, bad, *last)
    assert failure_of(await driver.finished(bad.ticket)).kind is FailureKind.SIGNAL
    for execution, name in zip([*first, *last], "abcxyz", strict=True):
        assert value_of(await driver.finished(execution.ticket)) == name
    # Finished results are taken from the dead worker's memory, so not even those ran a second time.
    assert log.read_text() == "abc!xyz"
    starts = [event.ticket for event in driver.events if isinstance(event, Started)]
    assert sorted(starts) == sorted({execution.ticket for execution in [*first, bad, *last]})


async def test_every_task_of_a_bundle_may_crash(driver: ExecutorDriver) -> None:
    executions = [driver.execution(driver.call(lambda: os._exit(1))) for _ in range(6)]
    driver.submit(*executions)
    for execution in executions:
        assert failure_of(await driver.finished(execution.ticket)).kind is FailureKind.WORKER_EXIT


async def test_short_results_do_not_wait_for_the_long_task_behind_them(driver: ExecutorDriver) -> None:
    short = driver.execution(driver.call(lambda: "quick"))
    long = driver.execution(driver.call(time.sleep, 60), timeout_s=60)
    driver.submit(short, long)
    assert value_of(await driver.finished(short.ticket)) == "quick"
    driver.executor.cancel(long.ticket)
    assert failure_of(await driver.finished(long.ticket)).kind is FailureKind.CANCELLED


async def test_cancel_kills_what_runs_and_spares_the_rest(driver: ExecutorDriver) -> None:
    running = driver.execution(driver.call(time.sleep, 60), timeout_s=60)
    waiting = [driver.execution(driver.call(lambda: "ran")) for _ in range(2)]
    driver.submit(running, *waiting)
    await driver.until(lambda: any(isinstance(event, Started) for event in driver.events))
    driver.executor.cancel(waiting[0].ticket)
    driver.executor.cancel(running.ticket)
    driver.executor.cancel(running.ticket)
    assert failure_of(await driver.finished(running.ticket)).kind is FailureKind.CANCELLED
    assert failure_of(await driver.finished(waiting[0].ticket)).kind is FailureKind.CANCELLED
    assert value_of(await driver.finished(waiting[1].ticket)) == "ran"
    assert [type(event) for event in driver.events_of(waiting[0].ticket)] == [Finished]


async def test_a_result_beyond_its_cap_is_refused(driver: ExecutorDriver) -> None:
    failed = failure_of(await driver.run(driver.call(lambda: b"x" * (1 << 21))))
    assert failed.kind is FailureKind.RESULT_TOO_LARGE
    assert str(1 << 20) in failed.message


async def test_a_planted_link_in_place_of_the_result_file_is_not_followed(
    driver: ExecutorDriver, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"keep out")

    def plant(secret: str) -> bytes:
        root = os.path.dirname(os.path.dirname(os.getcwd()))
        for ticket in range(1, 50):
            os.symlink(secret, f"{root}/t{ticket}.result")
        return b"x" * 100_000

    failed = failure_of(await driver.run(driver.call(plant, str(secret))))
    assert failed.kind is FailureKind.DISK
    assert secret.read_bytes() == b"keep out"


async def test_a_huge_exception_is_cut(driver: ExecutorDriver) -> None:
    def shout() -> None:
        raise ValueError("x" * 10_000_000)

    failed = failure_of(await driver.run(driver.call(shout)))
    assert failed.kind is FailureKind.EXCEPTION
    assert len(failed.message) <= 4000
    assert len(failed.traceback) < 40_000
    assert failed.exception is None


async def test_an_exception_whose_text_cannot_be_read_is_still_reported(driver: ExecutorDriver) -> None:
    class Nasty(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text for you")

    def fail() -> None:
        raise Nasty

    failed = failure_of(await driver.run(driver.call(fail)))
    assert failed.kind is FailureKind.EXCEPTION
    assert "Nasty" in failed.message


async def test_a_fork_that_returns_from_the_function_reports_once(driver: ExecutorDriver) -> None:
    def fork() -> str:
        pid = os.fork()
        if pid == 0:
            return "child"
        os.waitpid(pid, 0)
        return "parent"

    after = driver.execution(driver.call(lambda: "after"))
    first = driver.execution(driver.call(fork))
    driver.submit(first, after)
    assert value_of(await driver.finished(first.ticket)) == "parent"
    assert value_of(await driver.finished(after.ticket)) == "after"


async def test_what_a_task_does_to_its_streams_ends_with_it(driver: ExecutorDriver) -> None:
    def vandal() -> None:
        sys.stdout.close()
        os.close(2)
        os.chdir("/")
        sys.stderr = None  # type: ignore[assignment]

    def talk() -> str:
        print("still heard")
        return os.getcwd()

    await driver.run(driver.call(vandal))
    execution = driver.execution(driver.call(talk))
    driver.submit(execution)
    assert value_of(await driver.finished(execution.ticket)) != "/"
    assert driver.output(execution.ticket) == b"still heard\n"


async def test_a_task_that_removes_its_own_directory_harms_nobody(driver: ExecutorDriver) -> None:
    await driver.run(driver.call(lambda: os.rmdir(os.getcwd())))
    assert os.path.isdir(await driver.value(os.getcwd))


async def test_garbage_on_the_workers_channel_is_the_tasks_fault(driver: ExecutorDriver) -> None:
    def garble() -> None:
        os.write(3, b"\xff" * 100)
        time.sleep(60)

    failed = failure_of(await driver.run(driver.call(garble)))
    assert failed.kind is FailureKind.WORKER_EXIT
    assert "disturbed its worker" in failed.message


async def test_a_lie_about_its_start_does_not_stretch_the_timeout(driver: ExecutorDriver) -> None:
    def lie() -> None:
        import gc

        from farlane.node.executors.progress import Progress

        progress = next(found for found in gc.get_objects() if isinstance(found, Progress))
        progress.begin(1, time.monotonic_ns() + 10**15, 0)
        time.sleep(60)

    failed = failure_of(await driver.run(driver.call(lie), timeout_s=0.3))
    assert failed.kind is FailureKind.TIMEOUT
