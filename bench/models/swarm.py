"""From a publisher's disk to replicas on eight nodes, and on to its next version and back, under load.

A real hub and eight real nodes, each a process that joined as another machine would: with a directory, a model cache
and a block server of its own. All of them share this machine's cores.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.models.real import MINILM, installed, write_tuned
from farlane.app.layout import Layout
from farlane.app.model_repository import MODELS_DIRECTORY, open_repository
from farlane.app.network import Running, down, up
from farlane.app.node_process import TOKEN_VARIABLE
from farlane.demo.serving import Calls
from farlane.domain.deployments import Deployment, DeploymentState, ReplicaState, ScalePolicy, UpdatePolicy
from farlane.domain.resources import Resources
from farlane.models.adding import Added, Description, add
from farlane.models.deltas import make_all
from farlane.models.manifest.values import Parent, Relation
from farlane.models.repository import Repository
from farlane.sdk.client import AsyncClient
from farlane.sdk.context import Endpoint, read_client_file
from farlane.sdk.deployments import DeploymentClient
from farlane.wire.deployments import DeploymentStatus

NODES = 8
MODEL, ALIAS, NAME = "bench/minilm", "champion", "minilm"
COLD, UPDATE, ROLLBACK = "cold, 91.6 MB", "one layer of six tuned, 7.1 MB", "rollback"
GOALS_S = {COLD: 3.0, UPDATE: 1.0, ROLLBACK: 0.5}
"""The most seconds, from the start of publishing, until all serve; the hub is to send 1.3 times the model at most."""
READY_S = 180.0
POLL_S = 0.02
_FROM_HUB = re.compile(r'^farlane_node_model_bytes_total\{source="hub"\} (\S+)', re.MULTILINE)


class Step(NamedTuple):
    """One step. publish_s: until the version is in the hub's repository, with its delta; first_s and all_s: from there
    until one replica and until all serve it; origin_bytes: that the hub sent to nodes; failed: of so many requests."""

    what: str
    publish_s: float
    first_s: float
    all_s: float
    origin_bytes: int
    requests: int
    failed: int


class Nodes:
    """Nodes that joined, and where their metrics are."""

    def __init__(self, directory: Path, running: Running, count: int) -> None:
        self._ports = free_ports(count)
        self._processes = [
            self._start(directory / f"node-{number}", running, port)
            for number, port in enumerate(self._ports)
        ]

    def origin_bytes(self) -> int:
        """Return how many bytes of models all nodes together had from the hub."""
        return sum(bytes_from_hub(_metrics(port)) for port in self._ports)

    def stop(self) -> None:
        """End all."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(60)

    def _start(self, directory: Path, running: Running, port: int) -> subprocess.Popen[bytes]:
        settings = {
            "cpu": "1",
            "memory": "2GiB",
            "blocks_listen": "127.0.0.1:0",
            "metrics_port": str(port),
            "drain_timeout_s": "2",
        }
        given = [text for name, value in settings.items() for text in ("--set", f"node.{name}={value}")]
        command = [sys.executable, "-m", "farlane.cli.main", "join", running.url, "--name", directory.name]
        with directory.with_suffix(".log").open("wb") as output:
            return subprocess.Popen(
                [*command, "--dir", str(directory), *given],
                env={**os.environ, TOKEN_VARIABLE: running.join_token},
                stdout=output,
                stderr=subprocess.STDOUT,
            )


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody has at present."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(one.getsockname()[1]) for one in sockets]


def run(directory: Path, nodes: int = NODES) -> Iterator[Step]:
    """Yield the steps as they are done."""
    root = directory / "net"
    running = up(root, [], port=0)
    try:
        joined = Nodes(directory, running, nodes)
        try:
            with open_repository(root / MODELS_DIRECTORY) as repository, asyncio.Runner() as runner:
                yield from _Bench(directory, root, repository, joined, nodes, runner).steps()
        finally:
            joined.stop()
    finally:
        down(root)


