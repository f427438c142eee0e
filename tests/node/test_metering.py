"""The node's metrics: one table, read whole."""

from __future__ import annotations

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from farlane.node.books.credit import Exposure
from farlane.node.books.reading import BooksReading
from farlane.node.machine.machine import Gauges
from farlane.node.metering import METRICS, MetricsServer, Reading, families

READING = Reading(
    gauges=Gauges(1, 2, 3, 4, 5, 6, 7_000_000),
    ended={"done": 8, "exception": 1},
    connected=True,
    draining=False,
    streams=2,
    rtt_s=0.5,
    payload_bytes=10,
    result_bytes=11,
    fetched_bytes=12,
    stored_bytes=13,
    log_dropped_bytes=14,
    cache_bytes=15,
    free_disk_bytes=16,
    books=BooksReading(
        leaves=9,
        unremembered=2,
        books=3,
        disputed=1,
        exposures={"lab": Exposure(2_000_000_000, 0, 500_000_000), "uni": Exposure(1_000_000_000, 0, 0)},
        stopped={"lab": "in dispute"},
    ),
)


def test_every_metric_is_served_under_its_documented_name_and_type() -> None:
    server = MetricsServer(0, lambda: READING)
    try:
        url = f"http://127.0.0.1:{server.port}/metrics"
        text = urllib.request.urlopen(url, timeout=10).read().decode()
    finally:
        server.close()
    served = {family.name: family for family in text_string_to_metric_families(text)}
    assert len(served) == len(METRICS)
    for metric in METRICS:
        family = served[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.type, metric.help)
        assert metric.name.startswith("farlane_node_")


def test_values_are_split_by_their_label() -> None:
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families(READING)
        for sample in family.samples
    }
    assert samples["farlane_node_attempts", "ready"] == 2
    assert samples["farlane_node_attempts_ended_total", "exception"] == 1
    assert samples["farlane_node_moved_bytes_total", "blobs-stored"] == 13
    assert samples["farlane_node_cpu_seconds_total",] == 7.0
    assert samples["farlane_node_connected",] == 1.0


def test_figures_of_the_books_are_served() -> None:
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families(READING)
        for sample in family.samples
    }
    assert samples["farlane_node_leaves_total", "checked"] == 7
    assert samples["farlane_node_leaves_total", "unremembered"] == 2
    assert samples["farlane_node_books", "kept"] == 2
    assert samples["farlane_node_unpaid_credits", "booked"] == 3.0
    assert samples["farlane_node_unpaid_credits", "running"] == 0.5
    assert samples["farlane_node_stopped_organisations",] == 1
