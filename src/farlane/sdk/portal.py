"""The portal: one event loop in a background thread, through which synchronous code uses the asyncio client."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

from farlane.errors import Conflict, DeadlineExceeded
from farlane.kit.tasks import TaskSupervisor

T = TypeVar("T")
log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 8.0
"""How long the end of the program waits for clients to send what they have."""


class Portal:
    """A loop in a daemon thread; use `portal()` rather than making one."""

    def __init__(self) -> None:
        self._posted: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self._awake = False
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._main, name="farlane", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._tasks: TaskSupervisor
        self._stop: asyncio.Event
        self._closers: list[Callable[[], None]] = []
        self._thread.start()
        self._started.wait()

    def post(self, call: Callable[..., None], *args: object) -> None:
        """Run `call(*args)` on the loop, soon, in order, without waiting. A burst of posts wakes the loop once."""
        self._posted.append((call, args))
        if not self._awake:
            self._awake = True
            self._loop.call_soon_threadsafe(self._drain)

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine on the loop."""
        if threading.current_thread() is self._thread:
            work.close()
            raise Conflict(
                "this would wait for itself: it was called on farlane's own loop; use the asyncio client"
            )
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Run a coroutine on the loop and wait for it; an interrupt (Ctrl-C) cancels it.

        Raises:
            DeadlineExceeded: it has not ended within `timeout_s`.
        """
        future = self.submit(work)
        try:
            return future.result(timeout_s)
        except concurrent.futures.TimeoutError as error:
            if future.done():
                raise
            future.cancel()
            raise DeadlineExceeded(f"not done within {timeout_s} s") from error
        except BaseException:
            future.cancel()
            raise

    def iterate(self, bursts: AsyncGenerator[list[T], None]) -> Iterator[T]:
        """Yield what an asynchronous generator yields in bursts."""
        try:
            while (burst := self.run(_next(bursts))) is not None:
                yield from burst
        finally:
            with contextlib.suppress(RuntimeError):
                self.run(bursts.aclose())

    def host(self, work: Coroutine[Any, Any, None], close: Callable[[], None]) -> None:
        """Run a client until it ends; `close` is called from the main thread when the program ends."""
        self._closers.append(close)
        self._loop.call_soon_threadsafe(lambda: self._tasks.start(work, "client host", optional=True))

    def forget(self, close: Callable[[], None]) -> None:
        """Do not call `close` any more."""
        with contextlib.suppress(ValueError):
            self._closers.remove(close)

    def close(self) -> None:
        """Close every client, then the loop."""
        for close in list(self._closers):
            try:
                close()
            except Exception as error:
                log.warning("closing a client: %s", error)
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(CLOSE_TIMEOUT_S)

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            self._loop = runner.get_loop()
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        async with TaskSupervisor("sdk") as self._tasks:
            self._started.set()
            await self._stop.wait()

    def _drain(self) -> None:
        # Cleared first: whoever posts from here on wakes the loop again.
        self._awake = False
        while self._posted:
            call, args = self._posted.popleft()
            try:
                call(*args)
            except Exception:
                log.exception("a call posted to the client's loop failed")


async def _next(bursts: AsyncGenerator[list[T], None]) -> list[T] | None:
    return await anext(bursts, None)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


_lock = threading.Lock()
_portal: Portal | None = None


def portal() -> Portal:
    """Return this process's portal, started on first use."""
    global _portal  # noqa: PLW0603 - one per process
    with _lock:
        if _portal is None:
            _portal = Portal()
            atexit.register(_close)
        return _portal


def _close() -> None:
    global _portal
    with _lock:
        closing, _portal = _portal, None
    if closing is not None:
        closing.close()


def _forget_in_child() -> None:
    # The thread and its gRPC streams stayed with the parent; the child makes its own.
    global _portal, _lock
    _portal, _lock = None, threading.Lock()
    atexit.unregister(_close)


os.register_at_fork(after_in_child=_forget_in_child)
