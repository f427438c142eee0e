"""The hub's Prometheus metrics, read from its state when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from farlane.domain.units import CREDIT

if TYPE_CHECKING:
    from farlane.hub.hub import Hub


@dataclass(frozen=True, slots=True)
class HubMetric:
    """One metric: name, whether it only grows, what it means and how to read it."""

    name: str
    counter: bool
    meaning: str
    read: Callable[[Hub], float]


METRICS = (
    HubMetric("farlane_hub_nodes_online", False, "Nodes whose stream is open.",
              lambda hub: sum(node.connected for node in hub.reactor.state.nodes.values())),
    HubMetric("farlane_hub_nodes_known", False, "Nodes ever registered.", lambda hub: len(hub.reactor.state.nodes)),
    HubMetric("farlane_hub_jobs_open", False, "Jobs that have not ended.", lambda hub: len(hub.reactor.state.jobs)),
    HubMetric("farlane_hub_tasks_queued", False, "Tasks waiting for a lease.",
              lambda hub: sum(job.ready for job in hub.reactor.state.jobs.values())),
    HubMetric("farlane_hub_leases", False, "Leases in force.",
              lambda hub: sum(len(node.leases) for node in hub.reactor.state.nodes.values())),
    HubMetric("farlane_hub_tasks_done", True, "Tasks that ended with a result, over all known nodes.",
              lambda hub: sum(node.done for node in hub.reactor.state.nodes.values())),
    HubMetric("farlane_hub_tasks_failed", True, "Attempts that failed by the publisher's fault.",
              lambda hub: sum(node.failed for node in hub.reactor.state.nodes.values())),
    HubMetric("farlane_hub_attempts_lost", True, "Attempts lost by nodes and run again elsewhere.",
              lambda hub: sum(node.lost for node in hub.reactor.state.nodes.values())),
    HubMetric("farlane_hub_results_stale", True, "Results refused because their fence was not in force.",
              lambda hub: hub.reactor.state.stale_results),
    HubMetric("farlane_hub_scheduling_rounds", True, "Scheduling rounds since the start.",
              lambda hub: hub.engine.rounds),
    HubMetric("farlane_hub_credits_charged", True, "Credits charged for leases, over all known nodes.",
              lambda hub: sum(node.earned for node in hub.reactor.state.nodes.values()) / CREDIT),
    HubMetric("farlane_hub_budget_alerts", True, "Alerts of budgets told since the start: see the hub's log.",
              lambda hub: hub.alerts),
    HubMetric("farlane_hub_alerts_waiting", False, "Alerts that the webhook has not taken yet.",
              lambda hub: len(hub.outbox.waiting)),
    HubMetric("farlane_hub_alerts_delivered", True, "Alerts that the webhook has taken since the start.",
              lambda hub: hub.outbox.delivered),
    HubMetric("farlane_hub_alert_failures", True, "Tries to deliver an alert that failed.",
              lambda hub: hub.outbox.failures),
    HubMetric("farlane_hub_alerts_dropped", True, "Alerts dropped since too many waited for the webhook.",
              lambda hub: hub.outbox.dropped),
    HubMetric("farlane_hub_vouchers_waiting", False,
              "Books whose newest head gets no voucher, since nothing stands behind it or the chain is away.",
              lambda hub: len(hub.books.waiting)),
    HubMetric("farlane_hub_credits_lacking", False,
              "Credits that accounts which the hub holds lack for what their organisations owe.",
              lambda hub: sum(map(hub.books.lacking_nano, hub.books.organisations())) / CREDIT),
    HubMetric("farlane_hub_payload_cache_bytes", False, "Queued payloads kept in memory.",
              lambda hub: hub.payloads.held_bytes),
    HubMetric("farlane_hub_log_bytes_dropped", True, "Log bytes beyond a job's cap or a full disk.",
              lambda hub: hub.logs.dropped_bytes),
    HubMetric("farlane_hub_store_failed", False, "1 while the store cannot write and nothing is acknowledged.",
              lambda hub: float(hub.engine.failure is not None)),
)  # fmt: skip


class HubCollector(Collector):
    """Answers a scrape. `hub` returns the hub in force."""

    def __init__(self, hub: Callable[[], Hub]) -> None:
        self._hub = hub

    def collect(self) -> Iterator[Metric]:
        """Yield every metric's value of this moment."""
        hub = self._hub()
        for metric in METRICS:
            family = CounterMetricFamily if metric.counter else GaugeMetricFamily
            yield family(metric.name, metric.meaning, value=metric.read(hub))
