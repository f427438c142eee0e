"""Supervised asyncio tasks: a child that dies is logged and takes its supervisor down, never silently."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from random import Random
from types import TracebackType
from typing import Any, Self, TypeVar

from farlane.errors import Internal
from farlane.kit.backoff import Backoff

T = TypeVar("T")

log = logging.getLogger(__name__)


class TaskSupervisor:
    """Owner of background tasks, entered with `async with`.

    Leaving the block cancels and awaits every child. A child that raises, or ends by a cancellation nobody
    asked it for, cancels the block, which then ends with `Internal` caused by the child's error.

    Args:
        name: what the children work for; it stands in logs and errors.
        close_warning_s: a close that waits longer than this names the children it waits for, again and again.
    """

    def __init__(self, name: str, *, close_warning_s: float = 10.0) -> None:
        self._name = name
        self._close_warning_s = close_warning_s
        self._children: dict[asyncio.Task[Any], bool] = {}  # task -> optional
        self._failure: tuple[str, BaseException] | None = None
        self._parent: asyncio.Task[Any] | None = None
        self._cancelling_at_entry = 0
        self._parent_cancelled = False
        self._closing = False

    async def __aenter__(self) -> Self:
        if self._parent is not None:
            raise Internal(f"task supervisor {self._name!r} was entered twice: make a new one for each block")
        self._parent = asyncio.current_task()
        assert self._parent is not None  # a coroutine that runs always runs in a task
        self._cancelling_at_entry = self._parent.cancelling()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._parent is not None
        self._closing = True
        outside = isinstance(error, asyncio.CancelledError)
        if self._parent_cancelled:
            outside = self._parent.uncancel() > self._cancelling_at_entry and outside
        await self.close()
        # A cancellation from outside goes first; the failure is in the log.
        if self._failure is not None and not outside:
            name, cause = self._failure
            raise Internal(
                f"task {name!r} of {self._name!r} died: {type(cause).__name__}: {cause}. "
                "It was to run until cancelled; its traceback is in the log",
                task=name,
                supervisor=self._name,
            ) from cause

    def start(self, work: Coroutine[Any, Any, T], name: str, *, optional: bool = False) -> asyncio.Task[T]:
        """Run `work` as a child.

        Args:
            work: what to run; it may return, which is not a failure.
            name: for logs and errors.
            optional: when it dies it is logged and nothing else happens.

        Returns:
            The running task; cancel it to end only this child.

        Raises:
            Internal: if the supervisor is not entered, or is closing.
        """
        if self._parent is None or self._closing:
            work.close()
            state = "closing" if self._closing else "not entered yet: use `async with`"
            raise Internal(f"cannot start task {name!r}: task supervisor {self._name!r} is {state}")
        child = asyncio.get_running_loop().create_task(work, name=name)
        self._children[child] = optional
        child.add_done_callback(self._on_done)
        return child

    def start_restarting(
        self, work: Callable[[], Coroutine[Any, Any, None]], name: str, *, backoff: Backoff, random: Random
    ) -> asyncio.Task[None]:
        """Run `work()` as a child, and again after each death, until it returns or is cancelled.

        Args:
            work: makes a fresh coroutine for each try.
            name: for logs and errors.
            backoff: pauses between tries; they start over after a run longer than `backoff.cap_s`.
            random: seeded source of the jitter.

        Returns:
            The running task.

        Raises:
            Internal: if the supervisor is not entered, or is closing.
        """
        return self.start(self._restarting(work, name, backoff, random), name)

    async def wait(self) -> None:
        """Wait until every child has ended by itself; a failed one cancels this wait with the whole block."""
        while self._children:
            await asyncio.wait(self._children)

    async def close(self) -> None:
        """Cancel every child and wait until all have ended; nothing can be started afterwards."""
        self._closing = True
        interruption: asyncio.CancelledError | None = None
        current = asyncio.current_task()
        for child in self._children:
            child.cancel()
        while waiting := [child for child in self._children if child is not current]:
            try:
                _, late = await asyncio.wait(waiting, timeout=self._close_warning_s)
            except asyncio.CancelledError as error:
                interruption = error  # the children are cancelled already: let them finish first
                continue
            if late:
                names = ", ".join(sorted(child.get_name() for child in late))
                log.warning("%s still waits for cancelled tasks: %s", self._name, names)
        if interruption is not None:
            raise interruption

    async def _restarting(
        self, work: Callable[[], Coroutine[Any, Any, None]], name: str, backoff: Backoff, random: Random
    ) -> None:
        loop = asyncio.get_running_loop()
        delays = backoff.delays(random)
        while True:
            begun_s = loop.time()
            try:
                return await work()
            except (Exception, asyncio.CancelledError) as error:
                if _cancel_requested(asyncio.current_task()):
                    raise
                if loop.time() - begun_s > backoff.cap_s:
                    delays = backoff.delays(random)
                delay_s = next(delays)
                log.error("task %s of %s died; next try in %.2f s", name, self._name, delay_s, exc_info=error)
            await asyncio.sleep(delay_s)

    def _on_done(self, child: asyncio.Task[Any]) -> None:
        optional = self._children.pop(child)
        error = _death(child)
        if error is None:
            return
        log.error("task %s of %s died", child.get_name(), self._name, exc_info=error)
        if optional or self._failure is not None:
            return
        self._failure = (child.get_name(), error)
        if not self._closing and self._parent is not None:
            self._closing = True
            self._parent_cancelled = True
            self._parent.cancel(f"task {child.get_name()!r} of {self._name!r} died")


def _cancel_requested(task: asyncio.Task[Any] | None) -> bool:
    return task is not None and task.cancelling() > 0


def _death(child: asyncio.Task[Any]) -> BaseException | None:
    """Return what killed a finished task, or None if it returned or was cancelled on request."""
    if not child.cancelled():
        return child.exception()
    if _cancel_requested(child):
        return None
    # A gRPC call or future cancelled elsewhere raises CancelledError into whoever awaits it.
    return asyncio.CancelledError(
        "it awaited something that was cancelled, while nobody cancelled the task itself"
    )
