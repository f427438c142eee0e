"""Result files are trusted only as far as they are what a worker may have written."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from farlane.domain.failures import FailureKind
from farlane.node.executors import frames, verdict
from farlane.node.executors.conclusion import Conclusion
from farlane.node.executors.port import CommandCall, Execution, Failed, FunctionCall, Outcome, Value
from farlane.node.executors.scratch import Scratch
from farlane.node.executors.settings import ProcessExecutorSettings

FUNCTION = Execution(7, FunctionCall("cid", "path", b""), 1.0)


def result(kind: str, payload: bytes = b"") -> frames.Result:
    return frames.Result(1, kind, payload, "what it said", "", 1, 2, 3, 4)


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path)


async def conclude(scratch: Scratch, execution: Execution, one: frames.Result) -> Outcome:
    settings = ProcessExecutorSettings(Path(scratch.root), max_result_bytes=100)
    done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    with ThreadPoolExecutor(1) as threads:
        Conclusion(settings, scratch, threads).of(execution, one, done.set_result)
        return await done


async def test_a_result_file_is_handed_on_by_path(scratch: Scratch) -> None:
    path = Path(scratch.result_of(scratch.of_task(7)))
    path.write_bytes(b"x" * 100)
    assert await conclude(scratch, FUNCTION, result(frames.VALUE_FILE)) == Value(None, str(path))
    scratch.remove_task(7)
    assert not path.exists()


async def test_a_result_file_that_was_exchanged_grown_or_removed_is_refused(scratch: Scratch) -> None:
    path = Path(scratch.result_of(scratch.of_task(7)))
    gone = await conclude(scratch, FUNCTION, result(frames.VALUE_FILE))
    path.symlink_to("/etc/passwd")
    link = await conclude(scratch, FUNCTION, result(frames.VALUE_FILE))
    path.unlink()
    path.write_bytes(b"x" * 101)
    grown = await conclude(scratch, FUNCTION, result(frames.VALUE_FILE))
    kinds = [one.kind for one in (gone, link, grown) if isinstance(one, Failed)]
    assert kinds == [FailureKind.DISK, FailureKind.DISK, FailureKind.RESULT_TOO_LARGE]


@pytest.mark.parametrize("kind", ["timeout", "node-lost", "blob", "nonsense", frames.COMMAND_DONE])
async def test_a_worker_cannot_report_what_only_the_node_decides(scratch: Scratch, kind: str) -> None:
    outcome = await conclude(scratch, FUNCTION, result(kind))
    assert isinstance(outcome, Failed)
    assert outcome.kind is FailureKind.LOST


async def test_outputs_that_vanish_are_told(scratch: Scratch) -> None:
    execution = Execution(8, CommandCall("true", outputs=("x",)), 1.0)
    outcome = await conclude(scratch, execution, result(frames.COMMAND_DONE))
    assert isinstance(outcome, Failed)
    assert outcome.kind is FailureKind.EXIT_CODE


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (-1, FailureKind.LOST, "fork failed"),
        (0, FailureKind.WORKER_EXIT, "exit code 0"),
        (3 << 8, FailureKind.WORKER_EXIT, "exit code 3"),
        (11, FailureKind.SIGNAL, "SIGSEGV"),
        (6, FailureKind.SIGNAL, "SIGABRT"),
        (50, FailureKind.SIGNAL, "signal 50"),
    ],
)
def test_the_end_of_a_process_is_put_into_words(status: int, kind: FailureKind, text: str) -> None:
    failed = verdict.exited(frames.Exited(1, status, 0.0, 0, "fork failed"))
    assert failed.kind is kind
    assert text in failed.message
