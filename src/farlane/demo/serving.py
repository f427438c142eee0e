"""The demo's served model: the sentence encoder answers over HTTP while a fine-tuned version takes its place."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from farlane.app.layout import Layout
from farlane.app.model_repository import open_repository
from farlane.demo.embedding import installed_model_folder
from farlane.demo.own_loop import run_apart
from farlane.demo.traffic import Traffic
from farlane.domain.deployments import Deployment, DeploymentState
from farlane.domain.resources import Resources
from farlane.domain.units import seconds_text
from farlane.errors import Internal
from farlane.models.adding import Added, Description, add
from farlane.models.deltas import make_all
from farlane.models.manifest.values import Parent, Relation
from farlane.sdk.client import AsyncClient
from farlane.sdk.context import Endpoint
from farlane.sdk.deployments import DeploymentClient
from farlane.wire.deployments import DeploymentStatus

MODEL, ALIAS = "demo/minilm", "champion"
TUNED_LAYER = "encoder.layer.5."
CALLERS = 2
QUESTION = "Mr. Darcy proposes"
READY_S = 90.0
POLL_S = 0.1


def models_directory(directory: Path) -> Path:
    """Return where the demo's hub keeps its models."""
    return directory / "published"


def serve_and_update(directory: Path, endpoint: Endpoint, traffic: Traffic) -> None:
    """Publish the encoder, serve it, move it to another version under load, and back; print what that took.

    Raises:
        Internal: a request failed, or a version did not come up.
    """
    run_apart(_serve_and_update(directory, endpoint, traffic))


async def _serve_and_update(directory: Path, endpoint: Endpoint, traffic: Traffic) -> None:
    print()
    with open_repository(models_directory(directory)) as repository:
        first = await asyncio.to_thread(add, repository, installed_model_folder(), MODEL)
        repository.catalog.move(MODEL, ALIAS, first.version.manifest)
        print(f"  {MODEL}@{ALIAS}: {first.size_bytes / 1e6:.1f} MB published")
        async with AsyncClient(endpoint.url, endpoint.token) as client:
            deployments = DeploymentClient(client.connection)
            await _step("served", traffic, deployments, first, deployments.deploy(_wanted()))
            with _fine_tuned() as folder:
                parents = (Parent(cid=first.version.manifest, relation=Relation.FINETUNE),)
                second = await asyncio.to_thread(add, repository, folder, MODEL, Description(parents=parents))
            await asyncio.to_thread(make_all, repository, second.version, second.manifest)
            calls = Calls(Layout(directory), endpoint.token)
            with calls.going_on():
                for version, what in ((second, "fine-tuned version answers"), (first, "rollback answers")):
                    move = asyncio.to_thread(repository.catalog.move, MODEL, ALIAS, version.version.manifest)
                    await _step(what, traffic, deployments, version, move)
            print(f"    {calls.answered} requests meanwhile, {len(calls.failures)} failed")
            await deployments.undeploy("minilm")
    if calls.failures:
        raise Internal(f"a request failed while versions changed: {calls.failures[0]}")


async def _step(
    what: str, traffic: Traffic, deployments: DeploymentClient, version: Added, change: Awaitable[object]
) -> None:
    """Make a change, wait until a version answers, and print how long that took and what it moved."""
    had, began = await asyncio.to_thread(traffic.model_bytes), time.monotonic()
    await change
    await _answered_by(deployments, version.version.manifest.text)
    took = time.monotonic() - began
    moved = await asyncio.to_thread(traffic.model_bytes) - had
    print(f"    {what} after {seconds_text(took)}, {moved / 1e6:.1f} MB sent")


def _wanted() -> Deployment:
    resources = Resources(cpu_milli=500, memory_bytes=480 << 20, disk_bytes=100 << 20)
    return Deployment(name="minilm", model=f"{MODEL}@{ALIAS}", resources=resources)


async def _answered_by(deployments: DeploymentClient, version: str) -> None:
    end = time.monotonic() + READY_S
    while True:
        (status,) = await deployments.list("minilm")
        if _ready(status, version):
            return
        if status.state == DeploymentState.FAILED or time.monotonic() > end:
            raise Internal(f"{MODEL} did not come up: {status.reason or status.state}")
        await asyncio.sleep(POLL_S)


def _ready(status: DeploymentStatus, version: str) -> bool:
    return status.state == DeploymentState.READY and status.version == version


@contextmanager
def _fine_tuned() -> Iterator[Path]:
    """Lend a copy of the encoder with its last layer moved a little."""
    from safetensors.numpy import load_file, save_file

    with tempfile.TemporaryDirectory(prefix="farlane-demo-") as name:
        folder = Path(shutil.copytree(installed_model_folder(), Path(name) / "minilm"))
        weights = folder / "model.safetensors"
        tensors = load_file(weights)
        noise = np.random.default_rng(1)
        for key in (key for key in tensors if TUNED_LAYER in key):
            moved = 1 + 0.001 * noise.standard_normal(tensors[key].shape, dtype=np.float32)
            tensors[key] = (tensors[key] * moved).astype(tensors[key].dtype)
        weights.unlink()
        save_file(tensors, weights, metadata={"format": "pt"})
        yield folder


@dataclass(slots=True)
class Calls:
    """Clients that go on asking the hub's gateway."""

    layout: Layout
    token: str
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Ask all through the block."""
        threads = [threading.Thread(target=self._ask_on, daemon=True) for _ in range(CALLERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _ask_on(self) -> None:
        ask = self._asking()
        while not self._over.is_set():
            try:
                ask()
            except OSError as error:
                self.failures.append(str(error))
            else:
                self.answered += 1

    def _asking(self) -> Callable[[], Any]:
        port = json.loads(self.layout.ready.read_text())["gateway_port"]
        body = json.dumps({"model": "minilm", "input": QUESTION}).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/embeddings", body, headers)

        def ask() -> Any:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return json.load(reply)["data"][0]["embedding"]

        return ask
