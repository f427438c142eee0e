"""The conformance suite of the executor port: what the fake and every real executor must do alike."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import cloudpickle
import pytest
import pytest_asyncio

from farlane.domain.failures import FailureKind
from farlane.errors import InvalidInput, Unavailable
from farlane.node.executors.port import Finished, Output, Started, Value
from farlane.testing.executor_driver import ExecutorDriver, MakeExecutor, eventually, failure_of, value_of


class ExecutorSuite:
    """Subclass it and give a fixture `make_executor` that returns a `MakeExecutor`."""

    @pytest_asyncio.fixture
    async def driver(self, make_executor: MakeExecutor, tmp_path: Path) -> AsyncIterator[ExecutorDriver]:
        """A started executor."""
        async with ExecutorDriver(make_executor, tmp_path) as driver:
            yield driver

    async def test_a_value_comes_back_after_its_start(self, driver: ExecutorDriver) -> None:
        """Started, then Finished with the pickled value and a usage."""
        execution = driver.execution(driver.call(lambda a, b: a + b, 2, b=3))
        driver.submit(execution)
        finished = await driver.finished(execution.ticket)
        assert value_of(finished) == 5
        assert finished.usage.cpu_s >= 0
        assert finished.usage.wall_s > 0
        assert [type(event) for event in driver.events] == [Started, Finished]

    async def test_arguments_may_lie_in_a_file(self, driver: ExecutorDriver, tmp_path: Path) -> None:
        """A payload path is read instead of a payload."""
        call = driver.call(lambda text: text.upper(), "x")
        file = tmp_path / "payload"
        file.write_bytes(cloudpickle.dumps((("from a file",), {})))
        finished = await driver.run(replace(call, payload=None, payload_path=str(file)))
        assert value_of(finished) == "FROM A FILE"

    async def test_a_coroutine_function_is_awaited(self, driver: ExecutorDriver) -> None:
        """An async function gives what it returns, not a coroutine."""

        async def doubled(number: int) -> int:
            await asyncio.sleep(0)
            return 2 * number

        assert await driver.value(doubled, 21) == 42

    async def test_an_exception_comes_back_with_its_traceback(self, driver: ExecutorDriver) -> None:
        """The exception itself, its text and where it was raised."""

        def broken_thing() -> None:
            raise LookupError("not here")

        failed = failure_of(await driver.run(driver.call(broken_thing)))
        assert failed.kind is FailureKind.EXCEPTION
        assert failed.message == "LookupError: not here"
        assert "in broken_thing" in failed.traceback
        assert "function_run.py" not in failed.traceback
        assert failed.exception is not None
        assert repr(cloudpickle.loads(failed.exception)) == "LookupError('not here')"

    async def test_an_exception_that_cannot_be_opened_again_is_left_out(self, driver: ExecutorDriver) -> None:
        """The text still comes; the pickle would only fail at the publisher."""

        class Odd(Exception):
            def __init__(self, first: int, second: int) -> None:
                super().__init__("odd")

        def raise_odd() -> None:
            raise Odd(1, 2)

        failed = failure_of(await driver.run(driver.call(raise_odd)))
        assert failed.kind is FailureKind.EXCEPTION
        assert failed.exception is None
        assert "Odd: odd" in failed.traceback

    async def test_sys_exit_is_a_failure(self, driver: ExecutorDriver) -> None:
        """A function that exits has no value, whatever the code."""
        failed = failure_of(await driver.run(driver.call(lambda: sys.exit(0))))
        assert failed.kind is FailureKind.WORKER_EXIT
        assert "sys.exit(0)" in failed.message

    async def test_an_unpicklable_value_says_so(self, driver: ExecutorDriver) -> None:
        """The message names the type and what to do."""
        failed = failure_of(await driver.run(driver.call(threading.Lock)))
        assert failed.kind is FailureKind.RESULT_UNPICKLABLE
        assert "lock" in failed.message
        assert "plain data" in failed.message

    async def test_a_corrupted_payload_says_so(self, driver: ExecutorDriver) -> None:
        """Garbage instead of a pickle hurts only its own task."""
        good = driver.call(lambda: 1)
        bad = driver.execution(replace(good, payload=b"\x80\x05garbage"))
        after = driver.execution(good)
        driver.submit(bad, after)
        assert failure_of(await driver.finished(bad.ticket)).kind is FailureKind.BAD_PAYLOAD
        assert value_of(await driver.finished(after.ticket)) == 1

    async def test_a_missing_module_is_named(self, driver: ExecutorDriver, tmp_path: Path) -> None:
        """The message says what to put into requires=[...]."""
        file = tmp_path / "function"
        file.write_bytes(b"cno_such_module_anywhere\nfunction\n.")
        call = replace(driver.call(lambda: 1), function="other", function_path=str(file))
        failed = failure_of(await driver.run(call))
        assert failed.kind is FailureKind.BAD_PAYLOAD
        assert "'no_such_module_anywhere'" in failed.message
        assert "requires" in failed.message

    async def test_a_vanished_function_file_is_not_the_publishers_fault(self, driver: ExecutorDriver) -> None:
        """The node lost it, so the node is to blame."""
        call = replace(driver.call(lambda: 1), function="gone", function_path="/nonexistent/function")
        assert failure_of(await driver.run(call)).kind is FailureKind.LOST

    async def test_a_large_value_lies_in_a_file_until_released(self, driver: ExecutorDriver) -> None:
        """Beyond 64 KiB only a path travels; release lets the file go."""
        execution = driver.execution(driver.call(lambda: b"x" * 200_000))
        driver.submit(execution)
        finished = await driver.finished(execution.ticket)
        assert isinstance(finished.outcome, Value)
        assert finished.outcome.payload is None
        assert finished.outcome.payload_path is not None
        assert value_of(finished) == b"x" * 200_000
        driver.executor.release(execution.ticket)
        path = finished.outcome.payload_path
        await eventually(lambda: not os.path.exists(path))

    async def test_output_comes_before_the_end_on_its_own_stream(self, driver: ExecutorDriver) -> None:
        """Each task's prints are its own, in a bundle too."""

        def talk(name: str) -> None:
            sys.stdout.write(f"out {name}\n")
            sys.stderr.write(f"err {name}\n")

        executions = [driver.execution(driver.call(talk, name)) for name in "ab"]
        driver.submit(*executions)
        for execution, name in zip(executions, "ab", strict=True):
            await driver.finished(execution.ticket)
            assert driver.output(execution.ticket) == f"out {name}\n".encode()
            assert driver.output(execution.ticket, "stderr") == f"err {name}\n".encode()
            kinds = [type(event) for event in driver.events_of(execution.ticket)]
            assert kinds == [Started, Output, Output, Finished]

    async def test_a_bundle_runs_in_order_with_its_own_environment(self, driver: ExecutorDriver) -> None:
        """Index and variables of each task, and nothing of the one before."""

        def look() -> tuple[str | None, str | None]:
            return os.environ.get("FARLANE_TASK_INDEX"), os.environ.get("FLAVOUR")

        call = driver.call(look)
        executions = [
            driver.execution(call, index=7, env=(("FLAVOUR", "sweet"),)),
            driver.execution(call, index=8),
        ]
        driver.submit(*executions)
        assert value_of(await driver.finished(executions[0].ticket)) == ("7", "sweet")
        assert value_of(await driver.finished(executions[1].ticket)) == ("8", None)
        ends = [event.ticket for event in driver.events if isinstance(event, Finished)]
        assert ends == [execution.ticket for execution in executions]

    async def test_a_task_that_has_not_started_can_be_cancelled(self, driver: ExecutorDriver) -> None:
        """Its neighbours in the bundle run all the same, and it has no start."""
        call = driver.call(lambda: "ran")
        executions = [driver.execution(call) for _ in range(3)]
        driver.submit(*executions)
        driver.executor.cancel(executions[1].ticket)
        failed = failure_of(await driver.finished(executions[1].ticket))
        assert failed.kind is FailureKind.CANCELLED
        for execution in (executions[0], executions[2]):
            assert value_of(await driver.finished(execution.ticket)) == "ran"
        assert [type(event) for event in driver.events_of(executions[1].ticket)] == [Finished]

    async def test_unknown_tickets_are_ignored(self, driver: ExecutorDriver) -> None:
        """Cancel and release of what is not here change nothing."""
        driver.executor.cancel(12345)
        driver.executor.release(12345)
        assert await driver.value(lambda: "still here") == "still here"

    async def test_a_missing_environment_says_so(self, driver: ExecutorDriver) -> None:
        """A site path that is not there fails every task of the bundle."""
        execution = driver.execution(driver.call(lambda: 1))
        driver.submit(execution, site_path="/nonexistent/site")
        failed = failure_of(await driver.finished(execution.ticket))
        assert failed.kind is FailureKind.ENVIRONMENT
        assert "/nonexistent/site" in failed.message

    async def test_wrong_bundles_are_refused(self, driver: ExecutorDriver) -> None:
        """No executions, or a ticket twice."""
        execution = driver.execution(driver.call(lambda: 1))
        with pytest.raises(InvalidInput):
            driver.submit()
        with pytest.raises(InvalidInput):
            driver.submit(execution, execution)
        driver.submit(execution)
        with pytest.raises(InvalidInput):
            driver.submit(execution)
        assert value_of(await driver.finished(execution.ticket)) == 1

    async def test_nothing_runs_outside_start_and_close(
        self, make_executor: MakeExecutor, tmp_path: Path
    ) -> None:
        """Before start and after close a bundle is refused; a second close does nothing."""
        driver = ExecutorDriver(make_executor, tmp_path)
        execution = driver.execution(driver.call(lambda: 1))
        with pytest.raises(Unavailable):
            driver.submit(execution)
        async with driver:
            await driver.run(execution.call)
        with pytest.raises(Unavailable):
            driver.submit(execution)
        await driver.executor.close()

    async def test_close_ends_what_is_left_as_cancelled(
        self, make_executor: MakeExecutor, tmp_path: Path
    ) -> None:
        """Every execution gets its one Finished."""
        driver = ExecutorDriver(make_executor, tmp_path)
        async with driver:
            executions = [driver.execution(driver.call(lambda: 1)) for _ in range(3)]
            driver.submit(*executions)
        for execution in executions:
            assert failure_of(await driver.finished(execution.ticket)).kind is FailureKind.CANCELLED
