"""Calls in progress: what `spawn` returns, and the future beneath it that opens its result where it is read."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from farlane.domain.ids import task_id, task_text
from farlane.errors import DeadlineExceeded
from farlane.sdk.outcomes import TaskResult, Trust, value_of

if TYPE_CHECKING:
    from farlane.sdk.call_jobs import PendingCall
    from farlane.sdk.facade import Client, Job
    from farlane.sdk.values import Explanation, LogChunk

R = TypeVar("R")


class OutcomeFuture(concurrent.futures.Future[Any], Generic[R]):
    """A future that is set to a `TaskResult` and gives the value in it.

    The value is unpickled in the thread that asks for it: on the client's loop a slow one would hold up the rest.

    Args:
        trust: whether results of a node may be opened here.
    """

    def __init__(self, trust: Trust) -> None:
        super().__init__()
        self._trust = trust
        self._opened: tuple[Any, BaseException | None] | None = None

    def result(self, timeout: float | None = None) -> R:
        """Return the call's value, or raise its exception.

        Raises:
            TimeoutError: it has not ended within `timeout` seconds.
        """
        value, error = self._open(super().result(timeout))
        if error is not None:
            raise error
        return cast(R, value)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the call's exception, None if it has a value."""
        error = super().exception(timeout)
        return error if error is not None else self._open(super().result(timeout))[1]

    def task_result(self, timeout: float | None = None) -> TaskResult:
        """Return the ended task itself: its bytes, node, times and price."""
        return cast(TaskResult, super().result(timeout))

    def _open(self, ended: TaskResult) -> tuple[Any, BaseException | None]:
        if self._opened is None:
            try:
                self._opened = value_of(ended, self._trust), None
            except Exception as error:
                self._opened = None, error
        return self._opened


class Call(Generic[R]):
    """One call on its way, from `f.spawn(...)`. Await it, or ask `result()`."""

    def __init__(self, client: Client, pending: PendingCall, future: OutcomeFuture[R]) -> None:
        self._client = client
        self._pending = pending
        self.future = future
        """A `concurrent.futures.Future`, for `wait` and `as_completed`."""

    def __repr__(self) -> str:
        return f"<call {'ended' if self.done() else 'in progress'}>"

    def __await__(self) -> Generator[Any, None, R]:
        return cast("Generator[Any, None, R]", asyncio.wrap_future(self.future).__await__())

    def done(self) -> bool:
        """Whether it has ended."""
        return self.future.done()

    def result(self, timeout: float | None = None) -> R:
        """Return what the function returned.

        Args:
            timeout: seconds to wait; None means for ever.

        Raises:
            DeadlineExceeded: it has not ended in time; it goes on.
            Exception: what the function raised, with the remote traceback as its cause.
        """
        try:
            return self.future.result(timeout)
        except concurrent.futures.TimeoutError as error:
            if self.future.done():
                raise  # the function itself raised it
            raise DeadlineExceeded(
                f"the call has not ended within {timeout} s; it goes on. `why()` says what it waits for, "
                "`stop()` ends it"
            ) from error

    @property
    def job(self) -> Job:
        """The job it runs in; other calls may share it. Waits until the hub has accepted it."""
        from farlane.sdk.facade import Job

        return Job(self._client, self._client.portal.run(self._pending.place_known())[0])

    @property
    def task(self) -> str:
        """The task's id as people see it, `j12.7`. Waits until the hub has accepted it."""
        job, index = self._client.portal.run(self._pending.place_known())
        return task_text(task_id(job, index))

    def why(self) -> Explanation:
        """Return why its job stands where it stands, and what would change it."""
        return self.job.why()

    def logs(self, *, follow: bool = True) -> Iterator[LogChunk]:
        """Yield what it wrote."""
        job, index = self._client.portal.run(self._pending.place_known())
        return self._client.job(job).logs(index, follow=follow)

    def stop(self) -> bool:
        """Stop it; returns False if it had ended.

        Raises:
            Conflict: unfinished calls share its job, which the hub stops only as a whole.
        """
        return self._client.portal.run(self.stop_on_loop())

    async def stop_on_loop(self) -> bool:
        """Do what `stop` does, on the client's own loop."""
        job = self._pending.job
        return await job.stop(self._pending) if job is not None else self.future.cancel()
