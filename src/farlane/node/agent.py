"""The agent: one node from its start to its farewell."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from farlane.domain.jobs import MAX_RESULT_BYTES
from farlane.domain.nodes import SERVES, NodeSpec
from farlane.errors import FarlaneError, Unavailable
from farlane.kit.clock import Clock, SystemClock
from farlane.kit.file_lock import FileLock
from farlane.kit.files import private_directory
from farlane.kit.tasks import TaskSupervisor
from farlane.models.private.recipients import recipient_key
from farlane.node.books.opening import OpenedBooks, open_books
from farlane.node.direct.beside import DirectPlan, plan_direct, serve_beside
from farlane.node.executors.port import Event, Executor, OnEvents
from farlane.node.executors.process_executor import ProcessExecutor
from farlane.node.executors.settings import ProcessExecutorSettings
from farlane.node.identity import NodeIdentity, load_identity
from farlane.node.live import INCOMING, LiveNode
from farlane.node.metering import MetricsServer, Reading
from farlane.node.offer import Devices, labels_of, offer_of
from farlane.node.probe import ProbeSettings, probe
from farlane.node.replicas.executor import ServingExecutor
from farlane.node.replicas.opening import OPENED
from farlane.node.replicas.port import ReplicaHost
from farlane.node.replicas.stream import NodeProof
from farlane.node.settings import NodeSettings
from farlane.wire.channel import parse_url
from farlane.wire.tokens import Token

if TYPE_CHECKING:  # it takes numpy along: only for nodes that keep models
    from farlane.node.models.model_cache import ModelCache

log = logging.getLogger(__name__)

MakeExecutor = Callable[[Path, OnEvents], Executor]
"""Makes an executor that keeps its files below a directory."""
TICK_S = 0.5
LAST_WORD_S = 10.0
"""How long the hub may take to accept the last results after a drain has run out of time."""
_LOCK = "node.lock"
_SCRATCH = "scratch"


class NodeAgent:
    """One node. Make it, `run` it; `drain` or `stop` it from the same event loop.

    Args:
        settings: what it offers and where it keeps its data.
        url: `https://host:port` of the hub.
        token: a join token; its organisation is whose work the node runs.
        make_executor: how tasks run; by default as `settings.backend` says.
        host: obtains and runs models; None: this node serves none.
        models: fetches models for the host, and gives them to other nodes; None: the host has them from elsewhere.
        clock: the machine's, by default.

    Raises:
        InvalidInput: the URL is not one.
    """

    def __init__(
        self,
        settings: NodeSettings,
        url: str,
        token: Token,
        *,
        make_executor: MakeExecutor | None = None,
        host: ReplicaHost | None = None,
        models: ModelCache | None = None,
        clock: Clock | None = None,
    ) -> None:
        parse_url(url)
        self._settings, self._url, self._token = settings, url, token
        self._make_executor = make_executor or _process_executor
        self._clock, self._host, self._models = clock or SystemClock(), host, models
        self._held_versions: tuple[str, ...] = ()
        self._stopped = asyncio.Event()
        self._draining = self._at_once = False
        self._leaving = asyncio.Event()
        self._direct: asyncio.Task[None] | None = None
        self._farewell: asyncio.Task[None] | None = None
        self._failure: FarlaneError | None = None
        self._live: LiveNode | None = None
        self._tasks: TaskSupervisor | None = None
        self.metrics_port = 0
        """Where metrics are served; 0 while they are not."""

    async def run(self) -> None:
        """Serve until drained or stopped.

        Raises:
            Conflict: another agent uses the directory.
            InvalidSetting: settings that cannot be offered.
            Unavailable: nothing can run here.
            FarlaneError: the hub refuses this node; see `HubLink.run`.
        """
        directory = private_directory(self._settings.directory)
        with FileLock(directory / _LOCK):
            identity = load_identity(directory)
            whole, everything = await asyncio.to_thread(self._look_around, identity)
            spec, devices, direct = plan_direct(self._settings, whole, everything)
            await asyncio.to_thread(_clear_leftovers, directory)
            books = await asyncio.to_thread(open_books, self._settings, spec.rates, self._clock.now())
            executor = self._make_executor(directory / _SCRATCH, self._on_events)
            if self._host is not None:
                proof = NodeProof(identity.node, identity.secret)
                executor = ServingExecutor(executor, self._host, self, proof, self._on_events)
            try:
                async with self._models_kept(identity):
                    await executor.start()
                    try:
                        async with self._direct_calls(direct, spec, books):
                            live = await self._serve(identity, spec, devices, executor, books)
                    finally:
                        self._live = None
                        await executor.close()
                await self._claim_last(live)
            finally:
                await asyncio.to_thread(books.store.close)
        if self._failure is not None:
            raise self._failure

    def drain(self) -> None:
        """Take nothing new, hand back what has not started, finish what runs, then leave; a second call stops."""
        if self._leaving.is_set() or self._stopped.is_set():
            self._at_once = True
            if self._farewell is not None:
                self._farewell.cancel()
            self.stop()
            return
        self._leaving.set()
        if self._live is None or self._tasks is None or not self._live.link.streams:
            self._stopped.set()  # a node that no hub has ever welcomed holds nothing and owes nobody a word
            return
        self._draining = True
        log.info("draining: running tasks have %.0f s to finish", self._settings.drain_timeout_s)
        self._tasks.start(self._watch_drain(self._live), "drain")
        self._live.drain()

    def stop(self) -> None:
        """End at once: what runs is killed, and the hub gives it to others."""
        if self._leaving.is_set() and self._direct is not None:
            self._direct.cancel()  # else its supervisor does, once
        self._stopped.set()

    async def channel(self) -> grpc.aio.Channel:
        """Wait for a hub that welcomes the node; return the channel to it."""
        if self._live is None:
            raise Unavailable("the node is not up: it starts, or ends")
        return await self._live.link.channel()

    def _on_events(self, reports: list[Event]) -> None:
        # The executor may have a last word while everything closes.
        if self._live is not None:
            self._live.on_events(reports)

    def _look_around(self, identity: NodeIdentity) -> tuple[NodeSpec, Devices]:
        found = probe(ProbeSettings(self._settings.directory, labels_of(self._settings)))
        if found.gpus.problem:
            log.info("GPUs: %s", found.gpus.problem)
        spec, devices = offer_of(self._settings, found, identity, self._token.organisation)
        if self._host is not None:
            served = (SERVES, *(f"{SERVES}.{name}" for name in self._host.runtimes))
            labels = (*spec.labels, *((label, "yes") for label in served))
            key = recipient_key(self._settings.directory)
            spec = replace(spec, labels=labels, recipient=key.recipient.text)
        return spec, devices

    async def _serve(
        self,
        identity: NodeIdentity,
        spec: NodeSpec,
        devices: Devices,
        executor: Executor,
        books: OpenedBooks,
    ) -> LiveNode:
        async with TaskSupervisor("node agent") as tasks:
            live = LiveNode(
                self._settings,
                self._url,
                self._token,
                identity=identity,
                spec=spec,
                devices=devices,
                executor=executor,
                books=books,
                tasks=tasks,
                clock=self._clock,
            )
            self._live, self._tasks = live, tasks
            live.hold_versions(self._held_versions)
            tasks.start(self._tick(live), "tick")
            tasks.start(self._stay_linked(live), "hub link")
            async with self._metrics(live):
                await self._stopped.wait()
            live.close()
        return live

    async def _claim_last(self, live: LiveNode) -> None:
        """Claim what is owed, unless the node was told twice to go."""
        async with TaskSupervisor("farewell") as tasks:
            if not self._at_once:
                self._farewell = tasks.start(live.claim_last(), "last claim", optional=True)
            await tasks.wait()

    @contextlib.asynccontextmanager
    async def _models_kept(self, identity: NodeIdentity) -> AsyncIterator[None]:
        """Fetch models, and give them to others, inside the block."""
        if self._models is None:
            yield
            return
        proof = NodeProof(identity.node, identity.secret)
        async with self._models.running(self, proof, self._hold_versions):
            yield

    def _hold_versions(self, versions: tuple[str, ...]) -> None:
        self._held_versions = versions
        if self._live is not None:
            self._live.hold_versions(versions)

    @contextlib.asynccontextmanager
    async def _direct_calls(
        self, plan: DirectPlan | None, spec: NodeSpec, books: OpenedBooks
    ) -> AsyncIterator[None]:
        """Serve publishers beside the hub; where the node leaves in peace, what runs for them is finished first."""
        async with TaskSupervisor("direct calls") as tasks:
            if plan is not None:
                work = serve_beside(plan, spec, books.key, self._leaving)
                self._direct = tasks.start(work, "direct calls", optional=True)
            yield
            if self._leaving.is_set():
                await tasks.wait()

    async def _stay_linked(self, live: LiveNode) -> None:
        try:
            await live.link.run()
        except FarlaneError as error:
            self._failure = error
        finally:
            self._stopped.set()

    async def _tick(self, live: LiveNode) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            live.tick()

    async def _watch_drain(self, live: LiveNode) -> None:
        await asyncio.sleep(self._settings.drain_timeout_s)
        log.warning("the drain is out of time: what still runs is handed back")
        live.expire_drain()
        await asyncio.sleep(LAST_WORD_S)
        log.warning("the hub has not accepted the last results: leaving without")
        self.stop()

    @contextlib.asynccontextmanager
    async def _metrics(self, live: LiveNode) -> AsyncIterator[None]:
        if not self._settings.metrics_port:
            yield
            return
        loop = asyncio.get_running_loop()

        async def read() -> Reading:
            reading = live.read()
            return reading if self._models is None else replace(reading, models=self._models.read())

        def read_from_thread() -> Reading:
            # On the loop, so that a scrape never sees a state in motion.
            return asyncio.run_coroutine_threadsafe(read(), loop).result(timeout=5.0)

        server = MetricsServer(self._settings.metrics_port, read_from_thread)
        self.metrics_port = server.port
        try:
            yield
        finally:
            # In a thread: a scrape that is under way still needs this loop.
            await asyncio.to_thread(server.close)


async def run_node(
    settings: NodeSettings,
    url: str,
    token: Token,
    host: ReplicaHost | None = None,
    models: ModelCache | None = None,
) -> None:
    """Run a node until it is drained; SIGTERM or SIGINT drains it, a second one ends it at once.

    Raises:
        FarlaneError: see `NodeAgent.run`.
    """
    agent = NodeAgent(settings, url, token, host=host, models=models)
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, agent.drain)
    try:
        await agent.run()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _process_executor(scratch: Path, on_events: OnEvents) -> Executor:
    return ProcessExecutor(ProcessExecutorSettings(scratch, max_result_bytes=MAX_RESULT_BYTES), on_events)


def _clear_leftovers(directory: Path) -> None:
    """Remove what a killed agent left; the lock says that it is gone."""
    for name in (_SCRATCH, INCOMING, OPENED):
        shutil.rmtree(directory / name, ignore_errors=True)
