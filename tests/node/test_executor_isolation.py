"""What a worker sees and shares, and that nothing of it is left when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from farlane.domain.failures import FailureKind
from farlane.errors import Unavailable
from farlane.node.executors.port import CommandCall, Started
from farlane.node.executors.process_executor import ProcessExecutor
from farlane.node.executors.settings import ProcessExecutorSettings
from farlane.testing.executor_driver import ExecutorDriver, eventually, failure_of, value_of


def executor(tmp_path: Path, **changes: object) -> ExecutorDriver:
    settings = ProcessExecutorSettings(tmp_path / "scratch", **changes)  # type: ignore[arg-type]
    return ExecutorDriver(lambda on_events: ProcessExecutor(settings, on_events), tmp_path)


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[ExecutorDriver]:
    async with executor(tmp_path) as driver:
        yield driver


def marked(tmp_path: Path) -> list[psutil.Process]:
    """Return the living processes that belong to executors of this test."""
    found = []
    for process in psutil.process_iter():
        try:
            mark = process.environ().get("FARLANE_EXECUTOR", "")
        except psutil.Error:
            continue
        if mark.startswith(str(tmp_path)) and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


async def until_gone(pid: int) -> None:
    await eventually(lambda: not psutil.pid_exists(pid))


def daemonise() -> int:
    """Leave a process behind that is in a session of its own, with an unknown parent; returns its pid."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(writing, b"%d\n" % os.getpid())
            os.closerange(0, 100)
            time.sleep(600)
        os._exit(0)
    return int(os.read(reading, 100))


async def test_the_environment_is_not_the_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARLANE_TOKEN", "secret")

    def look() -> tuple[dict[str, str], bytes]:
        with open("/proc/self/environ", "rb") as stream:
            return dict(os.environ), stream.read()

    async with executor(tmp_path) as driver:
        execution = driver.execution(driver.call(look), env=(("MINE", "yes"),))
        driver.submit(execution, gpus=(1, 3))
        environment, at_start = value_of(await driver.finished(execution.ticket))
        allowed = set(ProcessExecutorSettings(tmp_path).pass_environment)
        own = {
            "HOME",
            "TMPDIR",
            "CUDA_VISIBLE_DEVICES",
            "CUDA_DEVICE_ORDER",
            "FARLANE_TASK_INDEX",
            "FARLANE_EXECUTOR",
            "MINE",
        }
        assert set(environment) <= allowed | own
        assert environment["CUDA_VISIBLE_DEVICES"] == "1,3"
        assert environment["HOME"].startswith(str(tmp_path))
        assert b"secret" not in at_start
        script = await driver.run(CommandCall("env; exit 3"))
        assert failure_of(script).kind is FailureKind.EXIT_CODE
        assert b"secret" not in driver.output(script.ticket)


async def test_a_worker_has_only_its_own_descriptors(driver: ExecutorDriver) -> None:
    def descriptors() -> list[str]:
        found = []
        for number in sorted(map(int, os.listdir("/proc/self/fd"))):
            try:
                found.append(os.readlink(f"/proc/self/fd/{number}").partition(":")[0])
            except OSError:
                continue  # the one that listed the directory
        return found

    found = await driver.value(descriptors)
    assert found[:3] == ["/dev/null", "pipe", "pipe"]
    assert found.count("socket") == 1
    own = {"/dev/null", "pipe", "socket", "/memfd"}
    assert all(one in own or one.endswith(("/work", "/clear_refs")) for one in found), found
    inherited = await driver.run(CommandCall("ls /proc/self/fd | wc -l"))
    assert int(driver.output(inherited.ticket)) <= 5


async def test_a_worker_cannot_shrink_the_memory_it_shares_with_the_node(driver: ExecutorDriver) -> None:
    def shrink() -> int:
        refused = 0
        for number in map(int, os.listdir("/proc/self/fd")):
            try:
                if "farlane-progress" in os.readlink(f"/proc/self/fd/{number}"):
                    os.ftruncate(number, 0)
            except PermissionError:
                refused += 1
            except OSError:
                continue
        return refused

    assert await driver.value(shrink) == 1


