"""Metering: the node's Prometheus metrics, one table from which code and documentation both follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from farlane.domain.units import CREDIT
from farlane.node.books.reading import BooksReading
from farlane.node.machine.machine import Gauges
from farlane.node.models.figures import ModelFigures

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import CollectorRegistry


@dataclass(frozen=True, slots=True)
class Reading:
    """All figures at one moment."""

    gauges: Gauges
    ended: Mapping[str, int]
    connected: bool
    draining: bool
    streams: int
    rtt_s: float
    payload_bytes: int
    result_bytes: int
    fetched_bytes: int
    stored_bytes: int
    log_dropped_bytes: int
    cache_bytes: int
    free_disk_bytes: int
    books: BooksReading
    models: ModelFigures = field(default_factory=ModelFigures)


class NodeMetric(NamedTuple):
    """One metric: its name, type and meaning, and how it is read; `label` names what its values are split by."""

    name: str
    type: Literal["gauge", "counter"]
    help: str
    read: Callable[[Reading], Mapping[str, float]]
    label: str = ""


def _one(read: Callable[[Reading], float]) -> Callable[[Reading], Mapping[str, float]]:
    return lambda reading: {"": read(reading)}


METRICS: tuple[NodeMetric, ...] = (
    NodeMetric("farlane_node_attempts", "gauge", "Attempts held, by where they stand.", lambda reading: {
        "fetching": reading.gauges.fetching, "ready": reading.gauges.ready, "running": reading.gauges.running,
        "unacknowledged": reading.gauges.unacknowledged}, "phase"),
    NodeMetric("farlane_node_bundles_running", "gauge", "Slots in use: bundles of like tasks that run.",
               _one(lambda reading: reading.gauges.bundles)),
    NodeMetric("farlane_node_attempts_ended_total", "counter",
               "Attempts that ended, by kind: done, or the kind of failure.", lambda reading: reading.ended, "kind"),
    NodeMetric("farlane_node_cpu_seconds_total", "counter", "CPU seconds metered over all attempts.",
               _one(lambda reading: reading.gauges.cpu_us / 1e6)),
    NodeMetric("farlane_node_moved_bytes_total", "counter",
               "Bytes moved: payloads and results in the stream, blobs fetched and stored beside it.", lambda reading: {
                   "payloads": reading.payload_bytes, "results": reading.result_bytes,
                   "blobs-fetched": reading.fetched_bytes, "blobs-stored": reading.stored_bytes}, "what"),
    NodeMetric("farlane_node_backlog_bytes", "gauge", "Results the hub has not acknowledged.",
               _one(lambda reading: reading.gauges.backlog_bytes)),
    NodeMetric("farlane_node_log_bytes_dropped_total", "counter", "Output of tasks dropped on its way to the hub.",
               _one(lambda reading: reading.log_dropped_bytes)),
    NodeMetric("farlane_node_cache_bytes", "gauge", "Blobs in the cache.", _one(lambda reading: reading.cache_bytes)),
    NodeMetric("farlane_node_disk_free_bytes", "gauge", "Free space on the disk of the node's directory.",
               _one(lambda reading: reading.free_disk_bytes)),
    NodeMetric("farlane_node_connected", "gauge", "1 while the hub has welcomed this node and the stream stands.",
               _one(lambda reading: float(reading.connected))),
    NodeMetric("farlane_node_draining", "gauge", "1 while the node takes no new leases.",
               _one(lambda reading: float(reading.draining))),
    NodeMetric("farlane_node_streams_total", "counter", "Streams to the hub since the start.",
               _one(lambda reading: reading.streams)),
    NodeMetric("farlane_node_round_trip_seconds", "gauge", "Round trip of the last heartbeat.",
               _one(lambda reading: reading.rtt_s)),
    NodeMetric("farlane_node_leaves_total", "counter",
               "Leaves the hub sent, by what became of them: checked against what the node remembers, checked in "
               "themselves only (from before a restart), or refused.", lambda reading: {
                   "checked": reading.books.leaves - reading.books.unremembered,
                   "unremembered": reading.books.unremembered, "refused": reading.books.refused_leaves}, "result"),
    NodeMetric("farlane_node_forfeited_total", "counter",
               "Attempts the node had reported that were booked as lost, unpaid, after a broken connection.",
               _one(lambda reading: reading.books.forfeited)),
    NodeMetric("farlane_node_unstated_total", "counter",
               "Requests that replicas here answered and their last leaves do not state: the hub lost count of them.",
               _one(lambda reading: reading.books.unstated)),
    NodeMetric("farlane_node_objections_total", "counter", "Objections to what the hub booked or promised.",
               _one(lambda reading: reading.books.objections)),
    NodeMetric("farlane_node_books", "gauge", "Books, by how they stand: kept, or in dispute.", lambda reading: {
        "kept": reading.books.books - reading.books.disputed, "disputed": reading.books.disputed}, "state"),
    NodeMetric("farlane_node_books_writable", "gauge", "0 while the books cannot be written: the disk is full.",
               _one(lambda reading: float(reading.books.writable))),
    NodeMetric("farlane_node_heads_total", "counter", "Tree heads signed and sent.",
               _one(lambda reading: reading.books.heads)),
    NodeMetric("farlane_node_vouchers_total", "counter", "Vouchers taken.",
               _one(lambda reading: reading.books.vouchers)),
    NodeMetric("farlane_node_chain_reachable", "gauge",
               "1 while the endpoint that `node.rpc` names answers; 0 also where none is set.",
               _one(lambda reading: float(reading.books.claimed.reachable))),
    NodeMetric("farlane_node_claims_total", "counter",
               "Vouchers claimed on the chain by this node itself, by what the contract did.", lambda reading: {
                   "paid": reading.books.claimed.claims, "refused": reading.books.claimed.refused}, "result"),
    NodeMetric("farlane_node_claimed_units_total", "counter",
               "What this node's own claims have paid, in the token's smallest units.",
               _one(lambda reading: reading.books.claimed.units)),
    NodeMetric("farlane_node_claims_waiting", "gauge",
               "Transactions with claims that cannot go on: too little coin, or gas too dear; the log says which.",
               _one(lambda reading: reading.books.claimed.waiting)),
    NodeMetric("farlane_node_unpaid_credits", "gauge",
               "Credits that all organisations owe without a voucher: booked, ended and not booked, running.",
               lambda reading: _unpaid(reading.books), "what"),
    NodeMetric("farlane_node_model_bytes_total", "counter",
               "Bytes of models that came to this node, by where from: other nodes, the hub, other files here, or made "
               "of a version here by a delta.", lambda reading: {
                   "peers": reading.models.peers, "hub": reading.models.hub, "local": reading.models.local,
                   "delta": reading.models.delta}, "source"),
    NodeMetric("farlane_node_model_sent_bytes_total", "counter", "Bytes of models given to other nodes.",
               _one(lambda reading: reading.models.sent)),
    NodeMetric("farlane_node_model_refused_total", "counter", "Requests for blocks of models that were turned away.",
               _one(lambda reading: reading.models.refused)),
    NodeMetric("farlane_node_models_held", "gauge", "Versions of models that are here whole.",
               _one(lambda reading: reading.models.versions)),
    NodeMetric("farlane_node_model_swarms", "gauge", "Versions of models that are fetched, or given to other nodes.",
               _one(lambda reading: reading.models.swarms)),
    NodeMetric("farlane_node_models_bytes", "gauge", "Models on disk, beside those of a shared repository.",
               _one(lambda reading: reading.models.stored)),
    NodeMetric("farlane_node_stopped_organisations", "gauge", "Organisations of which no work is taken: see the log.",
               _one(lambda reading: len(reading.books.stopped))),
)  # fmt: skip


def _unpaid(books: BooksReading) -> dict[str, float]:
    exposures = books.exposures.values()
    return {
        "booked": sum(one.unpaid_nano for one in exposures) / CREDIT,
        "ended": sum(one.unbooked_nano for one in exposures) / CREDIT,
        "running": sum(one.running_nano for one in exposures) / CREDIT,
    }


def families(reading: Reading) -> Iterable[Metric]:
    """Yield the metrics of one reading."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    for metric in METRICS:
        kind = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
        family = kind(metric.name, metric.help, labels=[metric.label] if metric.label else None)
        for label, value in sorted(metric.read(reading).items()):
            family.add_metric([label] if metric.label else [], value)
        yield family


class MetricsServer:
    """Serves /metrics on 127.0.0.1 from a thread of its own.

    Args:
        port: where; 0 takes a free one.
        latest: takes a reading; called from the serving thread.
    """

    def __init__(self, port: int, latest: Callable[[], Reading]) -> None:
        from prometheus_client import start_http_server

        self._server, self._thread = start_http_server(port, "127.0.0.1", registry=_registry(latest))

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _registry(latest: Callable[[], Reading]) -> CollectorRegistry:
    from prometheus_client.registry import Collector, CollectorRegistry

    class NodeCollector(Collector):
        def collect(self) -> Iterable[Metric]:
            return families(latest())

    registry = CollectorRegistry()
    registry.register(NodeCollector())
    return registry
