"""Scripts: inputs, environment, setup, exit codes and outputs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.domain.failures import FailureKind
from farlane.node.executors.port import CommandCall, CommandResult, Finished
from farlane.node.executors.process_executor import ProcessExecutor
from farlane.node.executors.settings import ProcessExecutorSettings
from farlane.testing.executor_driver import ExecutorDriver, eventually, failure_of


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[ExecutorDriver]:
    settings = ProcessExecutorSettings(tmp_path / "scratch", max_result_bytes=1 << 20, max_output_files=20)
    async with ExecutorDriver(lambda on_events: ProcessExecutor(settings, on_events), tmp_path) as driver:
        yield driver


def result_of(finished: Finished) -> CommandResult:
    assert isinstance(finished.outcome, CommandResult), finished.outcome
    return finished.outcome


async def test_files_go_in_and_out(driver: ExecutorDriver, tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_text("b\na\n")
    call = CommandCall(
        "sort data/in.txt > sorted.txt; echo changed >> data/in.txt; mkdir -p deep/er; echo 1 > deep/er/one.log",
        inputs=(("data/in.txt", str(blob)),),
        outputs=("sorted.txt", "deep/**/*.log"),
    )
    finished = await driver.run(call)
    outputs = result_of(finished).outputs
    assert [(output.path, output.size_bytes) for output in outputs] == [
        ("deep/er/one.log", 2),
        ("sorted.txt", 4),
    ]
    assert Path(outputs[1].file).read_text() == "a\nb\n"
    assert blob.read_text() == "b\na\n", "a script works on a copy"
    driver.executor.release(finished.ticket)
    await eventually(lambda: not os.path.exists(outputs[1].file))


async def test_a_script_sees_its_variables_and_an_empty_directory(driver: ExecutorDriver) -> None:
    call = CommandCall(
        'echo "$A $B $FARLANE_TASK_INDEX"; ls -A; [ "$PWD" != "$HOME" ] && [ -d "$TMPDIR" ]',
        env=(("B", "own"),),
    )
    execution = driver.execution(call, env=(("A", "job"), ("B", "job")), index=5)
    driver.submit(execution)
    result_of(await driver.finished(execution.ticket))
    assert driver.output(execution.ticket) == b"job own 5\n"


async def test_the_exit_code_is_told_with_the_output_before_it(driver: ExecutorDriver) -> None:
    finished = await driver.run(CommandCall("echo working; echo broken >&2; exit 42"))
    failed = failure_of(finished)
    assert failed.kind is FailureKind.EXIT_CODE
    assert "exit code 42" in failed.message
    assert driver.output(finished.ticket) == b"working\n"
    assert driver.output(finished.ticket, "stderr") == b"broken\n"


async def test_a_program_killed_inside_the_script_is_named(driver: ExecutorDriver) -> None:
    failed = failure_of(await driver.run(CommandCall("(kill -SEGV $BASHPID); exit $?")))
    assert failed.kind is FailureKind.EXIT_CODE
    assert "139" in failed.message
    assert "SIGSEGV" in failed.message


async def test_a_script_that_kills_itself_is_a_signal(driver: ExecutorDriver) -> None:
    failed = failure_of(await driver.run(CommandCall("kill -TERM $$")))
    assert failed.kind is FailureKind.SIGNAL
    assert "SIGTERM" in failed.message


async def test_setup_runs_first_and_its_failure_is_the_environments(driver: ExecutorDriver) -> None:
    finished = await driver.run(CommandCall("cat made", setup="echo by setup > made"))
    result_of(finished)
    assert driver.output(finished.ticket) == b"by setup\n"
    failed_run = await driver.run(CommandCall("echo never", setup="exit 9"))
    failed = failure_of(failed_run)
    assert failed.kind is FailureKind.ENVIRONMENT
    assert "exit code 9" in failed.message
    assert driver.output(failed_run.ticket) == b""


async def test_a_script_that_hangs_is_killed_with_all_it_started(driver: ExecutorDriver) -> None:
    execution = driver.execution(CommandCall("sleep 600 & echo $!; sleep 600"), timeout_s=0.3)
    driver.submit(execution)
    failed = failure_of(await driver.finished(execution.ticket))
    assert failed.kind is FailureKind.TIMEOUT
    assert not os.path.exists(f"/proc/{int(driver.output(execution.ticket))}")


async def test_a_missing_input_and_a_path_outside_are_told(driver: ExecutorDriver, tmp_path: Path) -> None:
    missing = failure_of(await driver.run(CommandCall("true", inputs=(("a", "/nonexistent/blob"),))))
    assert missing.kind is FailureKind.ENVIRONMENT
    assert "/nonexistent/blob" in missing.message
    blob = tmp_path / "blob"
    blob.touch()
    for path in ("../a", "/a", "a//b", ""):
        outside = failure_of(await driver.run(CommandCall("true", inputs=((path, str(blob)),))))
        assert outside.kind is FailureKind.ENVIRONMENT
        assert "inside the working directory" in outside.message


async def test_outputs_that_cannot_be_handed_in_are_told(driver: ExecutorDriver) -> None:
    missing = failure_of(await driver.run(CommandCall("true", outputs=("nothing.txt",))))
    assert missing.kind is FailureKind.EXIT_CODE
    assert "'nothing.txt' does not exist" in missing.message
    link = failure_of(await driver.run(CommandCall("ln -s /etc/passwd loot", outputs=("loot",))))
    assert link.kind is FailureKind.EXIT_CODE
    assert "not a plain file" in link.message
    large = failure_of(await driver.run(CommandCall("head -c 2000000 /dev/zero > big", outputs=("big",))))
    assert large.kind is FailureKind.RESULT_TOO_LARGE
    many = failure_of(await driver.run(CommandCall("touch $(seq 30)", outputs=("*",))))
    assert many.kind is FailureKind.RESULT_TOO_LARGE


async def test_a_directory_without_rights_is_removed_all_the_same(
    driver: ExecutorDriver, tmp_path: Path
) -> None:
    finished = await driver.run(CommandCall("mkdir -p a/b; touch a/b/c; chmod 0 a/b a"))
    result_of(finished)
    driver.executor.release(finished.ticket)
    [root] = (tmp_path / "scratch").iterdir()
    await eventually(lambda: not (root / f"t{finished.ticket}").exists())
