"""Decision latency of the learned policy: p50 and p99 by number of candidates.

    python -m bench.scheduler.latency [--rounds 300] [--checkpoint FILE] [--json]

`node`: one task of a group is given one of n nodes: features of the pair and of the nodes, scores, choice. `task`:
which of n groups is next: features from the view's columns, scores, choice. `round`: all that `decide` does on a view
of one group and n nodes, or of n groups and 32 nodes: columns, scores, exact room, reservations. Each round decides on
another random view, made outside of the measured time; `cpu` is the thread's own time, which other work on the machine
does not stretch. One process, one thread. The bar is p99 < 1 ms at 1,000 candidates for `node` and for `scores of
tasks`; `task` begins with the view's objects, of which reading takes most of the time.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.scheduler.decide import make_view
from farlane.scheduler.board import Board
from farlane.scheduler.learned.choices import Round, serve
from farlane.scheduler.learned.ensemble import Ensemble, load
from farlane.scheduler.learned.shipped import shipped_bytes
from farlane.scheduler.learned.view_features import task_view
from farlane.scheduler.sharing import Places
from farlane.scheduler.view import View

NODES = (32, 100, 320, 1_000, 3_200, 10_000)
GROUPS = (1, 10, 32, 100, 320, 1_000)
COLUMNS = ("what", "candidates", "p50_ms", "p99_ms", "cpu_p50_ms", "cpu_p99_ms")


def time_node(ensemble: Ensemble, view: View) -> Callable[[], object]:
    """One task to one of all nodes of a view."""
    a_round, board, group = Round(ensemble, view), Board(view), view.groups[0]
    count = len(view.nodes.ids)
    places = Places(np.arange(count), np.zeros(count, np.int64), np.ones(count, np.int64))
    return lambda: a_round.rule(board, group, places, 1)


def time_task(ensemble: Ensemble, view: View) -> Callable[[], object]:
    """Which group is next."""

    def which() -> object:
        return ensemble.tasks(task_view(view)).mean.argmax()

    return which


def time_scores(ensemble: Ensemble, view: View) -> Callable[[], object]:
    """Which group is next, their features known."""
    seen = task_view(view)

    def which() -> object:
        return ensemble.tasks(seen).mean.argmax()

    return which


def time_round(ensemble: Ensemble, view: View) -> Callable[[], object]:
    """A whole decision."""
    return lambda: serve(Round(ensemble, view))


def measure(
    what: str, make: Callable[[Ensemble, View], Callable[[], object]], ensemble: Ensemble, size: tuple[int, int],
    rounds: int,
) -> dict[str, object]:  # fmt: skip
    """Measure one line."""
    rng = np.random.default_rng(11)
    nodes, groups = size
    samples = np.empty((rounds, 2))
    views = [make_view(rng, nodes, groups, groups, 0.3) for _ in range(min(rounds, 20))]
    make(ensemble, views[0])()
    gc.collect()
    gc.disable()
    for at in range(rounds):
        run = make(ensemble, views[at % len(views)])
        start, cpu = time.perf_counter(), time.thread_time()
        run()
        samples[at] = time.perf_counter() - start, time.thread_time() - cpu
    gc.enable()
    p50, p99 = np.percentile(samples * 1000, [50, 99], axis=0).round(3).tolist()
    return dict(zip(COLUMNS, (what, max(size), p50[0], p99[0], p50[1], p99[1]), strict=True))


def main() -> None:
    """Print one line a size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=300, help="decisions a line")
    parser.add_argument("--checkpoint", type=Path, help="weights to run; default: the shipped ones")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    wanted = parser.parse_args()
    ensemble = Ensemble(load(wanted.checkpoint.read_bytes() if wanted.checkpoint else shipped_bytes()))
    lines: list[tuple[str, Callable[[Ensemble, View], Callable[[], object]], tuple[int, int]]] = []
    lines += [("node", time_node, (nodes, 1)) for nodes in NODES]
    lines += [("task", time_task, (32, groups)) for groups in GROUPS[1:]]
    lines += [("scores of tasks", time_scores, (32, groups)) for groups in GROUPS[1:]]
    lines += [("round, 1 group", time_round, (nodes, 1)) for nodes in NODES]
    lines += [("round, 32 nodes", time_round, (32, groups)) for groups in GROUPS[2:]]
    if not wanted.json:
        print(f"{len(ensemble.members)} member(s)\n" + "".join(f"{name:>16}" for name in COLUMNS))
    for what, make, size in lines:
        line = measure(what, make, ensemble, size, wanted.rounds)
        print(json.dumps(line) if wanted.json else "".join(f"{line[name]!s:>16}" for name in COLUMNS))


if __name__ == "__main__":
    main()