async def test_a_worker_is_in_a_session_of_its_own_and_loads_no_grpc(driver: ExecutorDriver) -> None:
    def look() -> tuple[bool, list[str]]:
        return os.getsid(0) == os.getpid(), sorted({"grpc", "asyncio", "google.protobuf"} & set(sys.modules))

    assert await driver.value(look) == (True, [])


async def test_the_same_publisher_gets_its_warm_worker_and_nobody_else_does(driver: ExecutorDriver) -> None:
    call = driver.call(os.getpid)

    async def pid(publisher: str, gpus: tuple[int, ...] = ()) -> int:
        execution = driver.execution(call)
        driver.submit(execution, publisher=publisher, gpus=gpus)
        return int(value_of(await driver.finished(execution.ticket)))

    mine = await pid("me")
    assert await pid("me") == mine
    assert await pid("you") != mine
    assert await pid("me", gpus=(0,)) != mine
    assert await pid("me") == mine


async def test_site_packages_come_first_and_only_for_their_environment(
    driver: ExecutorDriver, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "colorsys.py").write_text("FLAVOUR = 'from the environment'")

    def flavour() -> str | None:
        import colorsys

        return getattr(colorsys, "FLAVOUR", None)

    execution = driver.execution(driver.call(flavour))
    script = driver.execution(CommandCall("python -c 'import colorsys; print(colorsys.FLAVOUR)'"))
    driver.submit(execution, script, site_path=str(site))
    assert value_of(await driver.finished(execution.ticket)) == "from the environment"
    await driver.finished(script.ticket)
    assert driver.output(script.ticket) == b"from the environment\n"
    assert await driver.value(flavour) is None


async def test_surplus_idle_workers_go_the_oldest_first(tmp_path: Path) -> None:
    async with executor(tmp_path, max_idle_workers=2) as driver:
        call = driver.call(os.getpid)
        pids = []
        for publisher in "abc":
            execution = driver.execution(call)
            driver.submit(execution, publisher=publisher)
            pids.append(value_of(await driver.finished(execution.ticket)))
        await until_gone(pids[0])
        assert psutil.pid_exists(pids[1])
        assert psutil.pid_exists(pids[2])


async def test_idle_workers_go_after_a_while(tmp_path: Path) -> None:
    async with executor(tmp_path, idle_timeout_s=0.05) as driver:
        await until_gone(await driver.value(os.getpid))


async def test_a_worker_retires_after_its_number_of_tasks(tmp_path: Path) -> None:
    async with executor(tmp_path, max_tasks_per_worker=2) as driver:
        pids = [await driver.value(os.getpid) for _ in range(4)]
        assert pids[0] == pids[1]
        assert pids[1] != pids[2] == pids[3]


async def test_no_more_bundles_run_at_once_than_allowed(tmp_path: Path) -> None:
    async with executor(tmp_path, max_busy_workers=1) as driver:
        call = driver.call(time.sleep, 0.05)
        executions = [driver.execution(call) for _ in range(3)]
        for number, execution in enumerate(executions):
            driver.submit(execution, publisher=str(number))
        for execution in executions:
            await driver.finished(execution.ticket)
        kinds = [type(event).__name__ for event in driver.events]
        assert kinds == ["Started", "Finished"] * 3


async def test_a_daemonised_child_ends_with_its_task(driver: ExecutorDriver) -> None:
    worker, pid = await driver.value(lambda: (os.getpid(), daemonise()))
    await until_gone(pid)
    assert await driver.value(os.getpid) != worker, "a function that leaves processes ends its worker"


async def test_the_rest_of_a_bundle_runs_on_when_each_task_leaves_a_child(driver: ExecutorDriver) -> None:
    call = driver.call(daemonise)
    executions = [driver.execution(call) for _ in range(5)]
    driver.submit(*executions)
    for execution in executions:
        await until_gone(value_of(await driver.finished(execution.ticket)))


