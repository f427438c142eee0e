"""Reading a map: inputs are pulled lazily and results handed out as they come, from a thread or from asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Protocol

from farlane.errors import InvalidInput
from farlane.sdk.map_run import MapRun, Outlet
from farlane.sdk.outcomes import TaskResult
from farlane.sdk.result_feed import fetched_bytes

WINDOW_ROWS = 16_384
"""Inputs taken whose results are not handed out yet, at most."""
FIRST_WINDOW_ROWS = 1024
"""The window before the first result is handed out; it grows with what is, so that little is done in vain."""
MAX_UNSENT_BYTES = 64 << 20
"""Input bytes that the hub has not acknowledged, at most."""
_FAIR_SHARE = 256
_END: Any = object()


class Post(Protocol):
    """Runs a call on the client's loop, soon and without waiting for it."""

    def __call__(self, call: Callable[..., None], *args: object) -> None:
        """Do it."""


class MapFlow:
    """The reader's side of a map: how much input may be taken, what is there to hand out, when all is done.

    Args:
        run: the other side, on the client's loop.
        outlet: where the other side puts results.
        post: reaches the client's loop.
        window: cap of inputs in progress.

    Raises:
        InvalidInput: the window is not positive.
    """

    def __init__(self, run: MapRun, outlet: Outlet, post: Post, window: int | None) -> None:
        self._run = run
        self._outlet = outlet
        self._post = post
        self._window = checked_window(window)
        self._taken = 0
        self._taken_bytes = 0
        self._handed_out = 0
        self._finished = False

    @property
    def wants_input(self) -> bool:
        """Whether the next input may be taken now."""
        waiting = self._taken - self._handed_out
        if self._finished or waiting >= min(self._window, max(FIRST_WINDOW_ROWS, 2 * self._handed_out)):
            return False
        return self._taken_bytes - self._outlet.acknowledged_bytes < MAX_UNSENT_BYTES

    @property
    def has_output(self) -> bool:
        """Whether `take` has something to say."""
        return bool(self._outlet.rows) or self._outlet.error is not None

    @property
    def done(self) -> bool:
        """Whether every input has been taken and every result handed out."""
        return self._finished and self._taken == self._handed_out

    def push(self, payload: bytes) -> None:
        """Send an input."""
        self._taken += 1
        self._taken_bytes += len(payload)
        # The other side empties `inputs` whenever it is woken: only the first of a burst needs to wake it.
        wake = not self._run.inputs
        self._run.inputs.append(payload)
        if wake or not self._taken % 256:
            self._post(self._run.pump)

    def finish(self) -> None:
        """Say that there is no more input."""
        self._finished = True
        self._run.finished = True
        self._post(self._run.pump)

    def take(self) -> Iterator[TaskResult]:
        """Yield the results that are there; then raise the error that ended the map, if one did."""
        rows = self._outlet.rows
        ready = [rows.popleft() for _ in range(len(rows))]
        size = fetched_bytes(ready)
        if size:
            self._post(self._run.consumed, size)
        for row in ready:
            self._handed_out += 1
            yield row
        if self._outlet.error is not None and not rows:
            raise self._outlet.error

    def end(self) -> None:
        """Let go: quietly after the last result, else by stopping the job."""
        if self.done:
            self._post(self._run.complete)
        else:
            self._post(self._run.abandon, "the caller stopped reading its results")


def checked_window(window: int | None) -> int:
    """Return a map's window.

    Raises:
        InvalidInput: it is not positive.
    """
    if window is None:
        return WINDOW_ROWS
    if window < 1:
        raise InvalidInput(f"window is {window!r}; expected how many inputs may be in progress, at least 1")
    return window


def read_from_thread(
    flow: MapFlow, payloads: Iterable[bytes], ready: threading.Event
) -> Iterator[TaskResult]:
    """Yield a map's results; inputs are pulled in this thread, between results.

    Args:
        flow: the map.
        payloads: encoded inputs.
        ready: set by the outlet's `notify`.
    """
    source = iter(payloads)
    try:
        while not flow.done:
            if flow.wants_input:
                payload = next(source, _END)
                if payload is _END:
                    flow.finish()
                    continue
                flow.push(payload)
            elif not flow.has_output:
                ready.wait()
                ready.clear()
            if flow.has_output:
                yield from flow.take()
    finally:
        flow.end()


async def read_from_loop(
    flow: MapFlow, payloads: Iterable[bytes], ready: asyncio.Event
) -> AsyncIterator[TaskResult]:
    """Yield a map's results; inputs are pulled on this loop, between results, without blocking it for long."""
    source = iter(payloads)
    pulled = 0
    try:
        while not flow.done:
            if flow.wants_input:
                payload = next(source, _END)
                if payload is _END:
                    flow.finish()
                    continue
                flow.push(payload)
                pulled += 1
                if not pulled % _FAIR_SHARE:
                    await asyncio.sleep(0)
            elif not flow.has_output:
                await ready.wait()
                ready.clear()
            if flow.has_output:
                for result in flow.take():
                    yield result
    finally:
        flow.end()


async def read_async_inputs(
    flow: MapFlow, payloads: AsyncIterable[bytes], ready: asyncio.Event
) -> AsyncIterator[TaskResult]:
    """Yield a map's results; inputs come from an asynchronous iterable, and a slow one does not hold back results."""
    source = aiter(payloads)
    pull: asyncio.Future[bytes] | None = None
    try:
        while not flow.done:
            if flow.wants_input and pull is None:
                pull = asyncio.ensure_future(anext(source, _END))
            if not flow.has_output:
                await _either(pull, ready)
            if pull is not None and pull.done():
                payload, pull = pull.result(), None
                if payload is _END:
                    flow.finish()
                else:
                    flow.push(payload)
            for result in flow.take():
                yield result
    finally:
        if pull is not None:
            pull.cancel()
        flow.end()


async def _either(pull: asyncio.Future[bytes] | None, ready: asyncio.Event) -> None:
    """Wait for the next input, or for something to hand out."""
    signal = asyncio.ensure_future(ready.wait())
    try:
        await asyncio.wait(
            [future for future in (pull, signal) if future is not None], return_when="FIRST_COMPLETED"
        )
    finally:
        if signal.done():
            ready.clear()
        signal.cancel()
