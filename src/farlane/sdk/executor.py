"""`farlane.Executor`: the network as a `concurrent.futures.Executor`."""

from __future__ import annotations

import concurrent.futures
import inspect
import threading
import types
from collections import deque
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from farlane.errors import Conflict, InvalidInput
from farlane.sdk.functions import App, Function

P = ParamSpec("P")
R = TypeVar("R")

MAX_RUNNING = 4096
"""Calls on the network at a time; what waits here can still be cancelled."""


class Executor(concurrent.futures.Executor):
    """Runs calls on the network, with the meaning that the standard library gives to each method.

    A future can be cancelled until its call is sent. `map` and the context manager work as usual.

    Args:
        app: whose client is used; None makes one for the current network.
        max_running: most calls on the network at a time.
        **options: what `App.function` takes: cpu, memory, gpu, retries, timeout ...

    Raises:
        InvalidJob: an option cannot be read or is impossible.
    """

    def __init__(self, app: App | None = None, *, max_running: int = MAX_RUNNING, **options: Any) -> None:
        if max_running < 1:
            raise InvalidInput(f"max_running is {max_running}; expected at least 1")
        self._app = app or App("executor")
        self._decorate = self._app.function(**options)
        self._max_running = max_running
        self._functions: dict[Callable[..., Any], Function[..., Any]] = {}
        self._any = self._decorate(_invoke)
        self._lock = threading.Lock()
        self._waiting: deque[_Item] = deque()
        self._running = 0
        self._idle = threading.Condition(self._lock)
        self._shut = False

    def submit(
        self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> concurrent.futures.Future[R]:
        """Run `fn(*args, **kwargs)` on the network.

        Raises:
            Conflict: the executor has been shut down.
        """
        future: concurrent.futures.Future[R] = concurrent.futures.Future()
        with self._lock:
            if self._shut:
                raise Conflict("this executor has been shut down: make a new one")
            self._waiting.append(_Item(future, fn, args, kwargs))
        self._advance()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls.

        Args:
            wait: return only when every call has ended.
            cancel_futures: cancel the calls that have not been sent.
        """
        with self._lock:
            self._shut = True
            cancelled = list(self._waiting) if cancel_futures else []
            if cancel_futures:
                self._waiting.clear()
        for item in cancelled:
            item.future.cancel()
            item.future.set_running_or_notify_cancel()
        with self._idle:
            while wait and (self._running or self._waiting):
                self._idle.wait()

    def _advance(self) -> None:
        """Send what may be sent."""
        while True:
            with self._lock:
                if not self._waiting or self._running >= self._max_running:
                    return
                item = self._waiting.popleft()
                self._running += 1
            if not item.future.set_running_or_notify_cancel():
                self._finished()
                continue
            try:
                call = self._function_for(item)
            except BaseException as error:
                item.future.set_exception(error)
                self._finished()
            else:
                call.add_done_callback(lambda done, item=item: self._done(item, done))  # type: ignore[misc]

    def _function_for(self, item: _Item) -> concurrent.futures.Future[Any]:
        if not _same_every_time(item.fn):
            # Pickled with each call: a method's object or a closure may change between two.
            return self._any.client().call((item.fn, *item.args), item.kwargs, shared=True).future
        function = self._functions.get(item.fn)
        if function is None:
            function = self._functions[item.fn] = self._decorate(item.fn)
        return function.client().call(item.args, item.kwargs, shared=True).future

    def _done(self, item: _Item, call: concurrent.futures.Future[Any]) -> None:
        try:
            value = call.result()
        except BaseException as error:
            item.future.set_exception(error)
        else:
            item.future.set_result(value)
        self._finished()
        self._advance()

    def _finished(self) -> None:
        with self._idle:
            self._running -= 1
            if not self._running and not self._waiting:
                self._idle.notify_all()


class _Item:
    """One submitted call."""

    __slots__ = ("args", "fn", "future", "kwargs")

    def __init__(
        self,
        future: concurrent.futures.Future[Any],
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.future = future
        self.fn = fn
        self.args = args
        self.kwargs = kwargs


def _same_every_time(fn: Callable[..., Any]) -> bool:
    if isinstance(fn, types.BuiltinFunctionType):
        return inspect.ismodule(fn.__self__)
    return isinstance(fn, types.FunctionType) and not fn.__closure__ and not fn.__defaults__


def _invoke(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return fn(*args, **kwargs)
