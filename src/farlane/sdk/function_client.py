"""One function on one client: its pickle, its specification, and its calls and maps in progress."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from functools import partial
from typing import Any

from farlane.domain.jobs import BlobRef, Environment, FunctionWork, JobSpec
from farlane.errors import FarlaneError, InvalidJob
from farlane.sdk.call_jobs import PendingCall
from farlane.sdk.call_pool import CallPool
from farlane.sdk.calls import Call, OutcomeFuture
from farlane.sdk.facade import Client
from farlane.sdk.functions import Function
from farlane.sdk.map_run import MapRun, Outlet
from farlane.sdk.mapping import MapFlow, checked_window, read_async_inputs, read_from_loop, read_from_thread
from farlane.sdk.options import read_deadline
from farlane.sdk.outcomes import TaskResult, value_of
from farlane.sdk.pickling import pickle_call, pickle_function
from farlane.sdk.unpicklable import unpicklable_argument, unpicklable_function
from farlane.sdk.values import Quote

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class FunctionClient:
    """Sends one function's calls through one client.

    Args:
        client: an open client.
        function: the decorated function.

    Raises:
        InvalidJob: the function cannot be pickled, or its requirements cannot be resolved.
    """

    def __init__(self, client: Client, function: Function[Any, Any]) -> None:
        self._client = client
        self._function = function
        self._pickle = self._pickled()
        self._environment = _environment(function.options.requires)
        self._pool: CallPool | None = None

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, shared: bool) -> Call[Any]:
        """Send one call; `shared` lets it use the function's open job."""
        future: OutcomeFuture[Any] = OutcomeFuture(self._client.aio.trust)
        pending = PendingCall(self._encode(args, kwargs), future)
        self._client.portal.post(self._submit, pending, shared)
        return Call(self._client, pending, future)

    def wait(self, call: Call[Any]) -> Any:
        """Return a call's value; an interrupt (Ctrl-C) stops the call where it can be stopped alone."""
        try:
            return call.future.result()
        except KeyboardInterrupt:
            self._client.portal.post(self._stop_quietly, call)
            raise

    def map(
        self, calls: Iterable[tuple[Any, ...]], ordered: bool, return_exceptions: bool, window: int | None
    ) -> Iterator[Any]:
        """Yield one result per call, from the calling thread."""
        checked_window(window)  # now, not when the first result is asked for
        return self._mapped(calls, ordered, return_exceptions, window)

    def _mapped(
        self, calls: Iterable[tuple[Any, ...]], ordered: bool, return_exceptions: bool, window: int | None
    ) -> Iterator[Any]:
        ready = threading.Event()
        flow = self._flow(ready.set, ordered, window)
        encode, trust = self._encode, self._client.aio.trust
        results = read_from_thread(flow, (encode(args, {}) for args in calls), ready)
        try:
            for result in results:
                yield _handed_out(result, trust, return_exceptions)
        finally:
            results.close()  # type: ignore[attr-defined]  # a generator

    async def amap(
        self,
        calls: Iterable[tuple[Any, ...]] | AsyncIterable[tuple[Any, ...]],
        ordered: bool,
        return_exceptions: bool,
        window: int | None,
    ) -> AsyncIterator[Any]:
        """Yield one result per call, on the caller's event loop."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        flow = self._flow(partial(loop.call_soon_threadsafe, ready.set), ordered, window)
        trust = self._client.aio.trust
        if isinstance(calls, AsyncIterable):
            results = read_async_inputs(flow, self._encoded(calls), ready)
        else:
            results = read_from_loop(flow, (self._encode(args, {}) for args in calls), ready)
        try:
            async for result in results:
                yield _handed_out(result, trust, return_exceptions)
        finally:
            await results.aclose()  # type: ignore[attr-defined]  # a generator

    def quote(self, tasks: int, payload_bytes: int) -> Quote:
        """Return what so many calls would cost at most."""
        spec = self._client.portal.run(self._spec())
        return self._client.quote(spec, tasks, payload_bytes)

    def _flow(self, notify: Any, ordered: bool, window: int | None) -> MapFlow:
        outlet = Outlet(notify)
        run = MapRun(self._client.aio, self._spec, outlet, ordered=ordered)
        flow = MapFlow(run, outlet, self._client.portal.post, window)
        self._client.portal.post(run.begin)
        return flow

    def _submit(self, pending: PendingCall, shared: bool) -> None:
        """Runs on the client's loop."""
        try:
            if self._pool is None:
                bound = (
                    self._function.options.budget is not None or self._function.options.deadline is not None
                )
                self._pool = CallPool(self._client.aio, self._spec, shared=not bound)
            self._pool.submit(pending, shared)
        except FarlaneError as error:
            pending.fail(error)

    def _stop_quietly(self, call: Call[Any]) -> None:
        self._client.aio.start(_quietly(call))

    async def _spec(self) -> JobSpec:
        """Return the specification of a submission that begins now."""
        name, given = self._function.name, self._function.options
        function: BlobRef = await self._client.aio.put_once(self._pickle)
        return JobSpec(
            name=name,
            profile=name,
            function=FunctionWork(function, PYTHON, name),
            resources=given.resources,
            priority=given.priority,
            retries=given.retries,
            timeout_ms=given.timeout_ms,
            deadline_at=read_deadline(given.deadline, time.time()),
            max_price=given.max_price,
            budget=given.budget,
            project=given.project,
            durability=given.durability,
            labels=given.labels,
            env=given.env,
            environment=self._environment,
            estimate_ms=given.estimate_ms,
        )

    def _pickled(self) -> bytes:
        function = self._function.function
        try:
            return pickle_function(function)
        except Exception as error:
            raise unpicklable_function(function, self._function.name, error, pickle_function) from error

    def _encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        try:
            return pickle_call(args, kwargs)
        except Exception as error:
            raise unpicklable_argument(self._function.name, args, kwargs, error, pickle_function) from error

    async def _encoded(self, calls: AsyncIterable[tuple[Any, ...]]) -> AsyncIterator[bytes]:
        async for args in calls:
            yield self._encode(args, {})


def _handed_out(result: TaskResult, trust: Any, return_exceptions: bool) -> Any:
    if not return_exceptions:
        return value_of(result, trust)
    try:
        return value_of(result, trust)
    except Exception as error:
        return error


async def _quietly(call: Call[Any]) -> None:
    try:
        await call.stop_on_loop()
    except FarlaneError:
        return  # it shares its job with others, or the hub is gone: it runs to its end


def _environment(requires: tuple[str, ...]) -> Environment | None:
    if not requires:
        return None
    from farlane.sdk.requirements import resolve

    lock = resolve(requires)
    if not lock.lines:
        raise InvalidJob(f"requires {list(requires)} resolves to nothing; leave it out", field="requires")
    return Environment(lock.digest, tuple(lock.lines))
