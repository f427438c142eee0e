"""Functions that run on the network: `App`, the decorator, and the ways to call what it decorates."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from farlane.domain.jobs import DEFAULT_PRIORITY, DEFAULT_TIMEOUT_MS
from farlane.errors import InvalidJob
from farlane.sdk import options as forms
from farlane.sdk.options import Deadline, Duration, JobOptions, Size

if TYPE_CHECKING:
    from farlane.sdk.calls import Call
    from farlane.sdk.facade import Client
    from farlane.sdk.function_client import FunctionClient
    from farlane.sdk.values import Quote

P = ParamSpec("P")
R = TypeVar("R")


class App:
    """A name for functions that belong together, and the network they run on.

    Args:
        name: stands in front of the job names.
        client: an open client; None connects to the current network on the first call.
    """

    def __init__(self, name: str, client: Client | None = None) -> None:
        if not 1 <= len(str(name)) <= 100:
            raise InvalidJob(f"an app's name is {name!r}; expected a text of 1 to 100 characters")
        self.name = name
        self._client = client

    def __reduce__(self) -> tuple[Any, ...]:
        # On a worker only the name is of use: connections stay here.
        return App, (self.name,)

    @property
    def client(self) -> Client:
        """The client its functions use; connects when needed."""
        if self._client is not None:
            return self._client
        from farlane.sdk.facade import shared_client

        return shared_client()

    def function(  # noqa: PLR0913 - one keyword per option, as users of such decorators expect
        self,
        *,
        cpu: str | float | None = None,
        memory: Size | None = None,
        gpu: str | int | None = None,
        disk: Size | None = None,
        retries: int = 0,
        timeout: Duration | None = None,
        priority: int = DEFAULT_PRIORITY,
        max_price: str | float | None = None,
        budget: str | float | None = None,
        requires: Iterable[str] = (),
        labels: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        deadline: Deadline | None = None,
        durability: str = "durable",
        estimate: Duration | None = None,
        project: str | None = None,
    ) -> Callable[[Callable[P, R]], Function[P, R]]:
        """Decorate a function so that it can run on the network.

        Args:
            cpu: cores of one call, such as 2 or 0.5 (default 1).
            memory: of one call, such as `1GB` (default 1 GiB).
            gpu: `24GB` (any model with that much memory), `A100:1`, `A100-80GB:2` or a count.
            disk: scratch space of one call (default 1 GiB).
            retries: how often a call that failed by its own fault runs again.
            timeout: of one attempt, such as 60 or `5m` (default one hour).
            priority: 0 to 100, higher first.
            max_price: most credits an hour for one call's resources.
            budget: most credits for one submission (one `map`, or one `remote` or `spawn`).
            requires: packages to install first, as pip requirements.
            labels: what a node must be labelled with.
            env: environment variables.
            deadline: a moment, or a duration from each submission; after it calls fail rather than run.
            durability: `durable`, or `relaxed` to acknowledge before the hub's disk has it.
            estimate: expected run time of one call, for the scheduler.
            project: what the work is charged to inside your organisation.

        Raises:
            InvalidJob: an option cannot be read or is impossible.
        """
        given = JobOptions(
            resources=forms.read_resources(cpu, memory, gpu, disk),
            retries=forms.read_int("retries", retries, 0, forms.MAX_RETRIES),
            timeout_ms=DEFAULT_TIMEOUT_MS if timeout is None else forms.read_milliseconds("timeout", timeout),
            priority=forms.read_priority(priority),
            max_price=None if max_price is None else forms.read_credits("max_price", max_price),
            budget=None if budget is None else forms.read_credits("budget", budget),
            requires=_requirements(requires),
            labels=forms.read_labels(labels or {}),
            env=forms.read_env(env or {}),
            deadline=deadline,
            durability=forms.read_durability(durability),
            estimate_ms=None if estimate is None else forms.read_milliseconds("estimate", estimate),
            project="" if project is None else forms.read_project(project),
        )
        forms.read_deadline(deadline, time.time())
        return lambda function: Function(function, self, given)


class Function(Generic[P, R]):
    """A function that runs here with `local` and on the network with `remote`, `spawn`, `map` and `starmap`.

    It is pickled once, on its first call on the network: what its globals hold then is what runs.
    """

    def __init__(self, function: Callable[P, R], app: App, options: JobOptions) -> None:
        if not callable(function):
            raise InvalidJob(f"{function!r} cannot be called; put the decorator on a function")
        self.function = function
        self.app = app
        self.options = options
        self._on: weakref.WeakKeyDictionary[Client, FunctionClient] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        functools.update_wrapper(self, function, updated=())

    def __repr__(self) -> str:
        return f"<function {self.name} of farlane>"

    def __reduce__(self) -> tuple[Any, ...]:
        # Functions call each other: on a worker the decorated one is there, for `local` or a plain call.
        return Function, (self.function, self.app, self.options)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here, like any function."""
        return self.function(*args, **kwargs)

    @property
    def name(self) -> str:
        """The job name: app and function."""
        own = getattr(self.function, "__qualname__", None) or type(self.function).__name__
        return f"{self.app.name}.{own.replace('<locals>.', '')}"[:200]

    def local(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here, in this process."""
        return self.function(*args, **kwargs)

    @property
    def remote(self) -> Remote[P, R]:
        """`f.remote(x)` runs one call on the network and waits; `await f.remote.aio(x)` on asyncio."""
        return Remote(self)

    @property
    def map(self) -> Map[R]:
        """`f.map(xs)` runs one call per input and yields the results; `f.map.aio(xs)` on asyncio."""
        return Map(self, star=False)

    @property
    def starmap(self) -> Map[R]:
        """`f.starmap([(1, 2), (3, 4)])` is `map` with each input a tuple of arguments."""
        return Map(self, star=True)

    def spawn(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Start one call on the network and return at once; calls started together share a job.

        Raises:
            InvalidJob: the function or an argument cannot be sent to another machine.
        """
        call: Call[R] = self.client().call(args, kwargs, shared=False)
        return call

    def estimate(self, tasks: int = 1, payload_bytes: int = 0) -> Quote:
        """Return what `tasks` calls would cost at most, and where they could run; nothing is submitted."""
        return self.client().quote(tasks, payload_bytes)

    def client(self) -> FunctionClient:
        """Return this function's side of the app's client."""
        from farlane.sdk.function_client import FunctionClient

        client = self.app.client
        with self._lock:
            known = self._on.get(client)
            if known is None:
                known = self._on[client] = FunctionClient(client, self)
            return known


class Remote(Generic[P, R]):
    """One call on the network, waited for."""

    def __init__(self, function: Function[P, R]) -> None:
        self._function = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run and wait.

        Raises:
            InvalidJob: the function or an argument cannot be sent to another machine.
            TaskError: it ended without a result.
            Exception: what the function raised, with the remote traceback as its cause.
        """
        call: Call[R] = self._function.client().call(args, kwargs, shared=True)
        value: R = self._function.client().wait(call)
        return value

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run and wait on the caller's own event loop."""
        there = await asyncio.to_thread(self._function.client)  # the first time it connects
        call: Call[R] = there.call(args, kwargs, shared=True)
        return await call


class Map(Generic[R]):
    """One call per input, streaming: inputs are pulled as results are handed out, whatever their number."""

    def __init__(self, function: Function[Any, R], *, star: bool) -> None:
        self._function = function
        self._star = star

    def __call__(
        self,
        *inputs: Iterable[Any],
        ordered: bool = True,
        return_exceptions: bool = False,
        window: int | None = None,
    ) -> Iterator[R]:
        """Yield the results; nothing is submitted before the first is asked for.

        Leaving the loop early, or an exception, stops what has not run.

        Args:
            *inputs: one iterable per parameter, as for the built-in `map`; infinite ones are fine.
            ordered: results in the order of the inputs, else as they come.
            return_exceptions: yield a call's exception instead of raising it.
            window: most inputs in progress (default 16,384, growing from 1,024).

        Raises:
            InvalidJob: the function or an input cannot be sent to another machine.
            Exception: of the first call in the order of results that raised.
        """
        return self._function.client().map(self._calls(inputs), ordered, return_exceptions, window)

    async def aio(
        self,
        *inputs: Iterable[Any] | AsyncIterable[Any],
        ordered: bool = True,
        return_exceptions: bool = False,
        window: int | None = None,
    ) -> AsyncIterator[R]:
        """Yield the results on the caller's own event loop; a single input may be an asynchronous iterable."""
        there = await asyncio.to_thread(self._function.client)
        calls: Iterable[tuple[Any, ...]] | AsyncIterable[tuple[Any, ...]]
        if len(inputs) == 1 and isinstance(inputs[0], AsyncIterable):
            calls = self._async_calls(inputs[0])
        else:
            calls = self._calls(inputs)  # type: ignore[arg-type]  # several asynchronous ones fail in zip, by name
        async for value in there.amap(calls, ordered, return_exceptions, window):
            yield value

    def _calls(self, inputs: tuple[Iterable[Any], ...]) -> Iterable[tuple[Any, ...]]:
        if not self._star:
            return zip(*inputs, strict=False)
        if len(inputs) != 1:
            raise InvalidJob(
                f"starmap takes one iterable of tuples, not {len(inputs)}; use map for several iterables"
            )
        return (tuple(arguments) for arguments in inputs[0])

    async def _async_calls(self, inputs: AsyncIterable[Any]) -> AsyncIterator[tuple[Any, ...]]:
        async for item in inputs:
            yield tuple(item) if self._star else (item,)


def _requirements(requires: Iterable[Any]) -> tuple[str, ...]:
    if isinstance(requires, str):
        raise InvalidJob(
            f"requires is the text {requires!r}; expected a list such as ['numpy>=2']", field="requires"
        )
    found = tuple(requires)
    for line in found:
        if not isinstance(line, str) or not line.strip():
            raise InvalidJob(
                f"requires has {line!r}; expected requirements such as 'numpy>=2'", field="requires"
            )
    return found
