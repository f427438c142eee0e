"""What the demo shows: progress, search hits and the books."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from farlane.demo.passages import Passage
from farlane.domain.units import credits_text, seconds_text
from farlane.sdk.facade import Client
from farlane.sdk.values import NodeStatus, Quote

BAR = 30
TOP = 2
SHOWN_CHARS = 150


def quote_line(volume: str, tasks: int, quote: Quote) -> None:
    """Print a quote before anything runs."""
    bound = credits_text(quote.upper_bound)
    print(
        f"  quote, {volume}: {tasks} tasks, at most {bound} credits, {quote.eligible_nodes} nodes can run it"
    )


class Progress:
    """A progress line on a terminal; a line per event and per quarter elsewhere.

    Args:
        total: tasks in all.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._began = time.monotonic()
        self._quarter = 0
        self._terminal = sys.stdout.isatty()

    def show(self, done: int) -> None:
        """Show how far it is."""
        if self._terminal:
            filled = BAR * done // self._total
            print(f"\r  [{'#' * filled}{'.' * (BAR - filled)}] {self._text(done)}\x1b[K", end="", flush=True)
        elif 4 * done // self._total > self._quarter:
            self._quarter = 4 * done // self._total
            print(f"  {self._text(done)}", flush=True)

    def say(self, text: str) -> None:
        """Print an event on a line of its own."""
        start = "\r" if self._terminal else ""
        print(f"{start}  {seconds_text(time.monotonic() - self._began):>8}  {text}\x1b[K" if start else
              f"  {seconds_text(time.monotonic() - self._began):>8}  {text}", flush=True)  # fmt: skip

    def end(self, done: int) -> None:
        """Show the last state and leave the line."""
        self.show(done)
        if self._terminal:
            print()

    def _text(self, done: int) -> str:
        took = time.monotonic() - self._began
        rate = done / took if took else 0.0
        left = f", {seconds_text((self._total - done) / rate)} left" if rate and done < self._total else ""
        return f"{done}/{self._total} tasks, {rate:.1f}/s{left}"


def hits(question: str, vectors: Any, asked: Any, passages: Sequence[Passage]) -> Passage:
    """Print the passages nearest to a question by cosine similarity (the vectors have length one); returns the best."""
    scores = vectors @ asked
    print(f"\n? {question}")
    for number in np.argsort(-scores)[:TOP]:
        passage = passages[int(number)]
        text = passage.text if len(passage.text) <= SHOWN_CHARS else passage.text[: SHOWN_CHARS - 3] + "..."
        print(f"  {scores[number]:.2f}  chapter {passage.chapter}: {text}")
    return passages[int(np.argmax(scores))]


def books(client: Client, quotes: dict[str, int], took_s: float, victim: str) -> None:
    """Print who ran what, utilisation, waits, retries, and cost against quote."""
    print(
        f"\n  {'node':8} {'cores':>5} {'credits/core h':>14} {'tasks':>6} {'lost':>5} {'busy':>6} {'earned':>10}"
    )
    for node in sorted(client.nodes(), key=lambda node: node.joined_at):
        print(_node_line(node, took_s, victim))
    print(
        f"\n  {'job':24} {'prio':>4} {'tasks':>6} {'retries':>7} {'first wait':>10} {'cost':>10} {'quote':>10}"
    )
    jobs = sorted(client.jobs(all=True), key=lambda job: -job.priority)
    bounds = iter(quotes.values())
    for job in jobs:
        wait = seconds_text(max(0.0, job.first_lease_at - job.opened_at)) if job.first_lease_at else "-"
        print(
            f"  {job.name[:24]:24} {job.priority:4} {job.done:6} {job.retries:7} {wait:>10} "
            f"{job.spent / 1e9:10.6f} {next(bounds, 0) / 1e9:10.6f}"
        )


def _node_line(node: NodeStatus, took_s: float, victim: str) -> str:
    cores = node.spec.capacity.cpu_milli / 1000
    busy = node.busy_ms / 1000 / (took_s * cores)
    hourly = node.spec.rates.core_second * 3600 / 1e9
    note = "  killed on the way" if node.spec.name == victim else ""
    return (
        f"  {node.spec.name:8} {cores:5.0f} {hourly:14.3f} {node.tasks_done:6} {node.attempts_lost:5} {busy:6.0%} "
        f"{node.earned / 1e9:10.6f}{note}"
    )
