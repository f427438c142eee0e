"""Running one function call in a worker: the only place that opens a stranger's pickles."""

from __future__ import annotations

import errno
import os
import pickle
import traceback as traceback_text
from collections import OrderedDict
from collections.abc import Callable
from types import CoroutineType, TracebackType
from typing import Any, NamedTuple

import cloudpickle

from farlane.node.executors.frames import VALUE, VALUE_FILE, FunctionItem
from farlane.node.executors.port import INLINE_PAYLOAD_BYTES

MAX_MESSAGE_CHARACTERS = 4_000
MAX_TRACEBACK_CHARACTERS = 30_000
_MAX_FUNCTIONS = 64


class Done(NamedTuple):
    """How a call ended: the kind and fields of `frames.Result` that are not measured."""

    kind: str
    payload: bytes = b""
    message: str = ""
    traceback: str = ""


class FunctionRunner:
    """Runs function calls and keeps the functions it has unpickled, by CID.

    Args:
        max_result_bytes: largest pickled result.
    """

    def __init__(self, max_result_bytes: int) -> None:
        self._max_result_bytes = max_result_bytes
        self._functions: OrderedDict[str, Callable[..., Any]] = OrderedDict()

    def run(self, item: FunctionItem) -> Done:
        """Run one call; whatever it raises becomes part of the answer."""
        try:
            pickled_function, payload = self._unread(item), _payload(item)
        except OSError as error:
            return Done("lost", message=f"the node cannot read what it stored for the task: {short(error)}")
        try:
            function = self._function(item, pickled_function)
            arguments, keywords = pickle.loads(payload)
        except BaseException as error:
            return _unreadable(error)
        try:
            value = function(*arguments, **keywords)
            if type(value) is CoroutineType:
                value = _awaited(value)
        except BaseException as error:
            return _raised(error)
        return self._returned(value, item.result_path)

    def _unread(self, item: FunctionItem) -> bytes:
        """Return the pickled function, empty if it is known."""
        if item.function in self._functions:
            return b""
        with open(item.function_path, "rb") as stream:
            return stream.read()

    def _function(self, item: FunctionItem, pickled_function: bytes) -> Callable[..., Any]:
        function = self._functions.get(item.function)
        if function is None:
            function = pickle.loads(pickled_function)
            if not callable(function):
                raise TypeError(
                    f"the pickled function is a {type(function).__name__}, which cannot be called"
                )
            self._functions[item.function] = function
            if len(self._functions) > _MAX_FUNCTIONS:
                self._functions.popitem(last=False)
        return function

    def _returned(self, value: object, path: str) -> Done:
        try:
            payload = pickled(value)
        except MemoryError as error:
            return _raised(error)
        except BaseException as error:
            return Done(
                "result-unpicklable",
                message=f"the function returned a {type(value).__name__} that cannot be pickled ({short(error)}): "
                "return plain data, and make files, locks and connections inside the function",
                traceback=format_traceback(error),
            )
        if len(payload) > self._max_result_bytes:
            return Done(
                "result-too-large",
                message=f"the result is {len(payload)} bytes, at most {self._max_result_bytes} may come back: "
                "return less, or write files and return their names",
            )
        if len(payload) <= INLINE_PAYLOAD_BYTES:
            return Done(VALUE, payload)
        return _stored(payload, path)


def pickled(value: object) -> bytes:
    """Return the pickle of a value, by cloudpickle where the standard one does not suffice.

    The standard pickler is ten times as fast on small values; it refuses exactly what needs cloudpickle (classes and
    functions that this process cannot import).
    """
    try:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError):
        return cloudpickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)  # type: ignore[no-any-return]


def _payload(item: FunctionItem) -> bytes:
    if item.payload is not None:
        return item.payload
    with open(item.payload_path or os.devnull, "rb") as stream:
        return stream.read()


def _awaited(coroutine: CoroutineType[Any, Any, Any]) -> object:
    import asyncio  # only for functions that are async: the zygote never loads it

    return asyncio.run(coroutine)


def _stored(payload: bytes, path: str) -> Done:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb", buffering=0) as stream:
            rest = memoryview(payload)
            while rest:
                rest = rest[stream.write(rest) :]
    except OSError as error:
        return Done("disk", message=f"the result of {len(payload)} bytes cannot be stored: {error.strerror}")
    return Done(VALUE_FILE)


def _unreadable(error: BaseException) -> Done:
    if isinstance(error, MemoryError):
        return _raised(error)
    advice = "the pickled function or its arguments cannot be opened on the node"
    if isinstance(error, ModuleNotFoundError):
        advice += f"; name the package of {error.name!r} in requires=[...]"
    return Done("bad-payload", message=f"{advice}: {short(error)}", traceback=format_traceback(error))


def _raised(error: BaseException) -> Done:
    text = format_traceback(error)
    if isinstance(error, SystemExit):
        return Done("worker-exit", message=f"the function called sys.exit({error.code!r})", traceback=text)
    if isinstance(error, MemoryError):
        return Done("memory", message=short(error), traceback=text)
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return Done(
            "disk", message=f"a file would have passed the task's disk limit ({short(error)})", traceback=text
        )
    return Done("exception", _pickled_exception(error), short(error), text)


def _pickled_exception(error: BaseException) -> bytes:
    # Many exceptions can be pickled but not opened again (an __init__ with other arguments): try both here.
    try:
        payload = pickled(error)
        pickle.loads(payload)
    except BaseException:
        return b""
    return payload if len(payload) <= INLINE_PAYLOAD_BYTES else b""


def short(error: BaseException) -> str:
    """Return `Type: message` of an exception, cut to a sane length; a broken `__str__` does no harm."""
    try:
        text = str(error)
    except Exception:
        text = "(its message cannot be read)"
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:MAX_MESSAGE_CHARACTERS]


def format_traceback(error: BaseException) -> str:
    """Return the traceback as Python prints it, without this file's own frames, cut in the middle if huge."""
    try:
        lines = traceback_text.format_exception(type(error), error, _below(error.__traceback__))
    except Exception:
        return short(error)
    text = "".join(lines)
    if len(text) <= MAX_TRACEBACK_CHARACTERS:
        return text
    half = MAX_TRACEBACK_CHARACTERS // 2
    return f"{text[:half]}\n... cut ...\n{text[-half:]}"


def _below(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace
