"""The serving executor: replicas run here, everything else at the executor beside it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

from farlane.domain.failures import FailureKind
from farlane.domain.served import Served
from farlane.errors import (
    ConnectionLost,
    Corrupted,
    DiskFull,
    FarlaneError,
    InvalidInput,
    PermissionRefused,
    Unavailable,
)
from farlane.kit.tasks import TaskSupervisor
from farlane.node.executors.port import (
    Answered,
    Bundle,
    Execution,
    Executor,
    Failed,
    Finished,
    OnEvents,
    Output,
    ServeCall,
    Started,
)
from farlane.node.replicas.port import HubChannel, Replica, ReplicaHost, ReplicaShare
from farlane.node.replicas.stream import NodeProof, ReplicaStream
from farlane.node.replicas.watching import ProcessWatch

log = logging.getLogger(__name__)

ANSWER_S = 10.0
"""How long a replica that is stopped may still answer what it has."""
PROBE_S = 0.5
"""How often its process is looked at."""


class ServingExecutor:
    """Runs the replicas of a node; implements the `Executor` port.

    Args:
        beside: runs functions and commands.
        host: obtains models and runs their processes.
        hub: the way to the hub.
        proof: who the node is.
        on_events: see `port.OnEvents`.
    """

    def __init__(
        self, beside: Executor, host: ReplicaHost, hub: HubChannel, proof: NodeProof, on_events: OnEvents
    ) -> None:
        self._beside, self._host, self._hub, self._proof = beside, host, hub, proof
        self._on_events = on_events
        self._replicas: dict[int, asyncio.Task[None]] = {}
        self._tasks = contextlib.AsyncExitStack()
        self._supervisor: TaskSupervisor | None = None

    async def start(self) -> None:
        """See `Executor.start`."""
        await self._beside.start()
        self._supervisor = await self._tasks.enter_async_context(TaskSupervisor("replicas"))

    def submit(self, bundle: Bundle) -> None:
        """See `Executor.submit`."""
        if not bundle.executions or not isinstance(bundle.executions[0].call, ServeCall):
            self._beside.submit(bundle)
            return
        if self._supervisor is None:
            raise Unavailable("the executor is not running: call start() first, and nothing after close()")
        for execution in bundle.executions:
            work = self._run(execution, execution.call, bundle.gpus)  # type: ignore[arg-type]  # all of a kind
            self._replicas[execution.ticket] = self._supervisor.start(
                work, f"replica {execution.ticket}", optional=True
            )

    def cancel(self, ticket: int) -> None:
        """See `Executor.cancel`."""
        running = self._replicas.get(ticket)
        if running is None:
            self._beside.cancel(ticket)
        else:
            running.cancel()

    def release(self, ticket: int) -> None:
        """See `Executor.release`; replicas leave no files."""
        self._beside.release(ticket)

    async def close(self) -> None:
        """See `Executor.close`."""
        self._supervisor = None
        try:
            await self._tasks.aclose()
        finally:
            await self._beside.close()

    async def _run(self, execution: Execution, call: ServeCall, gpus: tuple[int, ...]) -> None:
        """Run one replica from its lease to its end, and report that."""
        watch = ProcessWatch()
        failure = Failed(FailureKind.CANCELLED, "the replica was stopped")
        try:
            failure = await self._serve(execution, call, gpus, watch)
        except asyncio.CancelledError:
            log.info("a replica of %s is stopped", call.deployment)
        except Exception as error:
            log.exception("a replica failed in a way that it should not")
            failure = Failed(FailureKind.LOST, f"the node failed to run the replica: {error}")
        finally:
            del self._replicas[execution.ticket]
            if watch.started_s is None:
                watch.started_s = time.monotonic()
                self._on_events([Started(execution.ticket, watch.started_s)])
            self._on_events([Finished(execution.ticket, failure, watch.usage())])

    async def _serve(
        self, execution: Execution, call: ServeCall, gpus: tuple[int, ...], watch: ProcessWatch
    ) -> Failed:
        def print_out(data: bytes) -> None:
            self._on_events([Output(execution.ticket, "stderr", data)])

        share = ReplicaShare(max(1, -(-call.cpu_milli // 1000)), execution.memory_bytes, gpus)
        async with contextlib.AsyncExitStack() as stack:
            try:
                folder = await stack.enter_async_context(self._host.obtained(call.version))
            except FarlaneError as error:
                return _unobtained(call, error)
            watch.started_s = time.monotonic()
            self._on_events([Started(execution.ticket, watch.started_s)])
            try:
                started = self._host.started(folder, call, share, print_out)
                replica = await stack.enter_async_context(started)
            except FarlaneError as error:
                return _unstarted(error)
            watch.pid = replica.pid
            print_out(f"serving {call.version} with {replica.description.runtime}\n".encode())
            return await self._answer(execution, call, replica, watch)

    async def _answer(
        self, execution: Execution, call: ServeCall, replica: Replica, watch: ProcessWatch
    ) -> Failed:
        """Carry requests until the process ends, its time is over, or this task is cancelled."""

        def on_served(served: Served) -> None:
            self._on_events([Answered(execution.ticket, served)])

        stream = ReplicaStream(replica, call, self._proof, self._hub, on_served)
        async with _answering(stream):
            ended = asyncio.ensure_future(replica.ended())
            try:
                while not ended.done():
                    await asyncio.wait([ended], timeout=PROBE_S)
                    watch.look()
                    if execution.timeout_s and watch.wall_s() > execution.timeout_s:
                        return Failed(
                            FailureKind.TIMEOUT,
                            f"the replica reached its time limit of {execution.timeout_s:g} s",
                        )
                return _died(ended.result(), watch.peak_bytes, execution.memory_bytes)
            finally:
                ended.cancel()


@contextlib.asynccontextmanager
async def _answering(stream: ReplicaStream) -> AsyncIterator[None]:
    """Keep a stream inside the block; when the block is cancelled, what was asked is answered first."""
    async with TaskSupervisor("replica") as tasks:
        tasks.start(stream.run(), "replica stream")
        try:
            yield
        except asyncio.CancelledError:
            await stream.answered(ANSWER_S)
            raise


def _unobtained(call: ServeCall, error: FarlaneError) -> Failed:
    message = f"model version {call.version} could not be brought to the node: {error.message}"
    if isinstance(error, DiskFull):
        return Failed(FailureKind.REFUSED, message)
    if isinstance(error, InvalidInput | Corrupted | PermissionRefused):
        return Failed(FailureKind.ENVIRONMENT, message)
    return Failed(FailureKind.BLOB, message)


def _unstarted(error: FarlaneError) -> Failed:
    message = f"the model could not be started: {error.message}"
    if isinstance(error, ConnectionLost):
        return Failed(_exit_kind(error), message)
    if isinstance(error, Unavailable):
        return Failed(FailureKind.REFUSED, message)
    return Failed(FailureKind.ENVIRONMENT, message)


def _died(error: FarlaneError, peak_bytes: int, memory_bytes: int) -> Failed:
    kind = _exit_kind(error)
    if kind is FailureKind.SIGNAL and memory_bytes and peak_bytes >= memory_bytes:
        kind = FailureKind.MEMORY
    return Failed(kind, error.message)


def _exit_kind(error: FarlaneError) -> FailureKind:
    code = error.facts.get("exit_code")
    return FailureKind.SIGNAL if isinstance(code, int) and code < 0 else FailureKind.WORKER_EXIT
