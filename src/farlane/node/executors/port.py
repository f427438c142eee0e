"""The executor port: bundles of executions go in, events come out; every executor speaks exactly this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from farlane.domain.failures import FailureKind
from farlane.domain.ids import TaskId
from farlane.domain.served import Served

INLINE_PAYLOAD_BYTES = 64 * 1024
"""A result up to this size travels in its event; a larger one lies in a file of the scratch directory."""


@dataclass(frozen=True, slots=True)
class PoolKey:
    """Whose work a worker process serves for its whole life: it is never shared between two keys.

    `environment` is the lock hash of the packages the work needs, or "" for none.
    """

    publisher: str
    environment: str = ""


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """One call of a Python function; only the worker ever opens these pickles.

    Attributes:
        function: CID of the pickled callable, the key of the worker's cache.
        function_path: file with the cloudpickle bytes of the callable.
        payload: cloudpickle bytes of `(args, kwargs)`, or None if they lie in `payload_path`.
        payload_path: file with those bytes, or None.
    """

    function: str
    function_path: str
    payload: bytes | None
    payload_path: str | None = None


@dataclass(frozen=True, slots=True)
class CommandCall:
    """One shell script, run by `bash -c` (or `sh -c`) in a fresh working directory.

    Attributes:
        script: what runs; its exit code is the result.
        setup: what runs before it, in a shell of its own ("" for nothing); a failure is the environment's.
        env: variables for both, over those of the execution.
        inputs: (relative path in the working directory, file to copy there). Copies: the script may change them.
        outputs: relative paths or globs of the files to keep.
    """

    script: str
    setup: str = ""
    env: tuple[tuple[str, str], ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServeCall:
    """One replica of a served model, which runs until it is cancelled.

    Attributes:
        version: CID of the model's version.
        deployment: which deployment it belongs to.
        runtime: that must serve it, "" for whatever can.
        options: of the runtime.
        cpu_milli: thousandths of a core it may use.
        task: whose attempt it is.
        attempt: its number.
        epoch: of the hub's store that leased it.
    """

    version: str
    deployment: str
    runtime: str
    options: tuple[tuple[str, str], ...]
    cpu_milli: int
    task: TaskId
    attempt: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Execution:
    """One attempt to run one task.

    Attributes:
        ticket: the caller's number for it, used once in an executor's life (scratch files bear it).
        call: what to run.
        timeout_s: wall time from its own start, after which it is killed; 0 means no limit.
        memory_bytes: memory of its whole process tree, beyond which it is killed; 0 means no limit.
        disk_bytes: bytes it may keep in its scratch directory; 0 means no limit.
        env: environment variables of the task.
        index: the task's number in its job, given to it as FARLANE_TASK_INDEX.
    """

    ticket: int
    call: FunctionCall | CommandCall | ServeCall
    timeout_s: float
    memory_bytes: int = 0
    disk_bytes: int = 0
    env: tuple[tuple[str, str], ...] = ()
    index: int = 0


@dataclass(frozen=True, slots=True)
class Bundle:
    """Like tasks that one worker runs one after another in one slot.

    Attributes:
        pool: whose worker may run them.
        site_path: directory with the environment's packages, first on `sys.path`; None for none.
        gpus: indices of the devices they may see (CUDA_VISIBLE_DEVICES).
        executions: at least one.
    """

    pool: PoolKey
    site_path: str | None
    gpus: tuple[int, ...]
    executions: tuple[Execution, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """What one execution used: CPU seconds of all its threads and processes, wall seconds, peak memory.

    `peak_memory_bytes` is None where the system cannot tell.
    """

    cpu_s: float
    wall_s: float
    peak_memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Value:
    """A function returned: its pickled result, in `payload` or in the file `payload_path`."""

    payload: bytes | None
    payload_path: str | None = None


class OutputFile(NamedTuple):
    """One collected output: its path as the job names it, where it lies now, and its size."""

    path: str
    file: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class CommandResult:
    """A script exited with 0; any other code is a `Failed` of kind `exit-code`."""

    exit_code: int
    outputs: tuple[OutputFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """An execution ended without a result; `exception` is the cloudpickled exception where it can be pickled."""

    kind: FailureKind
    message: str
    traceback: str = ""
    exception: bytes | None = None


Outcome = Value | CommandResult | Failed


@dataclass(frozen=True, slots=True)
class Started:
    """An execution began, at this reading of the monotonic clock. Comes once, before everything else of it."""

    ticket: int
    at_s: float


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes an execution wrote to `stdout` or `stderr`; they come while it runs and all before its end."""

    ticket: int
    stream: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of an execution."""

    ticket: int
    outcome: Outcome
    usage: Usage


@dataclass(frozen=True, slots=True)
class Answered:
    """A replica has ended a request; they come while it runs and all before its end."""

    ticket: int
    served: Served


Event = Started | Output | Answered | Finished
OnEvents = Callable[[list[Event]], None]
"""Called on the asyncio loop with one or more events, in the order in which they happened."""


class Executor(Protocol):
    """Runs bundles and reports each execution's events to the `OnEvents` it was made with."""

    async def start(self) -> None:
        """Make ready to run.

        Raises:
            Unavailable: if nothing can run here; the message says why.
        """

    def submit(self, bundle: Bundle) -> None:
        """Take a bundle; never blocks. Each execution ends with exactly one `Finished`.

        Raises:
            InvalidInput: an empty bundle, or a ticket that is already here.
            Unavailable: before `start` or after `close`.
        """

    def cancel(self, ticket: int) -> None:
        """End one execution wherever it is: `Finished` of kind `cancelled` follows. Unknown tickets are ignored."""

    def release(self, ticket: int) -> None:
        """Say that the files of a finished execution were taken: its scratch files may go."""

    async def close(self) -> None:
        """End everything that runs (as `cancelled`) and leave no process and no scratch file behind."""
