"""Usage of models: summed as requests end, in the store after a moment, and all of it at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farlane.domain.inference import InferenceKind
from farlane.domain.usage import ModelUsage
from farlane.errors import DiskFull
from farlane.hub.gateway.metrics import GatewayMetrics
from farlane.hub.gateway.port import Caller, Usage
from farlane.testing.running_hub import RunningHub
from farlane.testing.waiting import until

JUNE = ("2025-06-01", "2025-06-30")
AT = 1_750_000_000.0  # 2025-06-15


def usage(outcome: str = "ok", organisation: str = "lab", tokens: int = 3) -> Usage:
    """Return what one request to a model of `lab` used."""
    return Usage(
        request_id="r", caller=Caller(organisation, f"{organisation}/ada", "k"), model="chat", version="bafkv",
        kind=InferenceKind.GENERATION, started=AT, duration_s=1.5, prompt_tokens=2, completion_tokens=tokens,
        request_bytes=100, reply_bytes=200, deployment="lab/chat", project="sweep", outcome=outcome,
    )  # fmt: skip


def row(*figures: int, organisation: str = "lab") -> ModelUsage:
    """Return what the store should have."""
    return ModelUsage("2025-06-15", organisation, "sweep", "lab/chat", "bafkv", *figures)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with RunningHub(tmp_path / "hub") as hub:
        yield hub


async def test_requests_are_summed_and_written_by_themselves(hub: RunningHub) -> None:
    for one in (usage(), usage("InvalidInput", tokens=0), usage("cancelled"), usage(organisation="other")):
        hub.service.model_usage.record(one)
    await until(lambda: len(hub.store.model_usage(*JUNE)) == 2)
    assert hub.store.model_usage(*JUNE) == [
        row(3, 1, 6, 6, 300, 600), row(1, 0, 2, 3, 100, 200, organisation="other"),
    ]  # fmt: skip


async def test_what_was_not_written_yet_is_written_when_the_hub_ends(hub: RunningHub) -> None:
    hub.service.model_usage.record(usage())
    await hub.restart()
    hub.service.model_usage.record(usage())
    await hub.restart()
    assert hub.store.model_usage(*JUNE) == [row(2, 0, 4, 6, 200, 400)]


async def test_usage_waits_while_the_store_cannot_write(hub: RunningHub) -> None:
    book = hub.service.model_usage
    hub.hub.engine.failure = DiskFull("the disk is full")
    book.record(usage())
    book.write()
    hub.hub.engine.failure = None
    book.write()
    await hub.hub.engine.durable()
    assert hub.store.model_usage(*JUNE) == [row(1, 0, 2, 3, 100, 200)]


def test_metrics_tell_who_asked_what() -> None:
    metrics = GatewayMetrics()
    for one in (usage(), usage(organisation="other"), usage()):
        metrics.began("chat")
        metrics.ended(one)
    found = {
        (sample.name, sample.labels.get("organisation")): sample.value
        for metric in metrics.collect()
        for sample in metric.samples
        if sample.labels.get("deployment") == "lab/chat"
    }
    assert found[("farlane_gateway_asked_total", "lab")] == 2
    assert found[("farlane_gateway_asked_tokens_total", "other")] == 5
