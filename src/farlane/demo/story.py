"""The demo's story: three nodes of different size and price embed a novel; one is killed, one joins late."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from farlane.app.layout import Layout
from farlane.app.network import NodePlan, add_node, load, up
from farlane.demo.choices import Choices
from farlane.demo.embedding import shared_encoder
from farlane.demo.passages import AUTHOR, TITLE, Passage, load_passages
from farlane.demo.report import Progress, books, hits, quote_line
from farlane.demo.serving import models_directory, serve_and_update
from farlane.demo.settling import settle_and_audit
from farlane.demo.traffic import Traffic
from farlane.demo.work import BATCH, VOLUME_STARTS, embedders
from farlane.domain.units import seconds_text
from farlane.errors import Internal
from farlane.sdk.context import read_client_file
from farlane.sdk.facade import Client

NODES = (
    NodePlan("attic", {"cpu": "1", "memory": "1GiB", "core_hour": "0.010"}),
    NodePlan("garage", {"cpu": "1", "memory": "1GiB", "core_hour": "0.020"}),
    NodePlan("rack", {"cpu": "2", "memory": "2GiB", "core_hour": "0.030"}),
)
LATE = NodePlan("late", {"cpu": "2", "memory": "2GiB", "core_hour": "0.015"})
VICTIM = "rack"
KILL_AT, JOIN_AT = 0.3, 0.45
"""Shares of the work after which one node is killed and another one joins."""
QUESTIONS = (
    ("a proposal of marriage is refused", (19, 20, 34)),
    ("a proud man refuses to dance with her", (3, 5)),
    ("she visits the housekeeper at the great house", (43,)),
)
"""What is asked, and the chapters where it happens: the best hit must be one of them when the whole novel is there."""


@dataclass(slots=True)
class Work:
    """What is known of one volume's job: its batches and the vectors that have come back, in order."""

    volume: str
    batches: list[list[str]]
    vectors: list[bytes] = field(default_factory=list)
    failure: BaseException | None = None


def tell(directory: Path, limit: int | None) -> None:
    """Run the whole story, printing as it goes.

    Raises:
        Internal: a result is missing or wrong.
    """
    began = time.monotonic()
    passages = load_passages(limit)
    works = _volumes(passages)
    tasks = sum(len(work.batches) for work in works)
    print(f'"{TITLE}" by {AUTHOR}: {len(passages)} passages, {tasks} tasks of up to {BATCH}')
    traffic = Traffic()
    plans = [traffic.metered(plan) for plan in NODES]
    # A repository that no node finds beside its own directory: models come to them over the network.
    settings = {"models": str(models_directory(directory)), "policy": "learned"}
    running = up(directory, plans, port=0, organisation="demo-lab", hub_settings=settings)
    print(
        f"network up in {seconds_text(time.monotonic() - began)}: hub at {running.url}, nodes attic, garage, rack"
    )
    endpoint = read_client_file(directory)
    with Client(endpoint.url, endpoint.token) as client:
        _await_nodes(client, len(NODES))
        quotes = _quotes(client, works)
        started = time.monotonic()
        _run(client, works, directory, traffic.metered(LATE))
        took = time.monotonic() - started
        _check(works, len(passages))
        vectors = np.frombuffer(b"".join(b"".join(work.vectors) for work in works), np.float32).reshape(
            -1, 384
        )
        for question, chapters in QUESTIONS:
            best = hits(question, vectors, shared_encoder().encode([question])[0], passages)
            if limit is None and best.chapter not in chapters:
                raise Internal(
                    f"the best hit for {question!r} is chapter {best.chapter}; expected one of {chapters}"
                )
        books(client, quotes, took, VICTIM)
    settle_and_audit(directory, endpoint, frozenset({VICTIM}), Random(time.time_ns()))
    serve_and_update(directory, endpoint, traffic)
    print(f"\nall of it in {seconds_text(time.monotonic() - began)}")


def _batched(passages: Sequence[Passage]) -> list[list[str]]:
    texts = [passage.text for passage in passages]
    return [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]


def _volumes(passages: Sequence[Passage]) -> list[Work]:
    bounds = (*VOLUME_STARTS, 10_000)
    names = ("first volume", "second volume", "third volume")
    found = [
        Work(name, _batched([passage for passage in passages if low <= passage.chapter < high]))
        for name, low, high in zip(names, bounds, bounds[1:], strict=False)
    ]
    return [work for work in found if work.batches]


def _await_nodes(client: Client, wanted: int) -> None:
    end = time.monotonic() + 30
    while sum(node.state == "online" for node in client.nodes()) < wanted:
        if time.monotonic() > end:
            raise Internal("the nodes did not join within 30 s; see the logs below the demo's directory")
        time.sleep(0.05)


def _quotes(client: Client, works: list[Work]) -> dict[str, int]:
    functions = embedders(client)
    quotes = {work.volume: functions[work.volume].estimate(len(work.batches)) for work in works}
    for work in works:
        quote_line(work.volume, len(work.batches), quotes[work.volume])
    return {volume: quote.upper_bound for volume, quote in quotes.items()}


def _run(client: Client, works: list[Work], directory: Path, late: NodePlan) -> None:
    """Submit all volumes at once and wait, while a node dies and another one joins."""
    functions = embedders(client)
    threads = [
        threading.Thread(target=_collect, args=(work, functions[work.volume]), daemon=True) for work in works
    ]
    for thread in threads:
        thread.start()
    total = sum(len(work.batches) for work in works)
    events: list[tuple[float, Callable[[], str]]] = [
        (KILL_AT, lambda: _kill(directory, VICTIM)),
        (JOIN_AT, lambda: _join(directory, late)),
    ]
    progress, choices = Progress(total), Choices()
    while any(thread.is_alive() for thread in threads):
        done = sum(len(work.vectors) for work in works)
        progress.show(done)
        if events and done >= events[0][0] * total:
            progress.say(events.pop(0)[1]())
        choices.ask(client)
        time.sleep(0.1)
    progress.end(sum(len(work.vectors) for work in works))
    print(choices.told())
    for work in works:
        if work.failure is not None:
            raise work.failure


def _collect(work: Work, function: Any) -> None:
    try:
        for vectors in function.map(work.batches):
            work.vectors.append(vectors)
    except BaseException as error:
        work.failure = error


def _kill(directory: Path, name: str) -> str:
    process = load(Layout(directory)).nodes[name]
    if process is None:
        raise Internal(f"node {name} is not running")
    os.kill(process.pid, signal.SIGKILL)
    return f"kill -9 {name}: what it held runs elsewhere"


def _join(directory: Path, late: NodePlan) -> str:
    add_node(directory, late)
    return f"{late.name} joins"


def _check(works: list[Work], passages: int) -> None:
    """Every passage has exactly one vector of length one."""
    for work in works:
        for batch, raw in zip(work.batches, work.vectors, strict=True):
            vectors = np.frombuffer(raw, np.float32).reshape(len(batch), -1)
            if not np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-4):
                raise Internal(f"a vector of the {work.volume} is not a unit vector")
    found = sum(len(batch) for work in works for batch in work.batches)
    if found != passages:
        raise Internal(f"{found} passages have vectors; expected {passages}")