async def test_a_daemonised_child_does_not_survive_the_kill_of_its_worker(
    driver: ExecutorDriver, tmp_path: Path
) -> None:
    def leave_and_hang(file: str) -> None:
        with open(file, "w") as stream:
            stream.write(str(daemonise()))
        os.rename(file, file + ".done")
        time.sleep(600)

    file = tmp_path / "pid"
    execution = driver.execution(driver.call(leave_and_hang, str(file)), timeout_s=600)
    driver.submit(execution)
    done = tmp_path / "pid.done"
    await eventually(done.exists)
    driver.executor.cancel(execution.ticket)
    assert failure_of(await driver.finished(execution.ticket)).kind is FailureKind.CANCELLED
    assert not psutil.pid_exists(int(done.read_text())), "it must be gone before the end is reported"


async def test_a_script_leaves_no_process_and_the_worker_stays(driver: ExecutorDriver) -> None:
    script = (
        "setsid nohup sleep 600 > /dev/null 2>&1 & echo $!; cat /proc/self/status | grep PPid > /dev/null"
    )
    execution = driver.execution(CommandCall(script))
    look = driver.execution(driver.call(os.getpid))
    driver.submit(execution, look)
    await driver.finished(execution.ticket)
    pid = int(driver.output(execution.ticket))
    worker = value_of(await driver.finished(look.ticket))
    assert not psutil.pid_exists(pid)
    assert await driver.value(os.getpid) == worker


async def test_close_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    async with executor(tmp_path) as driver:
        await driver.value(daemonise)
        hanging = [driver.execution(driver.call(time.sleep, 600), timeout_s=600) for _ in range(3)]
        for number, execution in enumerate(hanging):
            driver.submit(execution, publisher=str(number))
        script = driver.execution(CommandCall("setsid sleep 600 & sleep 600"), timeout_s=600)
        driver.submit(script)
        await driver.until(lambda: sum(isinstance(event, Started) for event in driver.events) == 5)
        assert len(marked(tmp_path)) >= 5
    assert marked(tmp_path) == []
    assert os.listdir(tmp_path / "scratch") == []


async def test_when_the_zygote_is_killed_what_ran_is_lost_and_the_rest_goes_on(
    driver: ExecutorDriver, tmp_path: Path
) -> None:
    def murder() -> None:
        daemonise()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)

    bad = driver.execution(driver.call(murder))
    rest = driver.execution(driver.call(lambda: "ran"))
    driver.submit(bad, rest)
    assert failure_of(await driver.finished(bad.ticket)).kind is FailureKind.LOST
    assert value_of(await driver.finished(rest.ticket)) == "ran"
    # The new zygote and its worker, no orphan of the old one.
    await eventually(lambda: len(marked(tmp_path)) <= 2)


async def test_workers_die_with_the_node(tmp_path: Path) -> None:
    program = f"""
import asyncio, os, signal, time
from pathlib import Path
from farlane.node.executors.port import *
from farlane.node.executors.process_executor import ProcessExecutor
from farlane.node.executors.settings import ProcessExecutorSettings

async def main():
    executor = ProcessExecutor(ProcessExecutorSettings(Path({str(tmp_path)!r})), lambda events: None)
    await executor.start()
    call = CommandCall("setsid sleep 600 & touch {tmp_path}/running; sleep 600")
    executor.submit(Bundle(PoolKey("p"), None, (), (Execution(1, call, 600.0),)))
    while not os.path.exists("{tmp_path}/running"):
        await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env=environment, stderr=subprocess.DEVNULL
    )
    async with asyncio.timeout(30):
        assert await process.wait() == -signal.SIGKILL
    await eventually(lambda: not marked(tmp_path))


async def test_an_interpreter_that_does_not_come_up_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="true"):
        async with executor(tmp_path, python="/bin/true"):
            pass
    with pytest.raises(Unavailable, match="/nonexistent/python"):
        async with executor(tmp_path, python="/nonexistent/python"):
            pass
    assert marked(tmp_path) == []
