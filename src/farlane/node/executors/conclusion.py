"""From a worker's result to the outcome its owner sees: result files checked, output files collected in a thread."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path

from farlane.domain.failures import FailureKind
from farlane.errors import FarlaneError, TooLarge
from farlane.kit.files import open_regular
from farlane.node.executors import frames, verdict
from farlane.node.executors.command_run import WORK
from farlane.node.executors.output_files import collect_outputs
from farlane.node.executors.port import CommandCall, CommandResult, Execution, Failed, Outcome, Value
from farlane.node.executors.scratch import Scratch
from farlane.node.executors.settings import ProcessExecutorSettings
from farlane.node.executors.watch import directory_bytes

_COLLECTED = "collected"


class Conclusion:
    """Turns results into outcomes; values that travel in the result need none of it.

    Args:
        settings: caps.
        scratch: where the files lie.
        threads: where slow file work is done.
    """

    def __init__(self, settings: ProcessExecutorSettings, scratch: Scratch, threads: Executor) -> None:
        self._settings = settings
        self._scratch = scratch
        self._threads = threads
        self._loop = asyncio.get_running_loop()

    def of(self, execution: Execution, result: frames.Result, then: Callable[[Outcome], None]) -> None:
        """Call `then` with the outcome: at once, or on the loop when the output files are collected."""
        if result.kind == frames.VALUE_FILE:
            then(self._stored_value(execution))
        elif result.kind == frames.COMMAND_DONE and isinstance(execution.call, CommandCall):
            work = partial(self._command_outcome, execution, execution.call.outputs)
            self._loop.run_in_executor(self._threads, work).add_done_callback(
                lambda done: then(_outcome_of(done))
            )
        else:
            then(verdict.reported(result, execution))

    def _stored_value(self, execution: Execution) -> Outcome:
        path = Path(self._scratch.result_of(self._scratch.of_task(execution.ticket)))
        try:
            descriptor = open_regular(path)
        except (OSError, FarlaneError) as error:
            return Failed(FailureKind.DISK, f"the result's file is gone or was exchanged: {error}")
        size = os.fstat(descriptor).st_size
        os.close(descriptor)
        if size > self._settings.max_result_bytes:
            return Failed(FailureKind.RESULT_TOO_LARGE, f"the result's file grew to {size} bytes")
        return Value(None, str(path))

    def _command_outcome(self, execution: Execution, outputs: tuple[str, ...]) -> Outcome:
        task = self._scratch.of_task(execution.ticket)
        if execution.disk_bytes:
            used = directory_bytes(task, execution.disk_bytes)
            if used > execution.disk_bytes:
                return verdict.disk(execution, used)
        if not outputs:
            return CommandResult(0)
        try:
            files = collect_outputs(
                os.path.join(task, WORK),
                outputs,
                os.path.join(task, _COLLECTED),
                max_file_bytes=self._settings.max_result_bytes,
                max_files=self._settings.max_output_files,
            )
        except TooLarge as error:
            return Failed(FailureKind.RESULT_TOO_LARGE, error.message)
        except (FarlaneError, OSError) as error:
            return Failed(FailureKind.EXIT_CODE, f"the script ended with exit code 0, but {error}")
        return CommandResult(0, files)


def _outcome_of(done: asyncio.Future[Outcome] | Future[Outcome]) -> Outcome:
    error = done.exception()
    return done.result() if error is None else verdict.lost(f"its outputs could not be collected: {error!r}")
