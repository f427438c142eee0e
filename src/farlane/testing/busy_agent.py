"""A whole node at work for a scripted hub: how tests run it, lease it functions, and take what comes of them."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import cloudpickle

from farlane.domain.jobs import FunctionWork, JobSpec
from farlane.domain.resources import Resources
from farlane.node.agent import NodeAgent
from farlane.node.settings import NodeSettings
from farlane.testing.scripted_hub import ORGANISATION, NodeStream, ScriptedHub

MIB = 1 << 20
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@contextlib.asynccontextmanager
async def running(settings: NodeSettings, hub: ScriptedHub) -> AsyncIterator[NodeAgent]:
    """Run a node while the block runs."""
    agent = NodeAgent(settings, hub.url, hub.token())
    work = asyncio.create_task(agent.run())
    try:
        yield agent
    finally:
        agent.stop()
        await work


def function_job(hub: ScriptedHub, called: Callable[..., object], **changes: object) -> JobSpec:
    """Return a job of a function, whose blob the hub has."""
    work = FunctionWork(hub.put(cloudpickle.dumps(called)), PYTHON, "f")
    spec = JobSpec(
        name="job",
        function=work,
        resources=Resources(1000, 256 * MIB, 0),
        timeout_ms=20_000,
        organisation=ORGANISATION,
        publisher="ada",
    )
    return replace(spec, **changes)  # type: ignore[arg-type]


def call(*args: object) -> bytes:
    """Return the payload of a call."""
    return bytes(cloudpickle.dumps((args, {})))


async def kinds_until_farewell(stream: NodeStream) -> AsyncIterator[str]:
    """Yield what the node says before its farewell."""
    while (kind := await stream.next_kind()) != "farewell":
        assert kind is not None, "the stream ended without a farewell"
        yield kind


async def only_result(stream: NodeStream) -> tuple[int, bytes, str, str]:
    """Return state, result and the failure's kind and message of the only task."""
    ((state, result, failure),) = (await stream.results(1)).values()
    return state, result, *((failure.kind, failure.message) if failure is not None else ("", ""))
