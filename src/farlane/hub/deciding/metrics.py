"""Prometheus metrics of decisions: who decides, why not the policy, how quickly, and how alike shadow rules would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from farlane.hub.deciding.desk import Desk
from farlane.hub.deciding.guard import Why


@dataclass(frozen=True, slots=True)
class DecidingMetric:
    """One metric: name, type, labels and what it means."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


DECISIONS = DecidingMetric(
    "farlane_hub_decisions", "counter", ("who", "why"),
    "Decisions that were applied: the policy's, or the rule's and why; only where there is a policy or a shadow rule.",
)  # fmt: skip
FALLBACKS = DecidingMetric(
    "farlane_hub_decision_fallbacks",
    "counter",
    ("why",),
    "Decisions that were the rule's in place of the policy's.",
)
SECONDS = DecidingMetric(
    "farlane_hub_decision_seconds", "histogram", ("who",),
    "From a view to what was decided on it: in the policy's process, the policy in the hub (inline), or the rule.",
)  # fmt: skip
DRIFT = DecidingMetric(
    "farlane_hub_decision_drift", "gauge", (),
    "Share of a view's features unlike those of training, mean over the policy's answers.",
)  # fmt: skip
DISAGREEMENT = DecidingMetric(
    "farlane_hub_decision_disagreement", "gauge", (),
    "Share of the policy's members that would have chosen otherwise, mean over its answers.",
)  # fmt: skip
STALE = DecidingMetric(
    "farlane_hub_decision_stale_tasks", "counter", (),
    "Tasks that the policy placed and that were not, since the hub had moved on.",
)  # fmt: skip
AGREEMENT = DecidingMetric(
    "farlane_hub_shadow_agreement", "gauge", ("rule",),
    "Share of tasks that a shadow rule would have sent to the same node, mean over its rounds.",
)  # fmt: skip
SHADOWS = DecidingMetric(
    "farlane_hub_shadow_rounds", "counter", ("rule",), "Rounds that a shadow rule was asked about."
)
STARTS = DecidingMetric(
    "farlane_hub_decider_starts", "counter", (), "Starts of the policy's process since the hub's."
)
LOGGED = DecidingMetric(
    "farlane_hub_decisions_logged", "counter", ("kept",),
    "Decisions written to the decision log (yes), and dropped since the disk was slow or full (no).",
)  # fmt: skip
METRICS = (DECISIONS, FALLBACKS, SECONDS, DRIFT, DISAGREEMENT, STALE, AGREEMENT, SHADOWS, STARTS, LOGGED)


class DecidingCollector(Collector):
    """Answers a scrape from a desk's tally."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def collect(self) -> Iterator[Metric]:
        """Yield every metric's value of this moment."""
        tally = self._desk.tally
        who = {why: "policy" if why is Why.POLICY else "rule" for why in tally.decided}
        yield _counter(DECISIONS, [((who[why], why.value), count) for why, count in tally.decided.items()])
        rules = [(why, count) for why, count in tally.decided.items() if why not in (Why.POLICY, Why.RULE)]
        yield _counter(FALLBACKS, [((why.value,), count) for why, count in rules])
        seconds = HistogramMetricFamily(SECONDS.name, SECONDS.meaning, labels=SECONDS.labels)
        for name, found in tally.seconds.items():
            seconds.add_metric([name], found.cumulative(), found.total_s)
        yield seconds
        yield GaugeMetricFamily(DRIFT.name, DRIFT.meaning, value=tally.mean_drift)
        yield GaugeMetricFamily(DISAGREEMENT.name, DISAGREEMENT.meaning, value=tally.mean_disagreement)
        yield _counter(STALE, [((), tally.stale)])
        agreement = GaugeMetricFamily(AGREEMENT.name, AGREEMENT.meaning, labels=AGREEMENT.labels)
        for name, shadow in tally.shadows.items():
            agreement.add_metric([name], shadow.share)
        yield agreement
        yield _counter(SHADOWS, [((name,), shadow.rounds) for name, shadow in tally.shadows.items()])
        yield _counter(STARTS, [((), self._desk.starts)])
        yield _counter(LOGGED, [(("yes",), tally.logged), (("no",), tally.log_dropped)])


def _counter(metric: DecidingMetric, values: Sequence[tuple[tuple[str, ...], int]]) -> Metric:
    family = CounterMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family
