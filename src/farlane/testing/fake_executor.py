"""The fake executor: runs functions in this process, one per turn of the loop; for tests of what is above it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from farlane.domain.failures import FailureKind
from farlane.errors import InvalidInput, Unavailable
from farlane.node.executors.frames import VALUE, VALUE_FILE, FunctionItem, Result
from farlane.node.executors.function_run import FunctionRunner
from farlane.node.executors.port import (
    Bundle,
    CommandCall,
    CommandResult,
    Event,
    Execution,
    Failed,
    Finished,
    FunctionCall,
    OnEvents,
    Outcome,
    Output,
    Started,
    Usage,
    Value,
)
from farlane.node.executors.verdict import cancelled, reported

_MAX_RESULT_BYTES = 1 << 30


def _succeed(call: CommandCall) -> Outcome:
    return CommandResult(0)


class FakeExecutor:
    """Implements the `Executor` port without processes, isolation, limits or watchdog.

    Functions block the loop while they run, so a test is deterministic. Scripts are not run: `on_command` says how
    they end.

    Args:
        on_events: see `port.OnEvents`.
        directory: where large results are stored.
        on_command: the outcome of a script; success without outputs by default.
        paused: run nothing until `step` is called.
    """

    def __init__(
        self,
        on_events: OnEvents,
        directory: Path,
        *,
        on_command: Callable[[CommandCall], Outcome] = _succeed,
        paused: bool = False,
    ) -> None:
        self._on_events = on_events
        self._directory = directory
        self._on_command = on_command
        self.paused = paused
        self._open = False
        self._waiting: deque[Execution] = deque()
        self._known: set[int] = set()
        self._scheduled = False
        self._runner = FunctionRunner(_MAX_RESULT_BYTES)

    async def start(self) -> None:
        """See `Executor.start`."""
        self._loop = asyncio.get_running_loop()
        self._open = True

    def submit(self, bundle: Bundle) -> None:
        """See `Executor.submit`."""
        if not self._open:
            raise Unavailable("the executor is not running: call start() first, and nothing after close()")
        tickets = [one.ticket for one in bundle.executions]
        if not tickets or len(set(tickets)) < len(tickets) or self._known & set(tickets):
            raise InvalidInput("a bundle needs executions with tickets that are not in use")
        self._known.update(tickets)
        if bundle.site_path is not None and not os.path.isdir(bundle.site_path):
            missing = Failed(FailureKind.ENVIRONMENT, f"the environment {bundle.site_path} does not exist")
            for ticket in tickets:
                self._loop.call_soon(self._finish, ticket, missing)
            return
        self._waiting.extend(bundle.executions)
        self._schedule()

    def cancel(self, ticket: int) -> None:
        """See `Executor.cancel`; what runs cannot be interrupted here, as it runs within one call."""
        found = next((one for one in self._waiting if one.ticket == ticket), None)
        if found is not None:
            self._waiting.remove(found)
            self._loop.call_soon(self._finish, ticket, cancelled("cancelled before it started"))

    def release(self, ticket: int) -> None:
        """See `Executor.release`."""
        self._result_path(ticket).unlink(missing_ok=True)

    async def close(self) -> None:
        """See `Executor.close`."""
        if not self._open:
            return
        self._open = False
        self._waiting.clear()
        for ticket in sorted(self._known):
            self._finish(ticket, cancelled("the executor was closed"))

    def step(self) -> bool:
        """Run the next execution now; returns False if there is none."""
        if not self._waiting:
            return False
        execution = self._waiting.popleft()
        self._on_events([Started(execution.ticket, time.monotonic())])
        begun_s, begun_cpu_s = time.monotonic(), time.process_time()
        outputs: list[Event] = []
        if isinstance(execution.call, CommandCall):
            outcome = self._on_command(execution.call)
        else:
            assert isinstance(execution.call, FunctionCall)  # replicas run at the serving executor
            outcome, outputs = self._run(execution, execution.call)
        usage = Usage(time.process_time() - begun_cpu_s, max(time.monotonic() - begun_s, 1e-9), None)
        self._finish(execution.ticket, outcome, usage, outputs)
        return True

    def _schedule(self) -> None:
        if self._waiting and not self.paused and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run_next)

    def _run_next(self) -> None:
        self._scheduled = False
        if not self.paused and self._open:
            self.step()
            self._schedule()

    def _run(self, execution: Execution, call: FunctionCall) -> tuple[Outcome, list[Event]]:
        path = str(self._result_path(execution.ticket))
        item = FunctionItem(
            0,
            call.function,
            call.function_path,
            call.payload,
            call.payload_path,
            path,
            0,
            0,
            (),
            execution.index,
        )
        streams = {"stdout": io.StringIO(), "stderr": io.StringIO()}
        results: list[Result] = []
        with (
            _environment(execution),
            contextlib.redirect_stdout(streams["stdout"]),
            contextlib.redirect_stderr(streams["stderr"]),
        ):
            # A thread, as this one has a loop: an async function brings its own.
            thread = threading.Thread(target=lambda: results.append(self._result(item)))
            thread.start()
            thread.join()
        outputs: list[Event] = [
            Output(execution.ticket, name, text.getvalue().encode())
            for name, text in streams.items()
            if text.getvalue()
        ]
        result = results[0]
        if result.kind == VALUE:
            return Value(result.payload), outputs
        if result.kind == VALUE_FILE:
            return Value(None, path), outputs
        return reported(result, execution), outputs

    def _result(self, item: FunctionItem) -> Result:
        done = self._runner.run(item)
        return Result(0, done.kind, done.payload, done.message, done.traceback, 0, 0, 0, 0)

    def _result_path(self, ticket: int) -> Path:
        return self._directory / f"fake-result-{ticket}"

    def _finish(
        self, ticket: int, outcome: Outcome, usage: Usage | None = None, outputs: list[Event] | None = None
    ) -> None:
        if ticket in self._known:
            self._known.discard(ticket)
            self._on_events([*(outputs or []), Finished(ticket, outcome, usage or Usage(0.0, 0.0, None))])


@contextlib.contextmanager
def _environment(execution: Execution) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(execution.env)
    os.environ["FARLANE_TASK_INDEX"] = str(execution.index)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