class _Bench:
    def __init__(
        self, directory: Path, root: Path, repository: Repository, joined: Nodes, count: int, runner: asyncio.Runner
    ) -> None:  # fmt: skip
        self._directory, self._root, self._repository = directory, root, repository
        self._joined, self._count, self._runner = joined, count, runner
        self._endpoint: Endpoint = read_client_file(root)

    def steps(self) -> Iterator[Step]:
        self._runner.run(self._nodes_up())
        first, step = self._first()
        yield step
        calls = Calls(Layout(self._root), self._endpoint.token)
        with calls.going_on():
            second, step = self._update(first, calls)
            yield step
            yield self._move(ROLLBACK, first, 0.0, calls)
            yield self._move("forward again", second, 0.0, calls)

    def _first(self) -> tuple[Added, Step]:
        source = installed(*MINILM).parent
        began = time.perf_counter()
        added = add(self._repository, source, MODEL)
        self._repository.catalog.move(MODEL, ALIAS, added.version.manifest)
        publish_s = time.perf_counter() - began
        resources = Resources(cpu_milli=200, memory_bytes=700 << 20, disk_bytes=300 << 20)
        wanted = Deployment(
            name=NAME, model=f"{MODEL}@{ALIAS}", resources=resources,
            scale=ScalePolicy(min_replicas=self._count, max_replicas=self._count),
            update=UpdatePolicy(max_surge=self._count),
        )  # fmt: skip
        began = time.perf_counter()
        self._runner.run(self._deploy(wanted))
        first_s, all_s = self._runner.run(self._served(added, began))
        return added, Step(COLD, publish_s, first_s, all_s, self._joined.origin_bytes(), 0, 0)

    def _update(self, first: Added, calls: Calls) -> tuple[Added, Step]:
        folder = Path(shutil.copytree(installed(*MINILM).parent, self._directory / "tuned"))
        (folder / "model.safetensors").unlink()
        write_tuned(installed(*MINILM), folder / "model.safetensors", lambda name: ".layer.5." in name, 0.001)
        began = time.perf_counter()
        parents = (Parent(cid=first.version.manifest, relation=Relation.FINETUNE),)
        second = add(self._repository, folder, MODEL, Description(parents=parents))
        make_all(self._repository, second.version, second.manifest)
        publish_s = time.perf_counter() - began
        return second, self._move(UPDATE, second, publish_s, calls)

    def _move(self, what: str, to: Added, publish_s: float, calls: Calls) -> Step:
        had, answered, failed = self._joined.origin_bytes(), calls.answered, len(calls.failures)
        began = time.perf_counter()
        self._repository.catalog.move(MODEL, ALIAS, to.version.manifest)
        first_s, all_s = self._runner.run(self._served(to, began))
        new = len(calls.failures) - failed
        return Step(
            what, publish_s, first_s, all_s, self._joined.origin_bytes() - had, calls.answered - answered + new, new
        )  # fmt: skip

    async def _nodes_up(self) -> None:
        async with AsyncClient(self._endpoint.url, self._endpoint.token) as client:
            end = time.monotonic() + READY_S
            while sum(node.state == "online" for node in await client.nodes()) < self._count:
                if time.monotonic() > end:
                    raise SystemExit(f"not all nodes joined: see {self._directory}/node-*.log")
                await asyncio.sleep(POLL_S)

    async def _deploy(self, wanted: Deployment) -> None:
        async with AsyncClient(self._endpoint.url, self._endpoint.token) as client:
            await DeploymentClient(client.connection).deploy(wanted)

    async def _served(self, added: Added, began: float) -> tuple[float, float]:
        """Return the seconds since `began` until one replica, and until all and no others, serve a version."""
        version, first_s = added.version.manifest.text, 0.0
        async with AsyncClient(self._endpoint.url, self._endpoint.token) as client:
            deployments = DeploymentClient(client.connection)
            while True:
                (status,) = await deployments.list(NAME)
                now_s = time.perf_counter() - began
                ready = _ready(status, version)
                first_s = first_s or (now_s if ready else 0.0)
                if ready >= self._count and status.version == version:
                    return first_s, now_s
                if status.state == DeploymentState.FAILED or now_s > READY_S:
                    raise SystemExit(
                        f"{MODEL} was not served: {status.reason or status.state}, {ready} replicas"
                    )
                await asyncio.sleep(POLL_S)


def _ready(status: DeploymentStatus, version: str) -> int:
    return sum(one.version == version and one.state == ReplicaState.READY for one in status.replicas)


def _metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        return str(reply.read(), "utf-8")


def bytes_from_hub(metrics: str) -> int:
    """Return the bytes of models that a node had from the hub, out of its metrics; 0 while it had none."""
    found = _FROM_HUB.search(metrics)
    return int(float(found[1])) if found else 0
