"""The gateway's Prometheus metrics: counted as requests end, read when they are asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from farlane.hub.gateway.port import Usage

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the duration's buckets."""
MAX_MODELS = 1000
"""Models counted by name; what is served beyond them is counted as `other`."""


@dataclass(frozen=True, slots=True)
class GatewayMetric:
    """One metric: name, type, labels and what it means."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


REQUESTS = GatewayMetric(
    "farlane_gateway_requests", "counter", ("model", "kind", "outcome"),
    "Requests that ended: ok, cancelled (the client went away) or the error's name.",
)  # fmt: skip
TOKENS = GatewayMetric(
    "farlane_gateway_tokens", "counter", ("model", "direction"), "Tokens of prompts and of completions."
)
BYTES = GatewayMetric(
    "farlane_gateway_bytes", "counter", ("model", "direction"), "Bytes of bodies, requests and replies."
)
DURATION = GatewayMetric(
    "farlane_gateway_request_seconds",
    "histogram",
    ("model",),
    "From the first byte to the last of a request.",
)
RUNNING = GatewayMetric("farlane_gateway_running", "gauge", ("model",), "Requests that run at this moment.")
ASKED = GatewayMetric(
    "farlane_gateway_asked", "counter", ("organisation", "deployment"),
    "Requests that ended, by the organisation that asked and what it asked.",
)  # fmt: skip
ASKED_TOKENS = GatewayMetric(
    "farlane_gateway_asked_tokens", "counter", ("organisation", "deployment"),
    "Tokens of prompts and completions, by the organisation that asked and what it asked.",
)  # fmt: skip
ERRORS = GatewayMetric(
    "farlane_gateway_errors",
    "counter",
    ("protocol", "status"),
    "Requests that were answered with an error: over http by status, over grpc by code.",
)
METRICS = (REQUESTS, TOKENS, BYTES, DURATION, RUNNING, ASKED, ASKED_TOKENS, ERRORS)


class GatewayMetrics(Collector):
    """Counts requests; one of it outlives every listener."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, ...]] = Counter()
        self._tokens: Counter[tuple[str, ...]] = Counter()
        self._bytes: Counter[tuple[str, ...]] = Counter()
        self._running: Counter[tuple[str, ...]] = Counter()
        self._errors: Counter[tuple[str, ...]] = Counter()
        self._asked: Counter[tuple[str, ...]] = Counter()
        self._asked_tokens: Counter[tuple[str, ...]] = Counter()
        self._durations: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}
        self._names: set[str] = set()

    def began(self, model: str) -> None:
        """Count a request to a model that is served."""
        self._running[(self._label(model),)] += 1

    def ended(self, usage: Usage) -> None:
        """Count a request's end, after its beginning."""
        model = self._label(usage.model)
        self._running[(model,)] -= 1
        self._requests[model, usage.kind, usage.outcome] += 1
        self._tokens[model, "prompt"] += usage.prompt_tokens
        self._tokens[model, "completion"] += usage.completion_tokens
        self._bytes[model, "request"] += usage.request_bytes
        self._bytes[model, "reply"] += usage.reply_bytes
        pair = self._pair(usage)
        self._asked[pair] += 1
        self._asked_tokens[pair] += usage.prompt_tokens + usage.completion_tokens
        counts = self._durations.setdefault(model, [0] * (len(SECONDS) + 1))
        counts[bisect_left(SECONDS, usage.duration_s)] += 1
        self._seconds[model] = self._seconds.get(model, 0.0) + usage.duration_s

    def failed(self, protocol: str, status: str) -> None:
        """Count an answer that was an error.

        Args:
            protocol: http or grpc.
            status: HTTP's number, gRPC's name.
        """
        self._errors[protocol, status] += 1

    def collect(self) -> Iterator[Metric]:
        """Yield every metric's value of this moment."""
        counted = (
            (REQUESTS, self._requests), (TOKENS, self._tokens), (BYTES, self._bytes), (ASKED, self._asked),
            (ASKED_TOKENS, self._asked_tokens), (ERRORS, self._errors),
        )  # fmt: skip
        for metric, values in counted:
            counter = CounterMetricFamily(metric.name, metric.meaning, labels=metric.labels)
            for labels, value in values.items():
                counter.add_metric(labels, value)
            yield counter
        gauge = GaugeMetricFamily(RUNNING.name, RUNNING.meaning, labels=RUNNING.labels)
        for labels, value in self._running.items():
            gauge.add_metric(labels, value)
        yield gauge
        yield self._histogram()

    def _histogram(self) -> Metric:
        family = HistogramMetricFamily(DURATION.name, DURATION.meaning, labels=DURATION.labels)
        for model, counts in self._durations.items():
            buckets, total = [], 0
            for bound, count in zip((*map(str, SECONDS), "+Inf"), counts, strict=True):
                total += count
                buckets.append((bound, float(total)))
            family.add_metric([model], buckets, self._seconds[model])
        return family

    def _pair(self, usage: Usage) -> tuple[str, str]:
        pair = usage.caller.organisation, usage.deployment or usage.model
        return pair if pair in self._asked or len(self._asked) < MAX_MODELS else ("other", "other")

    def _label(self, model: str) -> str:
        if model not in self._names and len(self._names) >= MAX_MODELS:
            return "other"
        self._names.add(model)
        return model


def exposition(metrics: GatewayMetrics) -> bytes:
    """Return the metrics in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(metrics)
    return generate_latest(registry)
