"""The executor's conformance suite on the fake and on the process executor."""

from pathlib import Path

import pytest

from farlane.node.executors.port import OnEvents
from farlane.node.executors.process_executor import ProcessExecutor
from farlane.node.executors.settings import ProcessExecutorSettings
from farlane.testing.executor_driver import ExecutorDriver, MakeExecutor, value_of
from farlane.testing.executor_suite import ExecutorSuite
from farlane.testing.fake_executor import FakeExecutor


class TestFakeExecutor(ExecutorSuite):
    @pytest.fixture
    def make_executor(self, tmp_path: Path) -> MakeExecutor:
        return lambda on_events: FakeExecutor(on_events, tmp_path)


class TestProcessExecutor(ExecutorSuite):
    @pytest.fixture
    def make_executor(self, tmp_path: Path) -> MakeExecutor:
        return lambda on_events: ProcessExecutor(ProcessExecutorSettings(tmp_path / "scratch"), on_events)


async def test_a_paused_fake_runs_one_at_a_time_when_told(tmp_path: Path) -> None:
    def make(on_events: OnEvents) -> FakeExecutor:
        return FakeExecutor(on_events, tmp_path, paused=True)

    async with ExecutorDriver(make, tmp_path) as driver:
        fake = driver.executor
        assert isinstance(fake, FakeExecutor)
        executions = [driver.execution(driver.call(lambda: 1)) for _ in range(2)]
        driver.submit(*executions)
        assert driver.events == []
        assert fake.step()
        assert value_of(await driver.finished(executions[0].ticket)) == 1
        assert driver.events_of(executions[1].ticket) == []
        assert fake.step()
        assert not fake.step()
