"""What a publisher has a node do in a direct call, a command or a function, and what came of it."""

from __future__ import annotations

import pickle
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from farlane.domain.failures import Failure, FailureKind
from farlane.domain.jobs import BlobRef, CommandWork, FunctionWork, InputFile, JobSpec
from farlane.domain.resources import Resources
from farlane.errors import InvalidJob, PermissionRefused, TaskError
from farlane.kit.cid import cid_of
from farlane.ledger.accounts import Address
from farlane.ledger.leaf import Leaf
from farlane.ledger.receipt import Receipt
from farlane.sdk.functions import Function
from farlane.sdk.outcomes import RemoteTraceback, original_exception
from farlane.sdk.pickling import pickle_call, pickle_function
from farlane.sdk.unpicklable import unpicklable_argument, unpicklable_function

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
DEFAULT_TIMEOUT_S = 600.0
Trust = Callable[[Address], bool]
"""Whether results of the node of this key may be unpickled here, in the caller's own process."""
_EXIT_CODE = re.compile(r"exit code (\d+)")


def trust_nobody(node: Address) -> bool:
    """Trust no node: anybody may register one, and unpickling runs whatever the pickle says."""
    return False


@dataclass(frozen=True, slots=True)
class DirectTask:
    """One task: its specification, and what comes with it (a command's files by path, or a function's pickles)."""

    spec: JobSpec
    inputs: Mapping[str, bytes] = field(default_factory=dict)
    function: bytes = b""
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class DirectRun:
    """What came of one task: its files, prints or pickled value, or why it failed; and the receipt.

    trust: whether `result` may unpickle what comes from the node of this key.
    """

    outputs: Mapping[str, bytes]
    stdout: bytes
    stderr: bytes
    value: bytes
    failure: Failure | None
    leaf: Leaf
    receipt: Receipt
    trust: Trust = trust_nobody

    @property
    def node(self) -> Address:
        """The key of the node that did it."""
        return self.receipt.delegation.key

    @property
    def exit_code(self) -> int:
        """What a shell would say: the command's exit code, 1 where it failed in another way, 0 where it did not."""
        if self.failure is None:
            return 0
        found = _EXIT_CODE.search(self.failure.message)
        if self.failure.kind is not FailureKind.EXIT_CODE or found is None:
            return 1
        return int(found[1]) or 1

    def result(self, trust: Trust | None = None) -> Any:
        """Unpickle what a function returned; `value` has it raw.

        Args:
            trust: in place of the one it came with.

        Raises:
            PermissionRefused: the node is not trusted, so nothing of it is opened.
            TaskError: it failed without an exception that can be raised here, or the value cannot be opened.
            Exception: what the function raised, with its `RemoteTraceback` as cause.
        """
        trusted = (trust or self.trust)(self.node)
        if self.failure is not None:
            raise _error_of(self.failure, trusted)
        if not trusted:
            raise PermissionRefused(
                f"the value comes from node {self.node}, which is not trusted, and opening it would run its code here: "
                "read the raw bytes in `value`, or pass a `trust` that says yes to this key",
                node=self.node,
            )
        try:
            return pickle.loads(self.value)
        except Exception as error:
            raise TaskError(
                f"the value cannot be opened here: {type(error).__name__}: {error}. Install here what it is made of, "
                "or return plain values",
                failure=FailureKind.RESULT_UNPICKLABLE.value,
            ) from error


def command_task(
    run: str,
    *,
    resources: Resources | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    inputs: Mapping[str, bytes] | None = None,
    outputs: tuple[str, ...] = (),
    setup: str = "",
    env: Mapping[str, str] | None = None,
) -> DirectTask:
    """Return a command for a direct call; its price follows from resources and time-out.

    Args:
        run: what the shell runs.
        resources: what it reserves.
        timeout_s: after which it is killed.
        inputs: path -> content of the files it finds in its working directory.
        outputs: paths or globs of the files that come back.
        setup: what runs before it.
        env: variables of both.
    """
    files = tuple(
        InputFile(path, BlobRef(cid_of(content), len(content))) for path, content in (inputs or {}).items()
    )
    command = CommandWork(run, setup, files, outputs)
    return DirectTask(_spec("direct", resources, timeout_s, env, command=command), inputs or {})


def function_task(
    function: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    resources: Resources | None = None,
    timeout_s: float | None = None,
    env: Mapping[str, str] | None = None,
) -> DirectTask:
    """Return one call of a Python function for a direct call.

    What was decorated by `App.function` keeps its resources, time-out and environment where none are given here.

    Raises:
        InvalidJob: the function or an argument cannot be sent to another machine, or it needs packages installed.
    """
    name = getattr(function, "__qualname__", None) or type(function).__name__
    if isinstance(function, Function):
        given, name, function = function.options, function.name, function.function
        if given.requires:
            raise InvalidJob(
                f"function {name!r} has `requires`; direct calls install no packages: call a node that has them, "
                "without `requires`, or use a hub"
            )
        resources = resources or given.resources
        timeout_s = given.timeout_ms / 1000 if timeout_s is None else timeout_s
        env = dict(given.env) if env is None else env
    code, payload = _pickled(function, name, args, dict(kwargs or {}))
    work = FunctionWork(BlobRef(cid_of(code), len(code)), PYTHON, name)
    duration_s = DEFAULT_TIMEOUT_S if timeout_s is None else timeout_s
    spec = _spec(name[:200], resources, duration_s, env, function=work)
    return DirectTask(spec, function=code, payload=payload)


def _pickled(
    function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[bytes, bytes]:
    try:
        code = pickle_function(function)
    except Exception as error:
        raise unpicklable_function(function, name, error, pickle_function) from error
    try:
        return code, pickle_call(args, kwargs)
    except Exception as error:
        raise unpicklable_argument(name, args, kwargs, error, pickle_function) from error


def _spec(
    name: str,
    resources: Resources | None,
    timeout_s: float,
    env: Mapping[str, str] | None,
    *,
    command: CommandWork | None = None,
    function: FunctionWork | None = None,
) -> JobSpec:
    return JobSpec(
        name=name,
        command=command,
        function=function,
        resources=resources or Resources(),
        timeout_ms=int(timeout_s * 1000),
        env=tuple((env or {}).items()),
    )


def _error_of(failure: Failure, trusted: bool) -> Exception:
    original = original_exception(failure) if trusted and failure.exception else None
    error: Exception = original or TaskError(
        f"the task ended without a value: {failure.message or failure.kind.value} "
        f"(failure: {failure.kind.value}, blame: {failure.rule.blame.value})",
        failure=failure.kind.value,
        blame=failure.rule.blame.value,
        traceback=failure.traceback,
    )
    if failure.traceback:
        error.__cause__ = RemoteTraceback(failure.traceback)
    return error
