"""What it costs to have a policy decide in a process of its own, by size of the network.

    python -m bench.scheduler.deciding [--policy shortest-first] [--rounds 50] [--json]

`write` and `read`: the view into shared memory and out of it; `judge`: the check of the answer by the view it was asked
about; `decide`: the policy itself, in this process; `trip cpu`: CPU of both processes from the view to its answer
through a real worker, deciding included, so that `trip cpu` less `decide` is the price of the process; `trip p50`: what
passes meanwhile, which other work on the machine stretches. Milliseconds; the first four are the best of all rounds,
`trip cpu` is the mean.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable

import numpy as np
import psutil

from bench.scheduler.decide import LOADS, make_view
from farlane.hub.deciding.blocks import Block
from farlane.hub.deciding.client import DecidingClient, Outcome, WorkerPlan
from farlane.hub.deciding.columns import SnapshotReader, SnapshotWriter
from farlane.hub.deciding.guard import judge
from farlane.hub.deciding.naming import load_policy, warmed
from farlane.scheduler.assessment import assess
from farlane.scheduler.view import View

SIZES = ((3, 1, 100), (100, 20, 10_000), (1_000, 50, 100_000), (10_000, 50, 1_000_000))
COLUMNS = ("nodes", "groups", "KiB", "write", "read", "judge", "decide", "trip cpu", "trip p50")


def best_ms(work: Callable[[], object], rounds: int) -> float:
    """Return the least CPU time of one call, in milliseconds."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found) * 1e3


async def trips_ms(policy: str, view: View, rounds: int) -> tuple[float, float]:
    """Return the mean CPU time of a trip to a worker and back, both sides, and the median of what passes, in ms."""
    client = DecidingClient(WorkerPlan(policy, (), 60.0, 4 << 30), lambda *_: None)
    client.keep_alive()
    while not client.ready:  # noqa: ASYNC110 - a client tells nobody when it is
        await asyncio.sleep(0.01)
    found, cpu = [], 0.0
    for at in range(rounds + 3):
        if at == 3:
            cpu = cpu_s(client)
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        client.send(view, answered.set_result)
        outcome = await answered
        if outcome.answer is None:
            raise SystemExit(f"{policy} did not answer: {outcome.why} {outcome.text}")
        if at >= 3:
            found.append((time.perf_counter() - began) * 1e3)
    used = cpu_s(client) - cpu
    client.close()
    return used / rounds * 1e3, sorted(found)[rounds // 2]


def cpu_s(client: DecidingClient) -> float:
    """Return the CPU seconds of this process and of the worker so far."""
    spent = psutil.Process(client.pid).cpu_times()
    return time.process_time() + spent.user + spent.system


def measure(policy: str, nodes: int, groups: int, tasks: int, rounds: int) -> dict[str, float]:
    view = make_view(np.random.default_rng(1), nodes, groups, tasks, LOADS["steady"])
    block = Block.new()
    writer, reader = SnapshotWriter(block), SnapshotReader(block)
    sequence = 0

    def write() -> int:
        nonlocal sequence
        sequence += 2
        return writer.write(view, sequence)

    size = write()
    own = warmed(load_policy(policy))
    answer = assess(own, view)
    cpu, passed = asyncio.run(trips_ms(policy, view, rounds))
    found = (
        nodes, groups, size / 1024, best_ms(write, rounds), best_ms(lambda: reader.read(sequence, size), rounds),
        best_ms(lambda: judge(view, answer), rounds), best_ms(lambda: own.decide(view), max(3, rounds // 10)),
        cpu, passed,
    )  # fmt: skip
    return dict(zip(COLUMNS, found, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--policy", default="shortest-first")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args()
    rows = [measure(options.policy, *size, options.rounds) for size in SIZES]
    if options.as_json:
        print(json.dumps(rows))
        return
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    for row in rows:
        print(
            "| " + " | ".join(f"{row[name]:.{0 if at < 3 else 2}f}" for at, name in enumerate(COLUMNS)) + " |"
        )


if __name__ == "__main__":
    main()
