"""Driving an executor in a test: builds executions, gathers events, waits for what must happen."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, TracebackType
from typing import Any, Self

import cloudpickle

from farlane.node.executors.port import (
    Bundle,
    Event,
    Execution,
    Executor,
    Failed,
    Finished,
    FunctionCall,
    OnEvents,
    Output,
    PoolKey,
    Value,
)

MakeExecutor = Callable[[OnEvents], Executor]


class ExecutorDriver:
    """One executor under test, started and closed by `async with`.

    Args:
        make: makes the executor, given its `on_events`.
        directory: where the pickled functions go.
        timeout_s: how long any wait may take before the test fails.
    """

    def __init__(self, make: MakeExecutor, directory: Path, *, timeout_s: float = 30.0) -> None:
        self.executor = make(self._on_events)
        self.events: list[Event] = []
        self._directory = directory
        self._timeout_s = timeout_s
        self._tickets = itertools.count(1)
        self._changed = asyncio.Event()
        self._finished: dict[int, Finished] = {}

    async def __aenter__(self) -> Self:
        await self.executor.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.executor.close()

    def call(self, function: Callable[..., Any], *args: object, **kwargs: object) -> FunctionCall:
        """Return a call of a function, pickled by value wherever it is defined."""
        pickled = _pickled_by_value(function)
        digest = hashlib.sha256(pickled).hexdigest()
        path = self._directory / digest
        path.write_bytes(pickled)
        return FunctionCall(digest, str(path), cloudpickle.dumps((args, kwargs)))

    def execution(self, call: Any, *, timeout_s: float = 20.0, **limits: Any) -> Execution:
        """Return an execution of a call with the next ticket; `limits` are fields of `Execution`."""
        return Execution(next(self._tickets), call, timeout_s, **limits)

    def submit(
        self,
        *executions: Execution,
        publisher: str = "publisher",
        site_path: str | None = None,
        gpus: tuple[int, ...] = (),
    ) -> None:
        """Submit executions as one bundle."""
        self.executor.submit(Bundle(PoolKey(publisher), site_path, gpus, executions))

    async def finished(self, ticket: int) -> Finished:
        """Wait for the end of one execution."""
        await self.until(lambda: ticket in self._finished)
        return self._finished[ticket]

    async def run(self, call: Any, **limits: Any) -> Finished:
        """Run one call in a bundle of its own."""
        execution = self.execution(call, **limits)
        self.submit(execution)
        return await self.finished(execution.ticket)

    async def value(self, function: Callable[..., Any], *args: object) -> Any:
        """Run a function and return its value; fails the test if there is none."""
        return value_of(await self.run(self.call(function, *args)))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition over the events holds.

        Raises:
            TimeoutError: it did not become true in time.
        """
        async with asyncio.timeout(self._timeout_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def output(self, ticket: int, stream: str = "stdout") -> bytes:
        """Return all output of one execution so far."""
        return b"".join(
            event.data
            for event in self.events
            if isinstance(event, Output) and event.ticket == ticket and event.stream == stream
        )

    def events_of(self, ticket: int) -> list[Event]:
        """Return the events of one execution in order."""
        return [event for event in self.events if event.ticket == ticket]

    def _on_events(self, events: list[Event]) -> None:
        assert events
        self.events += events
        for event in events:
            if isinstance(event, Finished):
                assert event.ticket not in self._finished, f"{event.ticket} finished twice"
                self._finished[event.ticket] = event
        self._changed.set()


async def eventually(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait until something in the outside world (files, processes) has come true.

    Raises:
        TimeoutError: it did not in time.
    """
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the kernel sets no asyncio.Event
            await asyncio.sleep(0.002)


def _pickled_by_value(function: Callable[..., Any]) -> bytes:
    module = sys.modules.get(function.__module__) if isinstance(function, FunctionType) else None
    if module is None or module.__name__.partition(".")[0] in {"farlane", *sys.stdlib_module_names}:
        return bytes(cloudpickle.dumps(function))
    cloudpickle.register_pickle_by_value(module)  # a worker cannot import a test module
    try:
        return bytes(cloudpickle.dumps(function))
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def value_of(finished: Finished) -> Any:
    """Return the value of a function that returned; fails the test otherwise."""
    outcome = finished.outcome
    assert isinstance(outcome, Value), outcome
    if outcome.payload_path is not None:
        return cloudpickle.loads(Path(outcome.payload_path).read_bytes())
    return cloudpickle.loads(outcome.payload)


def failure_of(finished: Finished) -> Failed:
    """Return the failure of an execution; fails the test if it did not fail."""
    assert isinstance(finished.outcome, Failed), finished.outcome
    return finished.outcome
